"""What of this machine the process may use: containers get fewer cores and less memory than the machine has."""

from __future__ import annotations

import math
import os
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_MEMORY_FILES = ("memory.max", "memory/memory.limit_in_bytes")
"""Linux control groups of version 2 and 1; in a container the group's own files stand at the top."""


def cores(groups: Path = _GROUPS) -> int:
    """Cores this process may use: its affinity, and no more than a container's quota, rounded up."""
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _read(groups / "cpu.max").partition(" ")
    if not period:
        quota, period = _read(groups / "cpu" / "cpu.cfs_quota_us"), _read(groups / "cpu" / "cpu.cfs_period_us")
    if quota.isdecimal() and period.isdecimal() and int(period) > 0:
        own = min(own, max(1, math.ceil(int(quota) / int(period))))
    return own


def memory(groups: Path = _GROUPS) -> int | None:
    """Bytes of memory that this machine has, or that a container grants; None where neither is known."""
    try:
        whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
    limits = [int(text) for file in _MEMORY_FILES if (text := _read(groups / file)).isdecimal()]
    return min([whole, *(limit for limit in limits if limit > 0)])


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
