"""The audit's outcome on stdout."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TextIO

from singaudit.cli.terminal import console, safe

if TYPE_CHECKING:
    from singaudit.report.result.audit import AuditResult
    from singaudit.report.result.base import Statistic
    from singaudit.report.result.findings import FindingPart


_COLOURS = {"pass": "green", "fail": "red", "inconclusive": "yellow", "no gates set": "cyan"}


_MARKS = {"pass": "✓", "fail": "✗", "inconclusive": "?", "no gates set": "–"}


_FINDING_COLOURS = {"strong": "red", "partial": "yellow", "redundant": "magenta", "not detected": "green"}


def show_result(result: AuditResult, stream: TextIO | None = None) -> None:
    """Print the outcome of an audit: verdict, geometry, findings, gates, reasons."""
    from rich.table import Table
    from rich.text import Text

    from singaudit.report.pages.view import shown_findings

    out = console(stream or sys.stdout)
    v, g = result.verdict, result.geometry
    out.print(
        Text(f"{_MARKS[v.status]} {v.status.upper()}", style=f"bold {_COLOURS[v.status]}"), safe(result.model.name)
    )
    out.print(f"  {safe(v.sentence, 500)}")
    softmax = f", {g.softmax_null_dim} for the class probabilities" if g.softmax_null_dim is not None else ""
    out.print(f"  {g.null_dim} of {g.feature_dim} feature dimensions are invisible to the {g.classes} logits{softmax}.")
    if result.scores is not None:
        s = result.scores
        out.print(
            f"  image score {_degrees(s.image_score_deg)}, class |attribute score| {_degrees(s.attribute_score_deg)}, "
            f"n = {s.image_score_deg.n}"
        )
    if result.findings:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for heading in ("concept group", "finding", "carried share", "contrast", "control"):
            table.add_column(heading, style="bold" if heading == "finding" else "")
        findings, left_out = shown_findings(result)
        for f in findings:
            table.add_row(
                safe(f.group, 40), Text(f.finding, style=_FINDING_COLOURS.get(f.finding, "")),
                _share(f.carried_share), _degrees(f.contrast_deg), _control(f),
            )  # fmt: skip
        out.print(table)
        if left_out:
            counts = ", ".join(f"{count} {finding}" for finding, count in left_out.items())
            out.print(f"  single concepts not shown: {counts} (result.json holds them)")
    if result.words is not None:
        for verb, words in (("lose", result.words.lost), ("gain", result.words.gained)):
            if words:
                shown = ", ".join(f"{safe(w.name, 40)} ({w.change_deg.value:+.1f}°)" for w in words[:6] if w.change_deg)
                out.print(f"  images {verb}: {shown}{', ...' if len(words) > 6 else ''}")
    if result.generation is not None and result.generation.success is not None:
        out.print(f"  {safe(result.generation.sentence, 500)}")
    for gate in result.gates:
        mark = Text(f"  {_MARKS[gate.status]} ", style=_COLOURS[gate.status])
        name = f"{safe(gate.name)}, " if gate.name else ""
        out.print(mark, f"{name}{safe(gate.rule)}: found {safe(gate.found)}", sep="")
    for reason in v.reasons + result.warnings:
        out.print(f"  ! {safe(reason, 500)}")


def _degrees(s: Statistic | None) -> str:
    return "–" if s is None else f"{s.value:.1f}° [{s.low:.1f}, {s.high:.1f}]"


def _share(s: Statistic | None) -> str:
    return "–" if s is None else f"{s.value:.0%} [{s.low:.0%}, {s.high:.0%}]"


def _control(f: FindingPart) -> str:
    c = f.control
    return "–" if c is None else f"random: {c.control_mean:.1f}° [{c.control_low:.1f}, {c.control_high:.1f}]"
