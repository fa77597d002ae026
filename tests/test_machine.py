"""Cores and memory: a container's limits count, in both versions of control groups."""

import os

import pytest

from singaudit.machine import cores, memory

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
