"""Models of the hub over a loopback server that speaks its protocol: just the files needed, one commit, every
misfortune one message. Each runs in a process of its own, because the hub's client reads its variables once."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from faulty_hub import COMMIT, serve

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
    def run(*arguments, start=False, **variables):
        environment = {
            k: v for k, v in os.environ.items() if not k.startswith("HF_") and k not in ("NO_COLOR", "FORCE_COLOR")
        }
        environment |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "NO_PROXY": "*", **variables}
        command = [sys.executable, "-m", "singaudit", *map(str, arguments)]
        if start:
            return subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=-1, stderr=-1, text=True)
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)

    return run


def incomplete(tmp_path):
    return list(tmp_path.rglob("*.incomplete"))


def refused(found, *words):
    assert found.returncode == 2, found.stderr
    assert "Traceback" not in found.stderr
    assert "try:" in found.stderr
    for word in words:
        assert word in found.stderr, found.stderr


def test_just_the_files_needed_are_downloaded_once(hub, cli, tmp_path):
    found = cli("vlm", "pull", NAME, "--format", "json")
    assert found.returncode == 0, found.stderr
    facts = json.loads(found.stdout)
    assert facts["revision"] == COMMIT
    assert facts["downloaded_bytes"] == facts["bytes"] > 1_000_000
    fetched = hub.fetched()
    assert sorted(fetched) == sorted(facts["files"])
    assert not {"pytorch_model.bin", "tf_model.h5", "README.md"} & set(fetched)
    assert "download org/clip" in found.stderr
    assert "MB" in found.stderr
    assert "\x1b" not in found.stderr
    assert Path(facts["folder"]).is_relative_to(tmp_path / "home" / "hub")
    hub.requests.clear()
    again = json.loads(cli("vlm", "pull", NAME, "--format", "json").stdout)
    assert again["downloaded_bytes"] == 0
    assert not hub.fetched()


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
    from singaudit.language.encoder import open_encoder

    assert open_encoder(str(tmp_path / "clip")).family == "clip"
    refused(cli("vlm", "pull", NAME, "-o", "clip"), "new or empty folder")


def test_a_revision_is_pinned(hub, cli):
    repository = hub.repositories[f"models/{NAME}"]
    repository.refs["v2"] = COMMIT
    for revision in ("v2", COMMIT):
        facts = json.loads(cli("vlm", "pull", f"{NAME}@{revision}", "--format", "json").stdout)
        assert facts["revision"] == COMMIT
    refused(cli("vlm", "pull", f"{NAME}@v3"), "no revision v3")


@pytest.mark.parametrize("name", ["../x", "org/clip@..", "a/b/c", "http://x/y", "org/..", "builtin:shapes"])
def test_what_is_no_name_never_reaches_the_network(hub, cli, name):
    refused(cli("vlm", "pull", name))
    assert not hub.requests


def test_a_missing_a_private_and_a_gated_model_say_what_to_do(hub, cli):
    refused(cli("vlm", "pull", "org/none"), "no model org/none", "HF_TOKEN")
    hub.repositories[f"models/{NAME}"].token = "hf_secret"
    refused(cli("vlm", "pull", NAME), "private", "HF_TOKEN")
    refused(cli("vlm", "pull", NAME, HF_TOKEN="hf_wrong"), "gated", "HF_TOKEN")
    assert cli("vlm", "pull", NAME, HF_TOKEN="hf_secret").returncode == 0


def test_offline_without_a_cached_model_and_with_a_part_of_one(hub, cli, tmp_path):
    refused(cli("vlm", "pull", NAME, HF_HUB_OFFLINE="1"), "not in the cache", "vlm pull", "--vlm DIR", "--pack")
    folder = Path(json.loads(cli("vlm", "pull", NAME, "--format", "json").stdout)["folder"])
    (folder / "model.safetensors").unlink()
    refused(cli("vlm", "pull", NAME, HF_HUB_OFFLINE="1"), "only in part")


def test_an_unreachable_hub_falls_back_to_the_cached_commit_alone(hub, cli):
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9"}
    refused(cli("vlm", "pull", NAME, **nowhere), "could not be had", "--vlm DIR")
    assert cli("vlm", "pull", NAME).returncode == 0
    facts = json.loads(cli("vlm", "pull", NAME, "--format", "json", **nowhere).stdout)
    assert facts["revision"] == COMMIT


@pytest.mark.parametrize("status", [429, 503])
def test_trouble_that_passes_is_waited_for(hub, cli, status):
    hub.statuses["/api/"] = [status]
    assert cli("vlm", "pull", NAME).returncode == 0


def test_trouble_that_stays_is_explained(hub, cli):
    hub.statuses["/api/"] = [500] * 20
    refused(cli("vlm", "pull", NAME), "status 500")


def test_a_body_that_breaks_off_is_resumed(hub, cli):
    hub.truncate = 700_000
    hub.ranges = True
    process = cli("vlm", "pull", NAME, "--format", "json", start=True)
    time.sleep(2)
    hub.truncate = None
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err


@pytest.mark.parametrize(("fault", "word"), [("corrupt", "damaged"), ("wrong_size", "incomplete")])
def test_damaged_files_do_not_stay(hub, cli, tmp_path, fault, word):
    setattr(hub, fault, True)
    refused(cli("vlm", "pull", NAME), word)
    assert not incomplete(tmp_path)
    assert not list((tmp_path / "home").rglob("model.safetensors"))
    setattr(hub, fault, False)
    assert cli("vlm", "pull", NAME).returncode == 0


def test_a_download_that_stands_still_is_given_up(hub, cli, tmp_path):
    hub.stall = 60
    started = time.monotonic()
    found = cli("vlm", "pull", NAME, HF_HUB_DOWNLOAD_TIMEOUT="1")
    assert time.monotonic() - started < 30
    refused(found, "HF_HUB_DOWNLOAD_TIMEOUT")
    assert not incomplete(tmp_path)


@pytest.mark.parametrize("fault", ["rate", "stall"])
def test_an_interrupt_is_answered_within_a_second_and_leaves_nothing_half_written(hub, cli, tmp_path, fault):
    setattr(hub, fault, 20_000 if fault == "rate" else 60)
    process = cli("vlm", "pull", NAME, start=True)
    deadline = time.monotonic() + 30
    while not any("GET /cdn" in line for line in hub.requests) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    sent = time.monotonic()
    _, err = process.communicate(timeout=30)
    assert time.monotonic() - sent < 2  # a second, and room for a busy machine
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert not incomplete(tmp_path)


def test_a_repository_without_safetensors_is_refused_before_any_download(hub, cli):
    hub.repositories[f"models/{NAME}"].files.pop("model.safetensors")
    refused(cli("vlm", "pull", NAME), "pickled weights are never loaded")
    assert not hub.fetched()


def test_shards_are_fetched_with_their_index(hub, cli):
    files = hub.repositories[f"models/{NAME}"].files
    files["model-00001-of-00001.safetensors"] = files.pop("model.safetensors")
    files["model.safetensors.index.json"] = b'{"weight_map": {"x": "model-00001-of-00001.safetensors"}}'
    assert cli("vlm", "pull", NAME).returncode == 0
    assert "model-00001-of-00001.safetensors" in hub.fetched()


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
