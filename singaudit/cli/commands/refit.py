"""``singaudit refit``: settings in, a new model file and what it is worth out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from singaudit.classifier.class_files import parse_classes
from singaudit.config import AuditConfig, make_config
from singaudit.errors import ConfigError, ExitCode
from singaudit.pipeline.repair import RefitOptions, refit
from singaudit.repair.judge import BEYOND
from singaudit.report.result.repair import GroupChangePart, PairedPart, RefitResult

_SHOWN = 4
"""Classes or groups on the terminal: those that gain and those that lose most; all stand in the JSON."""


def config_of(settings: dict[str, Any]) -> AuditConfig:
    """The part of the settings that says which model and which images. Raises ``ConfigError``."""
    values = {name: settings[name] for name in AuditConfig.model_fields if name in settings and name != "vlm"}
    if isinstance(values.get("classes"), str):
        values["classes_from"] = values["classes"]
        values["classes"] = parse_classes(values["classes"])
    if settings.get("no_cache"):
        values["cache"] = "none"
    return make_config(**values)


def refit_file(settings: dict[str, Any]) -> tuple[int, RefitResult]:
    """Fit, judge and write. Returns the exit code and the result; raises ``SingauditError``."""
    from singaudit.cli.terminal import Reporter

    balance = tuple(name.strip() for name in settings["balance"].split(","))
    if not all(balance):
        raise ConfigError(
            f"expected names of groups joined by commas for --balance, got {settings['balance'][:200]!r}",
            hint="Pass --balance class,colour; or --balance none, to take the images as they are.",
        )
    options = RefitOptions(
        settings["new_model"],
        () if balance == ("none",) else balance,
        settings["holdout"],
        settings.get("vlm"),
        settings["most_lost"],
        bool(settings.get("force")),
    )
    with Reporter("none" if settings.get("quiet") else settings["progress"]) as progress:
        result = refit(config_of(settings), options, progress)
    return (ExitCode.PASSED if result.written else ExitCode.INCONCLUSIVE), result


def show(result: RefitResult, path: str) -> None:
    """Print the result for people."""
    from rich.table import Table

    from singaudit.cli.terminal import console, safe

    out = console(sys.stdout)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("", "before", "after", "change"):
        table.add_column(column, justify="left" if not column else "right", overflow="fold")
    _row(table, "accuracy", result.accuracy)
    if result.balanced_accuracy is not None:
        _row(table, "mean over groups", result.balanced_accuracy)
    if result.worst_before is not None and result.worst_after is not None:
        table.add_row("worst group", f"{result.worst_before:.1%}", f"{result.worst_after:.1%}", "")
    before, after = result.calibration_before, result.calibration_after
    table.add_row("calibration error", f"{before.value:.1%}", f"{after.value:.1%}", "")
    for item in _telling(result.group_changes or result.class_changes):
        name = item.class_name if item.group is None else f"{item.class_name}, {item.group} {item.value}"
        _row(table, safe(name, 40), item.accuracy)
    out.print(table)
    out.print(
        f"{result.held_out:,} held-out images of {safe(result.source, 60)}; fitted on {result.fitted_on:,} others, "
        f"balanced by {safe(', '.join(f'{b.name} ({b.source})' for b in result.balanced), 200)}",
        highlight=False,
    )
    if result.units is not None and result.units.joined_units:
        out.print(
            f"{result.units.images:,} images of {result.units.count:,} scenes: those of one scene stay on one side of "
            "the split, and count once",
            highlight=False,
        )
    if result.guard is not None and result.guard.raised:
        g = result.guard
        out.print(
            f"{g.raised} groups count more in the fit, so that none loses more than {100 * g.allowed:g} points: "
            f"cross-validation expects {100 * g.lost:.1f} lost at most ({100 * g.lost_alike:.1f} with all alike) and "
            f"{g.right:.1%} right ({g.right_alike:.1%})",
            highlight=False,
        )
    for found in result.findings:
        out.print(f"{safe(found.group, 40)}: {found.before} before, {found.after} after", highlight=False)
    if not result.findings:
        out.print(f"findings {safe(result.findings_note, 200)}", highlight=False)
    for reason in result.reasons:
        out.print(f"  ! {safe(reason, 400)}", highlight=False)
    for warning in result.warnings:
        out.print(f"  ! {safe(warning, 400)}", highlight=False)
    if result.written:
        page = Path(path).with_suffix(".html").name
        out.print(f"Wrote {safe(path, 200)}, with {safe(page, 200)} and the same as .json beside it.", highlight=False)
    else:
        allowed = " --most-lost POINTS says what a group may lose;" if any(BEYOND in r for r in result.reasons) else ""
        out.print(f"Nothing was written;{allowed} --force writes it all the same.", highlight=False)


def _row(table: Any, name: str, found: PairedPart) -> None:
    change = found.change
    table.add_row(
        name,
        f"{found.before.value:.1%}",
        f"{found.after.value:.1%}",
        f"{100 * change.value:+.1f} [{100 * change.low:+.1f}, {100 * change.high:+.1f}]",
    )


def _telling(items: list[GroupChangePart]) -> list[GroupChangePart]:
    """Those that gain most and those that lose most."""
    ordered = sorted(items, key=lambda item: -item.accuracy.change.value)
    return ordered if len(ordered) <= _SHOWN else ordered[: _SHOWN // 2] + ordered[-_SHOWN // 2 :]
