"""Language models of the hub, over a loopback server that speaks its protocol, as ``vlm pull`` and audits use them.
What may go wrong on the way stands in tests/hub."""

import json
import subprocess
import sys

import pytest
from hub_server import COMMIT, serve

NAME = "org/clip"


@pytest.fixture
def hub(models):
    with serve() as hub:
        hub.add(
            NAME, models / "clip-shapes", **{"pytorch_model.bin": b"pickle", "tf_model.h5": b"x", "README.md": b"x"}
        )
        yield hub


@pytest.fixture
def cli(hub, tmp_path):
    def run(*arguments, **variables):
        environment = hub.environment(tmp_path / "home", **variables)
        command = [sys.executable, "-m", "singaudit", *map(str, arguments)]
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)

    return run


def refused(found, *words):
    assert found.returncode == 2, found.stderr
    assert "Traceback" not in found.stderr
    assert "try:" in found.stderr
    for word in words:
        assert word in found.stderr, found.stderr


def test_an_audit_records_the_commit_and_needs_no_hub_once_the_model_is_cached(hub, cli, tmp_path, models):
    assert cli("vlm", "pull", NAME).returncode == 0
    hub.requests.clear()
    found = cli(
        "run", models / "clean.onnx", "--images", "shapes:60", "--vlm", NAME, "--no-cache", "--report", "json", "-o",
        "out", HF_HUB_OFFLINE="1",
    )  # fmt: skip
    assert found.returncode in (0, 4), found.stderr
    assert json.loads((tmp_path / "out" / "result.json").read_text())["encoder"]["revision"] == COMMIT
    assert not hub.requests


def test_a_copy_is_plain_files_that_open_as_a_folder(hub, cli, tmp_path):
    found = cli("vlm", "pull", NAME, "-o", "clip")
    assert found.returncode == 0, found.stderr
    assert not any(path.is_symlink() for path in (tmp_path / "clip").iterdir())
    from singaudit.language.encoders.table import open_encoder

    assert open_encoder(str(tmp_path / "clip")).family == "clip"
    refused(cli("vlm", "pull", NAME, "-o", "clip"), "new or empty folder")


def test_a_repository_without_weights_is_refused_before_any_download(hub, cli):
    held = hub.repositories[f"models/{NAME}"].files
    for name in ("model.safetensors", "pytorch_model.bin"):
        held.pop(name, None)
    refused(cli("vlm", "pull", NAME), "expected weights as model.safetensors")
    assert not hub.fetched()


def test_models_in_the_cache_are_listed(hub, cli):
    assert json.loads(cli("vlm", "list", "--format", "json").stdout) == {"models": []}
    cli("vlm", "pull", NAME)
    listed = json.loads(cli("vlm", "list", "--format", "json").stdout)["models"]
    assert [(m["name"], m["revision"]) for m in listed] == [(NAME, COMMIT)]


def test_an_open_clip_repository_is_fetched_by_its_own_name(hub, cli, tmp_path):
    pytest.importorskip("open_clip")
    hub.add("org/open", **{"open_clip_config.json": b"{}", "open_clip_model.safetensors": b"x" * 1000, "a.bin": b"x"})
    facts = json.loads(cli("vlm", "pull", "open_clip:hf-hub:org/open", "--format", "json").stdout)
    assert facts["files"] == ["open_clip_config.json", "open_clip_model.safetensors"]
    refused(cli("vlm", "pull", "org/open"), "open_clip:hf-hub:")


def test_offline_the_message_names_what_a_machine_without_internet_can_do(cli):
    refused(cli("vlm", "pull", NAME, HF_HUB_OFFLINE="1"), "not in the cache", "vlm pull", "--vlm DIR", "--pack")
    refused(cli("vlm", "pull", "builtin:shapes"), "needs no download")
