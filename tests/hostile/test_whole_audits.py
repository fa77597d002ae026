"""Whole audits where it is tight or odd: little memory, stripped code, odd names, other threads and batches, many."""

import math
import os
import resource
import subprocess
import sys
import tempfile
import time

import pytest
import soak
import threadpoolctl

from singaudit import AuditConfig, audit, machine
from singaudit.language.encoders.running import exports, towers

pytestmark = [pytest.mark.faults, pytest.mark.skipif(sys.platform != "linux", reason="limits and /proc of Linux")]
AUDIT = ["run", "builtin:leaky", "--images", "shapes:60", "--vlm", "builtin:shapes", "--progress", "none", "-q"]
DONE = (0, 1, 4)


def singaudit(folder, *words, python=(), memory=None):
    def limited():
        if memory is not None:
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))

    return subprocess.run(
        [sys.executable, *python, "-m", "singaudit", *AUDIT, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
        preexec_fn=limited,
    )


@pytest.mark.timeout(600)
@pytest.mark.parametrize("gib", [0.5, 1.6, 4, 12])
def test_a_limit_on_memory_ends_in_a_report_or_in_one_message(tmp_path, gib):
    found = singaudit(tmp_path, "--no-cache", "--generate", "0", "-o", "out", memory=int(gib * 2**30))
    assert found.returncode in (*DONE, 3), (found.returncode, found.stderr)  # never a signal, never 2
    assert "Traceback" not in found.stderr
    if found.returncode == 3:
        assert "memory" in found.stderr
        assert not list(tmp_path.iterdir())
    else:
        assert (tmp_path / "out" / "result.json").is_file()


@pytest.mark.timeout(600)
def test_code_without_assertions_computes_the_same(tmp_path):
    words = ["--report", "json", "--generate", "0", "--no-cache"]
    found = []
    for out, python in (("plain", []), ("optimised", ["-O"])):
        ended = singaudit(tmp_path, *words, "-o", out, python=python)
        assert ended.returncode in DONE, ended.stderr
        assert "Traceback" not in ended.stderr
        found.append((ended.returncode, (tmp_path / out / "result.json").read_bytes()))
    assert found[0] == found[1]


def test_a_cache_whose_name_is_no_text_is_one_message(tmp_path):
    found = singaudit(tmp_path, "-o", "out", "--cache", os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe"))
    assert found.returncode == 2
    assert "text in UTF-8" in found.stderr
    assert "Traceback" not in found.stderr
    assert not list(tmp_path.iterdir())


def numbers(value, path=()):
    """Every number of a result by where it stands."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from numbers(inner, (*path, key))
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from numbers(inner, (*path, i))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path, value


def audited(threads, batch_size):
    machine.limit_cores(threads)
    with threadpoolctl.threadpool_limits(threads):
        config = AuditConfig(
            model="builtin:leaky",
            images="shapes:120",
            vlm="builtin:shapes",
            cache="none",
            generate=0,
            batch_size=batch_size,
        )
        return dict(numbers(audit(config).result.model_dump(mode="json")))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("way", ["torch", "ONNX Runtime"])
def test_no_number_depends_on_threads_or_batches(monkeypatch, way):
    """Also where the language model runs through ONNX Runtime, as all but the smallest do."""
    monkeypatch.setenv("_SINGAUDIT_CORES", "1")
    if way == "ONNX Runtime":
        monkeypatch.setattr(exports, "SMALL_PARAMETERS", 0)
        monkeypatch.setattr(towers, "SMALL_PARAMETERS", 0)
    one, two = audited(1, 7), audited(2, 64)
    assert one.keys() == two.keys()
    assert len(one) > 2000
    apart = {path: (one[path], two[path]) for path in one if not math.isclose(one[path], two[path], rel_tol=1e-5)}
    assert not apart


@pytest.mark.timeout(600)
def test_one_audit_after_the_other_leaves_nothing_behind(tmp_path, monkeypatch):
    """A few; ``python tests/support/soak.py`` counts sixty and prints them."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    seen = list(soak.audits(5))
    warm, last = seen[1], seen[-1]
    deadline = time.monotonic() + 60

    def more(state):
        return any(now > before for now, before in zip(state[1:], warm[1:], strict=True))

    while more(last) and time.monotonic() < deadline:  # a thread that was told to end takes a moment
        time.sleep(0.1)
        last = soak.state()
    assert not more(last), (seen, last)
    assert last[4] == 0
    # Over the first ten the allocator settles, by some 80 MB in all; then it stays where it is, for sixty and more.
    assert last[0] - warm[0] < 128 * 2**20, seen
