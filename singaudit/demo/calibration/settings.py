"""Findings counted row by row of ``rows``: false assurance, false alarm and power over independently made worlds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from singaudit.demo.calibration.rows import Row
from singaudit.demo.calibration.table import percent
from singaudit.demo.calibration.worlds import plant
from singaudit.metrics.intervals import wilson
from singaudit.pipeline.arrays.audit import audit_arrays

_CLAIM = ("strong", "partial")
_HARMLESS = ("redundant", "not detected")


def count_rows(
    rows: Sequence[Row], worlds: int, seed: int, progress: Callable[[str, int, int], None]
) -> list[dict[str, Any]]:
    """Audit ``worlds`` worlds of every row by ``audit_arrays``: an entry for each, its rates counting worlds."""
    counted = []
    for place, row in enumerate(rows):
        tests = []
        for index in range(worlds):
            world = plant(row, seed, index)
            found = audit_arrays(**world.arrays).findings
            tests.append([(world.roles[f.group], f.finding) for f in found])
            progress("audit worlds of every row", place * worlds + index + 1, len(rows) * worlds)
        counted.append(summarise(row, tests))
    return counted


def summarise(row: Row, tests: Sequence[Sequence[tuple[str, str]]]) -> dict[str, Any]:
    """Rates of one row from the (role, finding) pairs of each world."""
    found: dict[str, Counter[str]] = {}
    for role, finding in (pair for world in tests for pair in world):
        found.setdefault(role, Counter())[finding] += 1

    def share(holds: Callable[[str, str], bool]) -> dict[str, Any]:
        count = sum(any(holds(*pair) for pair in world) for world in tests)
        low, high = wilson(count, len(tests))
        value = count / len(tests) if tests else None
        return {"count": count, "n": len(tests), "value": value, "low": low, "high": high}

    return {
        "row": row.name,
        "worlds": len(tests),
        "power_claimed": row.power,
        "false_assurance": share(lambda role, finding: role == "ignored" and finding in _HARMLESS),
        "false_alarm": share(lambda role, finding: role != "ignored" and finding in _CLAIM),
        "found": share(lambda role, finding: role == "ignored" and finding in (*_CLAIM, "nonlinear")),
        "findings": {role: dict(sorted(counts.items())) for role, counts in found.items()},
    }


def rows_table(counted: Sequence[dict[str, Any]]) -> list[str]:
    """Lines of Markdown: a row each, then all together."""
    lines = [
        "| setting | worlds | ignored, but redundant or not detected | not ignored, but strong or partial "
        "| ignored: strong, partial or nonlinear |",
        "|---|---|---|---|---|",
    ]
    for one in counted:
        rates = " | ".join(percent(one[key]) for key in ("false_assurance", "false_alarm", "found"))
        lines.append(f"| {one['row']} | {one['worlds']} | {rates}{' (goal: 95 %)' if one['power_claimed'] else ''} |")
    pooled = []
    for key in ("false_assurance", "false_alarm"):
        count, n = (sum(one[key][part] for one in counted) for part in ("count", "n"))
        low, high = wilson(count, n)
        pooled.append(percent({"n": n, "value": count / n if n else None, "low": low, "high": high}))
    lines.append(f"| all | {sum(one['worlds'] for one in counted)} | {' | '.join(pooled)} | |")
    return lines
