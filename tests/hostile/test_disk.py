"""Disks that are full and folders that refuse: exit 3 or 2, the earlier audit whole, nothing half-written."""

import os
import resource
import shutil
import subprocess
import sys

import pytest
from hostile import run, seen

pytestmark = pytest.mark.faults

RUN = [sys.executable, "-m", "singaudit"]


def singaudit(*words, cwd, limit=None, **kwargs):
    def limited():
        if limit is not None:
            # The file system of a full disk, seen by a process that may not write more than this into a file.
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.run(
        [*RUN, *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=240,
        check=False,
        preexec_fn=limited,
        **kwargs,
    )


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KiB, where this user may make one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if made.returncode != 0:
        pytest.skip("no file system can be mounted here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=False)


def refused(found):
    assert found.returncode == 3, (found.returncode, found.stderr)
    assert "Traceback" not in found.stderr
    assert "singaudit:" in found.stderr
    assert "try:" in found.stderr


@pytest.mark.parametrize("limit", [0, 1000])
def test_a_full_disk_leaves_nothing(tmp_path, limit):
    env = {**os.environ, "TMPDIR": "/dev/shm"} if os.path.isdir("/dev/shm") else None
    found = singaudit("report", _result(tmp_path), "--report", "json", "-o", "out", cwd=tmp_path, limit=limit, env=env)
    refused(found)
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


def test_a_full_disk_keeps_the_earlier_report(tmp_path):
    assert singaudit("report", _result(tmp_path), "--report", "json", "-o", "out", cwd=tmp_path).returncode == 0
    before = seen(tmp_path)
    refused(singaudit("report", "result.json", "--report", "json", "-o", "out", cwd=tmp_path, limit=1000))
    assert seen(tmp_path) == before


def test_a_disk_that_is_really_full_keeps_what_is_on_it(tmp_path, small_disk):
    (small_disk / "thesis").write_bytes(b"x" * 258_000)
    result = _result(tmp_path)
    before = seen(small_disk)
    refused(singaudit("report", result, "--report", "json", "-o", small_disk / "out", cwd=tmp_path))
    assert seen(small_disk) == before


def test_a_pack_does_not_fit_and_the_earlier_one_stays(small_disk):
    words = ["pack", "--images", "shapes:8", "--vlm", "builtin:shapes", "-q", "-o", str(small_disk / "x.pack")]
    assert run(words).exit_code == 0
    room, needed = shutil.disk_usage(small_disk).free, (small_disk / "x.pack").stat().st_size
    (small_disk / "thesis").write_bytes(b"x" * (room - needed // 2))
    before = seen(small_disk)
    found = run(words)
    assert found.exit_code == 3, found.stderr
    assert "try:" in found.stderr
    assert seen(small_disk) == before


def test_a_cache_that_is_full_costs_nothing_but_a_warning(tmp_path, small_disk, caplog):
    (small_disk / "thesis").write_bytes(b"x" * 250_000)
    words = ["pack", "--images", "shapes:40", "--vlm", "builtin:shapes", "-o", str(tmp_path / "x.pack")]
    found = run([*words, "--cache", str(small_disk / "cache")])
    assert found.exit_code == 0, found.stderr
    assert "cannot be written" in caplog.text
    assert (tmp_path / "x.pack").stat().st_size > 50_000


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_refused(tmp_path):
    (tmp_path / "shut").mkdir(mode=0o500)
    found = singaudit("run", "builtin:leaky", "-o", "shut/out", cwd=tmp_path)
    assert found.returncode == 2
    assert "writable" in found.stderr


def test_a_read_only_file_system_is_refused(tmp_path, small_disk):
    if subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], capture_output=True, check=False).returncode:
        pytest.skip("it cannot be made read-only here")
    found = singaudit("run", "builtin:leaky", "-o", small_disk / "out", cwd=tmp_path)
    assert found.returncode == 2, found.stderr
    assert "Traceback" not in found.stderr
    assert "try:" in found.stderr


def _result(folder):
    from result_cases import stored

    stored()(folder)
    return folder / "result.json"
