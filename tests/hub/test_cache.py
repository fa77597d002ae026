"""What killed downloads left in the hub's cache goes; what somebody still downloads stays."""

import pytest

from singaudit.hub.cache import repository_folder, sweep_unfinished, unfinished

fcntl = pytest.importorskip("fcntl")


def test_leftovers_of_dead_downloads_are_removed_and_living_ones_stay(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    blobs = repository_folder("org/name") / "blobs"
    blobs.mkdir(parents=True)
    locks = tmp_path / ".locks" / "models--org--name"
    locks.mkdir(parents=True)
    for name in ("dead", "alive", "lockless"):
        (blobs / f"{name}.incomplete").write_bytes(b"half")
    (blobs / "whole").write_bytes(b"whole")
    (locks / "dead.lock").touch()
    with (locks / "alive.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        sweep_unfinished("org/name")
        assert {p.name for p in unfinished("org/name")} == {"alive.incomplete"}
    sweep_unfinished("org/name")
    assert not unfinished("org/name")
    assert (blobs / "whole").exists()
