"""What is fetched from the hub, over a loopback server that speaks its protocol, for both that fetch by it: language
models and classifiers. Just the files needed, one commit, every misfortune one message. Each runs in a process of its
own, because the hub's client reads its variables once."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hub_server import COMMIT, git_hash, serve
from safetensors.numpy import save_file

pytestmark = pytest.mark.faults

NAME = "org/name"
FETCH = """
import json, sys
from singaudit.classifier.openers.hub import fetch_classifier
from singaudit.cli.terminal import Reporter
with Reporter("auto") as reporter:
    found = fetch_classifier(sys.argv[1], reporter)
facts = {"revision": found.revision, "folder": str(found.folder), "files": found.files}
print(json.dumps({**facts, "bytes": found.size, "downloaded_bytes": found.downloaded}))
"""
"""Without the export that follows in ``inspect``, which these tests are not about."""


@dataclass
class Client:
    """One of the two, its repository on the hub."""

    hub: object
    folder: Path
    fetches: list
    opens: list
    local: str

    def start(self, command, name, **variables):
        environment = self.hub.environment(self.folder / "home", **variables)
        command = [sys.executable, *(part.replace("NAME", name) for part in command)]
        return subprocess.Popen(
            command, env=environment, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def fetched(self, name=NAME, **variables):
        process = self.start(self.fetches, name, **variables)
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        return json.loads(out), err

    def refused(self, *words, name=NAME, **variables):
        process = self.start(self.opens, name, **variables)
        _, err = process.communicate(timeout=120)
        assert process.returncode == 2, err
        assert "Traceback" not in err
        for word in ("try:", *words):
            assert word in err, err

    def incomplete(self):
        return list(self.folder.rglob("*.incomplete"))

    def downloads(self):
        return sum("GET /cdn" in line for line in self.hub.requests)


def soon(true):
    """Wait until it is true, as long as a busy machine may take."""
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def vit(tmp_path):
    """What a classifier's repository holds; 1.6 MB, large enough to break off in the middle. Nothing here opens it."""
    folder = tmp_path / "vit"
    folder.mkdir()
    weights = np.random.default_rng(0).standard_normal(400_000).astype(np.float32)
    save_file({"classifier.weight": weights}, folder / "model.safetensors")
    config = {"model_type": "vit", "architectures": ["ViTForImageClassification"]}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text('{"do_normalize": false}')
    return folder


@pytest.fixture(params=["language model", "classifier"])
def client(request, models, vit, tmp_path):
    with serve() as hub:
        more = {"pytorch_model.bin": b"pickle", "tf_model.h5": b"x", "README.md": b"x"}
        if request.param == "classifier":
            hub.add(NAME, vit, **more)
            yield Client(hub, tmp_path, ["-c", FETCH, "NAME"], ["-m", "singaudit", "inspect", "hf:NAME"], "a folder")
        else:
            hub.add(NAME, models / "clip-shapes", **more)
            pull = ["-m", "singaudit", "vlm", "pull", "NAME"]
            yield Client(hub, tmp_path, [*pull, "--format", "json"], pull, "--vlm DIR")


def files_of(client):
    return client.hub.repositories[f"models/{NAME}"].files


def test_just_the_files_needed_are_downloaded_once(client):
    facts, err = client.fetched()
    assert facts["revision"] == COMMIT
    assert facts["downloaded_bytes"] == facts["bytes"] > 1_000_000
    fetched = client.hub.fetched()
    assert sorted(fetched) == sorted(facts["files"])
    assert not {"pytorch_model.bin", "tf_model.h5", "README.md"} & set(fetched)
    assert f"download {NAME}" in err
    assert "MB (100%)" in err
    assert "\x1b" not in err
    assert Path(facts["folder"]).is_relative_to(client.folder / "home" / "hub")
    client.hub.requests.clear()
    again, err = client.fetched()
    assert again["downloaded_bytes"] == 0
    assert not client.hub.fetched()
    assert "download" not in err


def test_a_revision_is_pinned(client):
    client.hub.repositories[f"models/{NAME}"].refs["v2"] = COMMIT
    for revision in ("v2", COMMIT):
        facts, _ = client.fetched(f"{NAME}@{revision}")
        assert facts["revision"] == COMMIT
    client.refused("no revision v3", name=f"{NAME}@v3")


@pytest.mark.parametrize("name", ["../x", "org/clip@..", "a/b/c", "http://x/y", "org/.."])
def test_what_is_no_name_never_reaches_the_network(client, name):
    client.refused("expected a", client.local, name=name)
    assert not client.hub.requests


@pytest.mark.parametrize("commit", ["../../../../evil", "/tmp/evil", "g" * 40, "1" * 39, "x\ny", "1" * 40 + "/.."])
def test_a_commit_that_is_none_leads_nowhere(client, commit):
    repository = client.hub.repositories[f"models/{NAME}"]
    repository.commit, repository.refs = commit, {"main": commit}
    before = sorted(client.folder.rglob("*"))
    client.refused("where the commit")
    new = [path.relative_to(client.folder) for path in client.folder.rglob("*") if path not in before]
    assert all(path.parts[0] == "home" for path in new)
    assert not any("evil" in str(path) for path in new)
    assert not client.hub.fetched()


@pytest.mark.parametrize("size", [-1, "lots", 1.5, [3], {"a": 1}, True])
def test_a_size_that_is_none_is_refused(client, size):
    client.hub.stated_size = size
    client.refused("sizes of the files")
    assert not client.hub.fetched()


def test_a_missing_a_private_and_a_gated_repository_say_what_to_do(client):
    client.refused("org/none, or it is private", "HF_TOKEN", client.local, name="org/none")
    client.hub.repositories[f"models/{NAME}"].token = "hf_secret"
    client.refused("private", "HF_TOKEN")
    client.refused("gated", "HF_TOKEN", HF_TOKEN="hf_wrong")
    client.fetched(HF_TOKEN="hf_secret")


def test_offline_the_cache_serves_whole_or_not_at_all(client):
    client.refused("not in the cache", "HF_HUB_OFFLINE is set", "Where there is internet", HF_HUB_OFFLINE="1")
    facts, _ = client.fetched()
    client.hub.requests.clear()
    assert client.fetched(HF_HUB_OFFLINE="1")[0]["revision"] == COMMIT
    assert not client.hub.requests
    for file in facts["files"]:
        if file in ("config.json", "tokenizer.json", "model.safetensors"):
            link = Path(facts["folder"]) / file
            target = link.readlink()
            link.unlink()
            client.refused("only in part", HF_HUB_OFFLINE="1")
            link.symlink_to(target)


def test_an_unreachable_hub_falls_back_to_the_cached_commit_alone(client):
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9"}
    client.refused("could not be had", "HF_ENDPOINT", "Where there is internet", **nowhere)
    client.fetched()
    assert client.fetched(**nowhere)[0]["revision"] == COMMIT


@pytest.mark.parametrize("status", [429, 503])
def test_trouble_that_passes_is_waited_for(client, status):
    client.hub.statuses["/api/"] = [status]
    client.fetched()


def test_trouble_that_stays_is_explained(client):
    client.hub.statuses["/api/"] = [500] * 20
    client.refused("status 500")


def test_a_body_that_breaks_off_is_resumed(client):
    client.hub.truncate = 700_000
    process = client.start(client.fetches, NAME)
    soon(lambda: client.downloads() > 1)
    client.hub.truncate = None
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err


@pytest.mark.parametrize(("fault", "word"), [("corrupt", "damaged"), ("wrong_size", "incomplete")])
def test_damaged_files_do_not_stay(client, fault, word):
    setattr(client.hub, fault, True)
    client.refused(word)
    assert not client.incomplete()
    assert not list((client.folder / "home").rglob("model.safetensors"))
    setattr(client.hub, fault, False)
    client.fetched()


def test_a_download_that_stands_still_is_given_up(client):
    client.hub.stall = 600
    client.refused("stood still", "HF_HUB_DOWNLOAD_TIMEOUT", HF_HUB_DOWNLOAD_TIMEOUT="1")
    assert not client.incomplete()


@pytest.mark.parametrize("fault", ["rate", "stall"])
def test_an_interrupt_is_answered_at_once_and_leaves_nothing_half_written(client, fault):
    setattr(client.hub, fault, 5_000 if fault == "rate" else 600)
    process = client.start(client.opens, NAME, HF_HUB_DOWNLOAD_TIMEOUT="300")
    soon(lambda: client.downloads() and client.incomplete())
    process.send_signal(signal.SIGINT)
    # Within a second, and room for a busy machine: the download itself goes on for five minutes.
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert not client.incomplete()


def shard(client, *names):
    files = files_of(client)
    files[names[0]] = files.pop("model.safetensors")
    index = {"weight_map": {f"w{i}": name for i, name in enumerate(names)}}
    files["model.safetensors.index.json"] = json.dumps(index).encode()


def test_shards_are_those_that_the_index_lists_and_come_after_it(client):
    shard(client, "weights-1.safetensors")
    files_of(client)["model-of-another.safetensors"] = b"x"
    facts, _ = client.fetched()
    fetched = client.hub.fetched()
    assert fetched[-1] == "weights-1.safetensors"
    assert "model.safetensors.index.json" in fetched
    assert "model-of-another.safetensors" not in fetched
    assert facts["downloaded_bytes"] == sum(len(files_of(client)[name]) for name in facts["files"])


@pytest.mark.parametrize(
    ("part", "word"), [("../../../../etc/passwd", "plain file name"), ("gone.safetensors", "lacks gone.safetensors")]
)
def test_an_index_that_leads_elsewhere_fetches_no_weights(client, part, word):
    shard(client, "weights-1.safetensors", part)
    client.refused(word)
    assert not [name for name in client.hub.fetched() if name.endswith(".safetensors")]


def test_a_repository_of_another_kind_is_refused_before_its_weights_come(client):
    files_of(client)["config.json"] = b'{"model_type": "bert", "architectures": ["BertModel"]}'
    if client.local == "--vlm DIR":
        files_of(client).pop("model.safetensors")
        files_of(client).pop("pytorch_model.bin", None)
        client.refused("expected weights as model.safetensors")
    else:
        client.refused("expected an image classifier, config.json names BertModel")
    assert not [name for name in client.hub.fetched() if name.endswith((".safetensors", ".bin"))]


def test_what_a_classifier_may_lack_has_to_be_known_to_be_missing_offline(vit, tmp_path):
    with serve() as hub:
        hub.add(NAME, vit).files.pop("preprocessor_config.json")
        one = Client(hub, tmp_path, ["-c", FETCH, "NAME"], ["-m", "singaudit", "inspect", "hf:NAME"], "")
        facts, _ = one.fetched()
        assert one.fetched(HF_HUB_OFFLINE="1")[0]["files"] == facts["files"]
        # Nobody asked for it: that it is not in the cache does not say that there is none.
        (Path(facts["folder"]).parents[1] / ".no_exist" / COMMIT / "preprocessor_config.json").unlink()
        one.refused("only in part", "preprocessor_config.json is missing", HF_HUB_OFFLINE="1")


def test_the_server_states_hashes_as_git_does():
    assert git_hash(b"") == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
