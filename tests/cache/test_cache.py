"""The cache: rows come back as they went in, damage is noticed, nothing of a user's is touched."""

import logging
import os
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from singaudit.cache import store as cache_module
from singaudit.cache.store import Cache, cache_bytes, cache_folder, clear, shelves
from singaudit.errors import ConfigError, MachineError
from singaudit.machine import arithmetic

KEYS = [f"{i:02x}" * 31 + "00" for i in range(20)]
"""Content hashes that end in zero bytes, which NumPy's byte strings drop."""
A = np.arange(60, dtype=np.float32).reshape(20, 3)
B = np.linspace(0, 1, 100).reshape(20, 5)


def filled(folder, identity=None):
    shelf = Cache(folder).shelf("features", identity or {"model": "m"})
    shelf.add(KEYS[:12], (A[:12], B[:12]))
    shelf.flush()
    other = Cache(folder).shelf("features", identity or {"model": "m"})
    other.add(KEYS[12:], (A[12:], B[12:]))
    other.flush()
    return other


def opened(folder, identity=None):
    return Cache(folder).shelf("features", identity or {"model": "m"})


@pytest.mark.parametrize("reopen", [False, True])
def test_rows_come_back_as_they_went_in(tmp_path, reopen):
    shelf = filled(tmp_path)
    shelf = opened(tmp_path) if reopen else shelf
    order = [17, 3, 12, 0, 19]
    first, second = shelf.take([KEYS[i] for i in order])
    np.testing.assert_array_equal(first, A[order])
    np.testing.assert_array_equal(second, B[order])
    assert (first.dtype, second.dtype) == (np.float32, np.float64)
    assert KEYS[5] in shelf
    assert "ff" * 32 not in shelf


def test_without_a_folder_rows_stay_in_memory():
    shelf = Cache(None).shelf("texts", {})
    shelf.add(KEYS[:2], (A[:2],))
    assert KEYS[0] not in shelf
    shelf.flush()
    np.testing.assert_array_equal(shelf.take(KEYS[:2])[0], A[:2])


def test_another_model_preprocessing_version_or_code_finds_nothing(tmp_path, monkeypatch):
    filled(tmp_path)
    assert KEYS[0] not in opened(tmp_path, {"model": "other"})
    here = cache_module.surroundings()
    monkeypatch.setattr(cache_module, "surroundings", lambda: {**here, "code": "changed"})
    assert KEYS[0] not in opened(tmp_path)


@pytest.mark.parametrize("damage", ["truncated", "edited", "empty", "another", "pickle"])
def test_a_damaged_file_is_said_and_made_again(tmp_path, caplog, damage):
    filled(tmp_path)
    path = sorted(tmp_path.glob("features-*/*.npy"))[0]
    data = path.read_bytes()
    path.write_bytes(
        {
            "truncated": data[:-7],
            "edited": data[:-1] + bytes([data[-1] ^ 1]),
            "empty": b"",
            "another": b"\x93NUMPY" + b"\0" * 200,
            "pickle": pickle.dumps(os.getcwd),
        }[damage]
    )
    with caplog.at_level(logging.WARNING):
        shelf = opened(tmp_path)
    assert "damaged" in caplog.text
    assert not path.exists()
    left = sum(key in shelf for key in KEYS)
    assert left in (8, 12)


def test_a_file_that_is_sound_but_holds_no_rows_is_refused(tmp_path):
    filled(tmp_path)
    folder = next(tmp_path.glob("features-*"))
    import hashlib

    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    data = (tmp_path / "x.npy").read_bytes()
    (folder / f"{hashlib.sha256(data).hexdigest()}.npy").write_bytes(data)
    assert sum(key in opened(tmp_path) for key in KEYS) == len(KEYS)


def test_a_cache_that_cannot_be_written_is_said_once_and_does_without(tmp_path, caplog, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("singaudit.disk._new_file", full)
    with caplog.at_level(logging.WARNING):
        cache = Cache(tmp_path)
        for kind in ("features", "images", "features"):
            shelf = cache.shelf(kind, {"model": "m"})
            shelf.add(KEYS, (A, B))
            shelf.flush()
        cache.remember("facts", {"a": 1})
    assert caplog.text.count("cannot be written") == 1
    assert "No space left" in caplog.text
    assert not list(tmp_path.rglob("*.npy"))


@pytest.mark.skipif(os.name != "posix", reason="permission bits")
def test_a_folder_that_others_can_write_is_not_read(tmp_path, caplog):
    filled(tmp_path)
    next(tmp_path.glob("features-*")).chmod(0o777)
    with caplog.at_level(logging.WARNING):
        assert KEYS[0] not in opened(tmp_path)
    assert "is not used" in caplog.text


@pytest.mark.skipif(os.name != "posix", reason="permission bits")
@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_a_cache_that_the_group_or_others_can_write_is_neither_read_nor_written(tmp_path, caplog, mode):
    filled(tmp_path)
    Cache(tmp_path).remember("facts", {"a": 1})
    before = sorted(tmp_path.rglob("*"))
    tmp_path.chmod(mode)
    with caplog.at_level(logging.WARNING):
        filled(tmp_path, {"model": "n"})
        assert sorted(tmp_path.rglob("*")) == before
        assert KEYS[0] not in opened(tmp_path)
        assert Cache(tmp_path).recall("facts") is None
    assert "is not used" in caplog.text


@pytest.mark.skipif(os.name != "posix", reason="permission bits")
def test_files_that_the_group_can_write_are_made_again(tmp_path, caplog):
    filled(tmp_path)
    Cache(tmp_path).remember("facts", {"a": 1})
    for path in [*tmp_path.rglob("*.npy"), tmp_path / "facts.json"]:
        path.chmod(0o660)
    assert KEYS[0] not in opened(tmp_path)
    assert Cache(tmp_path).recall("facts") is None
    assert "can be written by others" in caplog.text


def test_rows_of_another_model_in_a_models_place_are_refused(tmp_path, caplog):
    """Whoever exchanges the files of two models would turn a failed gate into a passed one."""
    filled(tmp_path, {"model": "leaky"})
    filled(tmp_path, {"model": "clean"})
    one, two = sorted(tmp_path.glob("features-*"))
    one.rename(tmp_path / "aside")
    two.rename(one)
    (tmp_path / "aside").rename(two)
    for model in ("leaky", "clean"):
        assert not any(key in opened(tmp_path, {"model": model}) for key in KEYS)
    assert "not what its name says" in caplog.text


def test_facts_of_another_name_are_refused(tmp_path):
    cache = Cache(tmp_path)
    cache.remember("leaky", {"status": "failed"})
    cache.remember("clean", {"status": "passed"})
    (tmp_path / "clean.json").replace(tmp_path / "leaky.json")
    assert cache.recall("leaky") is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs")
@pytest.mark.parametrize("kind", ["fifo", "link", "folder"])
def test_what_is_no_file_is_refused_without_waiting(tmp_path, kind, caplog):
    filled(tmp_path)
    cache = Cache(tmp_path)
    cache.remember("facts", {"a": 1})
    for path in [*tmp_path.glob("features-*/*.npy"), tmp_path / "facts.json"]:
        kept = path.rename(tmp_path / f"kept{path.suffix}")
        {"fifo": lambda p: os.mkfifo(p, 0o600), "link": lambda p, k=kept: p.symlink_to(k), "folder": os.mkdir}[kind](
            path
        )
    assert KEYS[0] not in opened(tmp_path)
    assert cache.recall("facts") is None


def test_a_shelf_that_is_a_link_is_not_used(tmp_path, caplog):
    filled(tmp_path / "real")
    shelf = next((tmp_path / "real").glob("features-*"))
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / shelf.name).symlink_to(shelf)
    assert KEYS[0] not in opened(tmp_path / "cache")
    assert "is not used" in caplog.text


def test_folders_above_the_cache_are_this_users_alone_whatever_the_umask(tmp_path):
    before = os.umask(0o002)
    try:
        filled(tmp_path / "a" / "b")
    finally:
        os.umask(before)
    assert all(p.stat().st_mode & 0o077 == 0 for p in (tmp_path / "a").rglob("*"))
    assert KEYS[0] in opened(tmp_path / "a" / "b")


def test_rows_are_written_in_steps_and_grow_into_one_file(tmp_path, monkeypatch):
    """An audit that is killed loses the last seconds, and one that is not leaves no crumbs."""
    now = [0.0]
    monkeypatch.setattr("singaudit.cache.shelf.time.monotonic", lambda: now[0])
    shelf = opened(tmp_path)
    for i in range(20):
        now[0] += 7.0
        shelf.add(KEYS[i : i + 1], (A[i : i + 1], B[i : i + 1]))
        kept = sum(key in opened(tmp_path) for key in KEYS)
        assert kept >= i + 1 - 3  # 21 seconds of work
    shelf.flush()
    assert len(list(tmp_path.rglob("*.npy"))) == 1
    np.testing.assert_array_equal(opened(tmp_path).take(KEYS)[1], B)
    np.testing.assert_array_equal(shelf.take(KEYS)[0], A)


def test_a_shelf_that_settles_holds_no_rows_and_takes_more(tmp_path):
    shelf = opened(tmp_path)
    shelf.add(KEYS[:5], (A[:5],))
    shelf.settle()
    assert not shelf._new
    shelf.add(KEYS[5:9], (A[5:9],))
    shelf.settle()
    np.testing.assert_array_equal(opened(tmp_path).take(KEYS[:9])[0], A[:9])
    in_memory = Cache(None).shelf("texts", {})
    in_memory.add(KEYS[:2], (A[:2],))
    in_memory.settle()
    np.testing.assert_array_equal(in_memory.take(KEYS[:2])[0], A[:2])


def test_a_file_that_is_cut_while_it_is_used_is_a_message(tmp_path):
    filled(tmp_path)
    shelf = opened(tmp_path)
    for path in tmp_path.rglob("*.npy"):
        os.truncate(path, 200)
    with pytest.raises(MachineError, match="cut short"):
        shelf.take(KEYS)


def test_what_a_dead_process_left_goes_and_what_a_living_one_writes_stays(tmp_path):
    from singaudit.disk import ASIDE, written_aside

    filled(tmp_path)
    left = next(tmp_path.glob("features-*")) / f"{ASIDE}{'0' * 16}"
    left.write_bytes(b"half")
    with written_aside(left.parent / "mine.npy") as file:
        file.write(b"x")
        Cache(tmp_path).prune()
        assert not left.exists()
        assert len(list(left.parent.glob(f"{ASIDE}*"))) == 1
    assert (left.parent / "mine.npy").exists()


def test_several_processes_may_write_at_once(tmp_path):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: filled(tmp_path), range(8)))
    shelf = opened(tmp_path)
    np.testing.assert_array_equal(shelf.take(KEYS)[0], A)
    assert not list(tmp_path.glob("*/.singaudit-*"))


def test_the_oldest_files_go_first_and_nothing_else_is_touched(tmp_path):
    (tmp_path / "mine").mkdir()
    mine = [tmp_path / "mine" / f"{'a' * 64}.npy", tmp_path / "thesis.npy"]
    for path in mine:
        path.write_bytes(b"years of work" * 1000)
    filled(tmp_path, {"model": "old"})
    for path in tmp_path.glob("features-*/*.npy"):
        os.utime(path, (1, 1))
    filled(tmp_path, {"model": "new"})
    size = cache_bytes(tmp_path)
    Cache(tmp_path).prune(size - 1)
    assert all(path.exists() for path in mine)
    assert cache_bytes(tmp_path) < size
    assert all(key in opened(tmp_path, {"model": "new"}) for key in KEYS)
    Cache(tmp_path).prune(0)
    assert cache_bytes(tmp_path) == 0


def test_clearing_takes_what_the_cache_wrote_and_nothing_else(tmp_path):
    filled(tmp_path)
    Cache(tmp_path).remember(f"encoder-{'a' * 64}", {"a": 1})
    [shelf] = tmp_path.glob("features-*")
    mine = [tmp_path / "thesis.npy", tmp_path / "notes.json", shelf / "mine.txt"]
    for path in mine:
        path.write_bytes(b"years of work")
    size = cache_bytes(tmp_path)
    assert shelves(tmp_path) == [("features", size)]
    assert clear(tmp_path) == size > 0
    assert sorted(p for p in tmp_path.rglob("*") if p.is_file()) == sorted(mine)
    assert clear(tmp_path) == 0


def test_other_arithmetic_finds_nothing(monkeypatch):
    here = arithmetic("cpu")
    assert here == arithmetic("CPUExecutionProvider")
    monkeypatch.setattr(np, "show_config", lambda mode: {"SIMD Extensions": {"found": ["ASIMD"]}})
    assert arithmetic("cpu") == "ASIMD" != here


def test_facts_are_recalled_only_as_they_were(tmp_path):
    cache = Cache(tmp_path)
    cache.remember("facts", {"a": [1, 2]})
    assert cache.recall("facts") == {"a": [1, 2]}
    path = tmp_path / "facts.json"
    path.write_text(path.read_text().replace("1", "7", 1))
    assert cache.recall("facts") is None
    for text in ("", "[]", "[" * 100_000, '{"facts": 1, "sha256": 2}'):
        path.write_text(text)
        assert cache.recall("facts") is None
    assert cache.recall("none") is None


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.delenv("SINGAUDIT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder("auto") == tmp_path / "singaudit"
    monkeypatch.setenv("SINGAUDIT_CACHE", "none")
    assert cache_folder("auto") is None
    assert cache_folder("none") is None
    assert cache_folder(str(tmp_path / "x")) == tmp_path / "x"
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is a file"):
        Cache(tmp_path / "file")
