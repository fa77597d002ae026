"""Passes on a real Ray cluster of two workers on this machine: the local engine's bytes, a killed worker included."""

import os
import signal
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from command_line import typed
from PIL import Image as Picture

from singaudit.cache.store import Cache, surroundings
from singaudit.dataset.sources.table import open_source
from singaudit.engine.interface import EngineSettings, Step
from singaudit.engine.local import run_pass
from singaudit.engine.ray import _read
from singaudit.engine.ray_worker import Stretches, Task, names_digest
from singaudit.engine.table import open_engine
from singaudit.errors import ConfigError, DatasetError, MachineError, ModelError
from singaudit.machine import arithmetic

pytest.importorskip("ray", reason="needs the extra ray")
import ray

pytestmark = pytest.mark.cluster
PHOTOS = 100


@dataclass(frozen=True)
class Means:
    """A recipe and its model: mean colours; it may kill its process once, or refuse to open."""

    kill_once: str = ""
    refuse: bool = False

    def open(self):
        if self.refuse:
            raise ModelError("expected a model file, there is none here", hint="Put it on a shared disk.")
        return self

    def prepare(self, pixels):
        return pixels.reshape(-1, 3).mean(axis=0, dtype=np.float64).astype(np.float32)

    def compute(self, inputs):
        if self.kill_once and os.path.exists(self.kill_once):
            os.unlink(self.kill_once)
            os.kill(os.getpid(), signal.SIGKILL)
        return inputs, inputs[:, :1] * 2


@pytest.fixture(scope="module")
def cluster():
    open_engine("ray", EngineSettings())._connect()
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Small pictures, some of them copies, one no picture."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for i in range(PHOTOS):
        seed = np.random.default_rng(i % 40)
        Picture.fromarray(seed.integers(0, 256, (9, 11, 3), dtype=np.uint8)).save(folder / f"{i:04}.png")
    (folder / "0041.png").write_bytes(rng.bytes(100))
    return open_source(str(folder))


def same(one, other):
    assert (one.names, one.sha256, one.found, one.duplicates, one.copies) == (
        other.names,
        other.sha256,
        other.found,
        other.duplicates,
        other.copies,
    )
    assert one.skipped == other.skipped
    for key, arrays in other.outputs.items():
        for mine, theirs in zip(one.outputs[key], arrays, strict=True):
            np.testing.assert_array_equal(mine, theirs)


def engine():
    return open_engine("ray", EngineSettings(actors=2, cpus=1))


@pytest.mark.timeout(900)
def test_a_cluster_gives_the_local_engines_bytes_though_a_worker_is_killed(cluster, photos, tmp_path):
    (tmp_path / "kill").touch()
    told, some = [], {"batch_size": 8, "start": 8, "limit": 90, "exclude": frozenset(["0" * 64])}
    expected = run_pass(photos, {"means": Step(Means())}, **some)
    shelf = Cache(tmp_path).shelf("features", {})
    steps = {"means": Step(Means(str(tmp_path / "kill")), shelf)}
    same(engine()(photos, steps, **some, progress=told.append), expected)
    assert not (tmp_path / "kill").exists()
    assert sum(told) == 82
    assert (len(Cache(tmp_path).shelf("features", {})), shelf.added) == (len(expected.names), len(expected.names))


@pytest.mark.timeout(900)
def test_an_audit_on_a_cluster_is_the_local_one_to_the_byte(cluster, tmp_path):
    source = open_source("shapes:90:3")
    for i in range(len(source)):
        Picture.fromarray(source.load(i).pixels).save(tmp_path / f"{i:02}.png")
    words = ["run", "builtin:leaky", "--images", tmp_path, "--vlm", "builtin:shapes", "--report", "json,csv"]
    for where in (["--engine", "local"], ["--engine", "ray", "--ray-actors", "2"]):
        done = typed(*words, *where, "--generate", "0", "-o", where[1], "--no-cache", cwd=tmp_path.parent)
        assert done.exit_code == 4, done.stderr
    for name in ("result.json", "scores.csv"):
        local, ray_ = ((tmp_path.parent / where / name).read_bytes() for where in ("local", "ray"))
        assert local == ray_


def test_a_worker_computes_what_is_not_known_and_not_left_out(photos, tmp_path, monkeypatch):
    monkeypatch.setenv("_SINGAUDIT_CORES", "2")
    whole = run_pass(photos, {"means": Step(Means())}, batch_size=8, limit=16)
    shelf = Cache(tmp_path).shelf("features", {})
    shelf.add(whole.sha256[:3], tuple(array[:3] for array in whole.outputs["means"]))
    shelf.flush()
    one = task(photos, known={"means": shelf.contents()}, exclude=frozenset(whole.sha256[3:5]))
    answer = Stretches(one)({"start": np.array([0]), "end": np.array([8])})["answer"][0]
    ((read, computed),) = list(_read(answer))
    assert read.sha256 == whole.sha256[:8]
    rows, arrays = computed["means"]
    assert rows == [5, 6, 7]
    np.testing.assert_array_equal(arrays[1], whole.outputs["means"][1][5:8])


@pytest.mark.timeout(900)
def test_a_worker_without_the_model_is_one_message(cluster, photos):
    with pytest.raises(ModelError, match="there is none here") as raised:
        engine()(photos, {"means": Step(Means(refuse=True))}, batch_size=8)
    assert raised.value.hint == "Put it on a shared disk."


def test_a_dead_cluster_is_one_message(photos, monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **k: (_ for _ in ()).throw(ConnectionError("no answer")))
    with pytest.raises(MachineError, match=r"no Ray cluster could be reached or started at 127.0.0.1:1: no answer"):
        open_engine("ray", EngineSettings(address="127.0.0.1:1"))(photos, {"means": Step(Means())}, batch_size=8)


def task(photos, **changed):
    plain = {
        "source": photos.name, "images": PHOTOS, "names": names_digest(photos.names), "batch_size": 8,
        "recipes": {"means": Means()}, "known": {}, "exclude": frozenset(), "only": None, "cpus": 1,
        "made_by": surroundings(), "arithmetic": arithmetic("cpu"),
    }  # fmt: skip
    return Task(**{**plain, **changed})


@pytest.mark.parametrize(
    ("changed", "kind", "said"),
    [
        ({"made_by": {**surroundings(), "versions": {"numpy": "1.0"}}}, MachineError, "computes otherwise.*numpy"),
        ({"arithmetic": "another"}, MachineError, "other vector instructions"),
        ({"images": 7}, DatasetError, "sees other images.*100, expected 7"),
        ({"source": "/nowhere/at/all"}, DatasetError, "there is no /nowhere"),
    ],
)
def test_a_worker_that_differs_is_one_message(photos, monkeypatch, changed, kind, said):
    monkeypatch.setenv("_SINGAUDIT_CORES", "2")
    answer = Stretches(task(photos, **changed))({"start": np.array([0]), "end": np.array([8])})["answer"][0]
    with pytest.raises(kind, match=said):
        list(_read(answer))


def test_without_ray_the_message_has_the_line_to_type(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray.data", None)
    with pytest.raises(ConfigError, match="not installed") as raised:
        open_engine("ray", EngineSettings())
    assert "singaudit[ray]" in raised.value.hint
