"""From tests to false-alarm and miss rates with their intervals, as JSON and as a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from singaudit.demo.calibration.roles import LEAKS, ROLES, GroupTest
from singaudit.metrics.intervals import wilson

_LEAK = ("strong", "partial")
_FINDINGS = ("strong", "partial", "redundant", "not detected", "unstable", "cannot tell")


def rate(tests: Sequence[GroupTest], holds: Callable[[GroupTest], bool]) -> dict[str, Any]:
    """Share of the tests for which ``holds``, with its Wilson interval: {count, n, value, low, high}."""
    count, n = sum(map(holds, tests)), len(tests)
    low, high = wilson(count, n)
    return {"count": count, "n": n, "value": count / n if n else None, "low": low, "high": high}


def summary(tests: Sequence[GroupTest]) -> dict[str, Any]:
    """Rates of one set of tests: what must not be found where nothing is planted, and what must be where it is."""
    null = [t for t in tests if t.role not in LEAKS]
    ignored, half = ([t for t in tests if t.role == role] for role in LEAKS)
    return {
        "worlds": len({t.world for t in tests}),
        "null_tests": len(null),
        "planted_tests": len(ignored) + len(half),
        "false_alarms": rate(null, lambda t: t.finding in _LEAK),
        "ignored_found_strong": rate(ignored, lambda t: t.finding == "strong"),
        "ignored_found": rate(ignored, lambda t: t.finding in _LEAK),
        "half_found": rate(half, lambda t: t.finding in _LEAK),
        "planted_called_harmless": rate(ignored + half, lambda t: t.finding in ("redundant", "not detected")),
        "findings": {
            role: {finding: sum(t.finding == finding for t in tests if t.role == role) for finding in _FINDINGS}
            for role in ROLES
        },
    }


def percent(found: dict[str, Any]) -> str:
    """A rate as "1.2 % [0.3, 4.1] of 160"."""
    if not found["n"]:
        return "–"
    low, high = 100 * found["low"], 100 * found["high"]
    return f"{100 * found['value']:.1f} % [{low:.1f}, {high:.1f}] of {found['n']}"


_ROWS = (
    ("false strong or partial where none is planted", "false_alarms", "at most 2 %"),
    ("planted, all of it ignored: strong", "ignored_found_strong", "at least 98 %"),
    ("planted, all of it ignored: strong or partial", "ignored_found", ""),
    ("planted, the head sees a coarser version: strong or partial", "half_found", "at least 85 %"),
    ("planted, but called redundant or not detected", "planted_called_harmless", ""),
)


def markdown(result: dict[str, Any]) -> str:
    """The tables of a calibration."""
    lines = []
    for title, key in (("Worlds that no threshold was chosen on", "held_out"), ("Worlds for choosing", "tuning")):
        kinds = result[key]
        names = list(kinds)
        lines += [f"### {title}", "", "| | " + " | ".join(names) + " | target |", "|---" * (len(names) + 2) + "|"]
        counts = " | ".join(
            f"{s['worlds']} models, {s['null_tests']} null and {s['planted_tests']} planted tests"
            for s in kinds.values()
        )
        lines.append(f"| tests | {counts} | |")
        for label, name, target in _ROWS:
            lines.append(f"| {label} | " + " | ".join(percent(kinds[k][name]) for k in names) + f" | {target} |")
        lines.append("")
    lines += ["### What was found, by what was planted (all worlds)", ""]
    lines += ["| planted | " + " | ".join(_FINDINGS) + " |", "|---" * (len(_FINDINGS) + 1) + "|"]
    for role, words in ROLES.items():
        row = result["all"]["findings"][role]
        lines.append(f"| {role}: {words} | " + " | ".join(str(row[f]) for f in _FINDINGS) + " |")
    lines += ["", "### With fewer images", "", "| images audited, behind the translator | cannot tell | wrong |"]
    lines.append("|---|---|---|")
    for size in result["sizes"]:
        counts = f"{size['images']}, {size['translator_images']}"
        lines.append(f"| {counts} | {percent(size['cannot_tell'])} | {percent(size['wrong'])} |")
    return "\n".join(lines) + "\n"


def wrong(t: GroupTest) -> bool:
    """A finding that the planted truth contradicts."""
    if t.role in LEAKS:
        return t.finding in ("redundant", "not detected")
    if t.finding in _LEAK:
        return True
    return t.finding == "redundant" and t.role in ("absent", "used", "correlated")
