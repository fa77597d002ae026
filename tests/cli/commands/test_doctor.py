"""The doctor: every check has an outcome, what does not work has a way to mend it, and nothing stops it."""

import json

import pytest

from singaudit.cli.commands import doctor


@pytest.fixture(scope="module")
def facts():
    return doctor.examine()


def by_name(checks):
    return {check["name"]: check for check in checks}


def test_every_check_has_an_outcome_and_what_fails_a_way_to_mend_it(facts):
    assert json.loads(json.dumps(facts)) == facts
    checks = by_name(facts["checks"])
    assert {"ONNX Runtime", "GPU", "PDF", "built-in language model", "cached language models"} <= set(checks)
    for check in facts["checks"]:
        assert check["found"], check
        assert check["ok"] or check["mend"], check
    assert checks["ONNX Runtime"]["ok"]
    assert checks["built-in language model"]["ok"]


def test_people_read_the_same(facts, capsys):
    doctor.show({**facts, "checks": [*facts["checks"], doctor._check("x", False, "a\x1b[31mb", "mend it")]})
    shown = capsys.readouterr().out
    assert all(check["name"] in shown for check in facts["checks"])
    assert "to mend: mend it" in shown
    assert "\x1b" not in shown


def test_a_check_that_breaks_is_an_outcome_too():
    def _broken_thing():
        raise OSError("no such library")

    found = doctor._surely(_broken_thing)
    assert not found["ok"]
    assert "no such library" in found["found"]
    assert found["mend"]


def test_language_models_in_the_hubs_cache_are_listed(tmp_path, monkeypatch):
    def cached(name, config, weights):
        folder = tmp_path / f"models--{name.replace('/', '--')}"
        commit = folder / "snapshots" / ("a" * 40)
        commit.mkdir(parents=True)
        (folder / "blobs").mkdir()
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text("a" * 40)
        for i, (file, content) in enumerate({"config.json": config, weights: "w"}.items()):
            (folder / "blobs" / str(i)).write_text(content)
            (commit / file).symlink_to(folder / "blobs" / str(i))

    cached("me/clip", '{"model_type": "clip"}', "model.safetensors")
    cached("me/bert", '{"model_type": "bert"}', "model.safetensors")
    cached("me/pickled", '{"model_type": "clip"}', "pytorch_model.bin")
    cached("me/broken", "[" * 100_000, "model.safetensors")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    found = doctor._cached_encoders()["found"]
    assert "me/clip (aaaaaaaa" in found
    assert "bert" not in found
    assert "me/pickled (aaaaaaaa" in found  # its tensors are read without running it
    assert "broken" not in found


def test_a_cache_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("SINGAUDIT_CACHE", str(tmp_path / "file" / "cache"))
    (tmp_path / "file").write_text("")
    found = doctor._cache()
    assert not found["ok"]
    assert "SINGAUDIT_CACHE" in found["mend"]
    monkeypatch.setenv("SINGAUDIT_CACHE", str(tmp_path / "cache"))
    assert doctor._cache()["ok"]
    assert "10 GiB" in doctor._cache()["found"]
