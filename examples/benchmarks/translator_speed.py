"""The translator: agreement with scikit-learn's Ridge, time, and memory that does not grow with the images."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measuring import Outcome

M, D = 2048, 768
ROWS = (10_000, 100_000, 1_000_000)
_RIDGE_UP_TO = 100_000
"""Rows up to which the rival is run: it holds all of them, and copies of them, in memory."""


def child(task: str, rows: int, m: int, d: int) -> dict[str, Any]:
    """What one task found, in a process of its own."""
    command = [sys.executable, str(Path(__file__).with_name("translator_child.py")), task, *map(str, (rows, m, d))]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def speed(quick: bool, rows: Sequence[int] | None) -> Outcome:
    """Time and peak memory at each number of rows; the rival is run in turn with ours where memory allows."""
    m, d = (128, 48) if quick else (M, D)
    sizes = rows or ((2_000, 8_000, 40_000) if quick else ROWS)
    found = []
    for size in sizes:
        repetitions = 3 if size <= 10_000 else 1
        ours, theirs = [], []
        for _ in range(repetitions):
            ours.append(child("singaudit", size, m, d))
            if size <= _RIDGE_UP_TO:
                theirs.append(child("ridge", size, m, d))
        found.append(_row(size, ours, theirs))
    close = child("agreement", min(sizes), m, d)
    outcome = Outcome(f"Translator, {m} features to {d} dimensions, rows made on demand", found)
    outcome.notes += [
        "Making the rows is not counted. Peak: resident memory of a process that does nothing else, imports included.",
        "One fit: at a given penalty, as Ridge does. Choosing the penalty: 17 penalties, 5 folds.",
        f"Ridge is run up to {_RIDGE_UP_TO:,} rows, which it holds in memory as float32.",
    ]
    outcome.expect("largest difference of weights from Ridge, relative", close["weights"], at_most=1e-5)
    outcome.expect("largest difference of predictions from Ridge, relative", close["predictions"], at_most=1e-5)
    if not quick:
        growth = found[-1]["peak (MiB)"] / found[0]["peak (MiB)"]
        outcome.expect(f"peak memory at {sizes[-1]:,} rows / at {sizes[0]:,}", growth, at_most=1.1)
    return outcome


def _row(size: int, ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> dict[str, Any]:
    def median(runs: list[dict[str, Any]], *keys: str) -> float | None:
        return statistics.median(sum(run[key] for key in keys) for run in runs) if runs else None

    peak, their_peak = median(ours, "peak_bytes"), median(theirs, "peak_bytes")
    mine, rival = median(ours, "statistics", "fit"), median(theirs, "fit")
    return {
        "rows": size,
        "statistics (s)": median(ours, "statistics"),
        "one fit (s)": median(ours, "fit"),
        "choosing the penalty (s)": median(ours, "choose"),
        "peak (MiB)": None if peak is None else peak / 2**20,
        "Ridge (s)": rival,
        "Ridge peak (MiB)": None if their_peak is None else their_peak / 2**20,
        "statistics + one fit / Ridge": None if rival is None or mine is None else mine / rival,
    }
