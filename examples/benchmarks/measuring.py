"""How the benchmarks measure: repetitions of rivals in turn, medians, peak memory, and the machine they ran on."""

from __future__ import annotations

import gc
import importlib.metadata
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PACKAGES = ("singaudit", "numpy", "onnxruntime-gpu", "onnxruntime", "torch", "timm", "pillow", "scikit-learn")


@dataclass
class Outcome:
    """What one benchmark found."""

    title: str
    """One line."""
    rows: list[dict[str, Any]]
    """A table: every row has the same keys."""
    targets: list[dict[str, Any]] = field(default_factory=list)
    """Each ``{name, value, target, met}``; see :meth:`expect`."""
    notes: list[str] = field(default_factory=list)
    """What a reader must know to read the table."""

    def expect(self, name: str, value: float, *, at_least: float | None = None, at_most: float | None = None) -> None:
        """Judge a measured value by its target."""
        met = (at_least is None or value >= at_least) and (at_most is None or value <= at_most)
        target = f">= {at_least:g}" if at_least is not None else f"<= {at_most:g}"
        self.targets.append({"name": name, "value": float(f"{value:.4g}"), "target": target, "met": bool(met)})


def in_turn(rivals: Mapping[str, Callable[[], Any]], repetitions: int) -> dict[str, float]:
    """Median seconds of each rival; one repetition of every rival follows another, so that all meet the same machine.

    The first round is a warm-up and is not counted where there are more than two.
    """
    seconds: dict[str, list[float]] = {name: [] for name in rivals}
    for _ in range(repetitions):
        for name, call in rivals.items():
            gc.collect()
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(s[1:] if len(s) > 2 else s) for name, s in seconds.items()}


def peak_bytes() -> int:
    """Peak resident memory of this process since it was started.

    Linux's VmHWM: ``ru_maxrss`` of a child also counts what its parent held at the moment of starting it.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def machine() -> dict[str, Any]:
    """What the numbers depend on. No names of hosts or people."""
    import numpy as np
    from threadpoolctl import threadpool_info

    np.linalg.norm(np.zeros(2))  # loads the linear algebra library, so that it shows below
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "linear_algebra": [
            {key: pool[key] for key in ("internal_api", "version", "architecture", "num_threads") if key in pool}
            for pool in threadpool_info()
            if pool["user_api"] == "blas"
        ],
        "load_at_start": round(os.getloadavg()[0], 2),
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


class Plain:
    """A model of a pass from two functions: its own recipe, for passes in this process."""

    def __init__(self, prepare: Callable[[Any], Any], compute: Callable[[Any], Any]) -> None:
        self.prepare, self.compute = prepare, compute

    def open(self) -> Any:
        """It is open."""
        return self
