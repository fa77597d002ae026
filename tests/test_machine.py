"""Cores and memory: a container's limits count, in both versions of control groups; what runs side by side."""

import os
import subprocess
import sys
import threading
import time
from functools import partial

import pytest

from singaudit.machine import beside, cores, memory, multiplies_bf16, side_by_side

WHOLE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None
pytestmark = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="control groups are Linux's")


def group(folder, **files):
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return folder


@pytest.mark.parametrize(
    "files",
    [
        {"cpu_dot_max": "100000 100000\n"},
        {"cpu_dot_max": "50000 100000\n"},
        {"cpu__cpu_dot_cfs_quota_us": "100000\n", "cpu__cpu_dot_cfs_period_us": "100000\n"},
    ],
)
def test_a_quota_of_one_core_is_one_core(tmp_path, files):
    assert cores(group(tmp_path, **files)) == 1


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"cpu_dot_max": "max 100000\n"},
        {"cpu_dot_max": "nonsense"},
        {"cpu_dot_max": "100 0"},
        {"cpu__cpu_dot_cfs_quota_us": "-1\n", "cpu__cpu_dot_cfs_period_us": "100000\n"},
    ],
)
def test_without_a_quota_it_is_the_affinity(tmp_path, files):
    assert cores(group(tmp_path, **files)) == len(os.sched_getaffinity(0))


def test_a_containers_memory_is_what_there_is(tmp_path):
    assert memory(group(tmp_path, memory_dot_max=f"{2**28}\n")) == 2**28
    assert memory(group(tmp_path, memory_dot_max="max\n")) == WHOLE
    old = tmp_path / "old"
    old.mkdir()
    assert memory(group(old, memory__memory_dot_limit_in_bytes=f"{2**63 - 4096}\n")) == WHOLE
    assert memory(group(old, memory__memory_dot_limit_in_bytes=f"{2**29}\n")) == 2**29


@pytest.mark.parametrize(
    ("told", "has"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16 vnni", True),
        ("Features\t: fp asimd bf16", True),
        ("flags : avx2", False),
        ("", False),
    ],
)
def test_a_processor_tells_whether_it_multiplies_numbers_of_16_bits(told, has, tmp_path):
    (tmp_path / "cpuinfo").write_text(f"processor : 0\n{told}\n")
    assert multiplies_bf16(tmp_path / "cpuinfo") is has
    assert multiplies_bf16(tmp_path / "none") is False


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_calls_side_by_side_answer_in_their_order_and_are_taken_as_workers_are_free(workers):
    taken, ended = [], []

    def call(i):
        time.sleep(0.01 * (3 - i % 3))
        ended.append(i)
        return i

    def calls():
        for i in range(9):
            taken.append((i, len(ended)))
            yield partial(call, i)

    assert list(side_by_side(calls(), workers)) == list(range(9))
    assert all(i - done <= workers + 1 for i, done in taken)
    assert list(side_by_side([], workers)) == []


def test_an_error_of_one_of_several_ends_them_and_no_more_begin():
    begun = []

    def fails(i):
        begun.append(i)
        raise ValueError(f"planted {i}")

    with pytest.raises(ValueError, match="planted 0"):
        list(side_by_side((partial(fails, i) for i in range(50)), 2))
    assert len(begun) < 5


def test_an_interrupt_waits_for_nothing_that_runs_and_begins_no_more():
    script = """
import os, signal, threading, time
from functools import partial
from singaudit.machine import side_by_side

begun, both = [], threading.Barrier(3)

def call(i):
    begun.append(i)
    both.wait()
    time.sleep(600)

def interrupt():
    both.wait()
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt).start()
try:
    list(side_by_side((partial(call, i) for i in range(6)), 2))
except KeyboardInterrupt:
    print(sorted(begun), "interrupted", flush=True)
"""
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout == "[0, 1] interrupted\n"


def test_what_is_begun_beside_is_waited_for_when_it_is_asked_for():
    go = threading.Event()
    answer = beside(lambda: go.wait(60) and "done")
    go.set()
    assert (answer(), answer()) == ("done", "done")
    with pytest.raises(ZeroDivisionError):
        beside(lambda: 1 / 0)()
