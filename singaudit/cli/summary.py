"""The audit's brief on the terminal: at most 24 lines of 80 columns, and where the files are."""

from __future__ import annotations

import shlex
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from singaudit.cli.terminal import console, safe

if TYPE_CHECKING:
    from singaudit.report.brief.model import Brief, Row, Step
    from singaudit.report.result.audit import AuditResult

MAX_LINES = 24
_WIDTH = 80
_COLOURS = {"pass": "green", "fail": "red", "inconclusive": "yellow", "no gates set": "cyan"}
_MARKS = {"pass": "✓", "fail": "✗", "inconclusive": "?", "no gates set": "–"}
_STATES = {"ok": "●", "amber": "▲", "red": "◆"}
_STATE_COLOURS = {"ok": "green", "amber": "yellow", "red": "red"}
_ROW_COLOURS = {"bad": "red", "warn": "yellow", "plain": "", "good": "green"}
_BAR = 10
_UNTOLD = 3
"""Lines for what cannot be told; where the groups' names take more they are counted, and then the rarest reasons."""
_MAX_COMMAND = 1500

Line = tuple[str, str]
"""A line's text and its style."""


def show_result(result: AuditResult, stream: TextIO | None = None, files: Sequence[Path] = ()) -> None:
    """Print the outcome of an audit: its brief, and the ``files`` written."""
    from rich.text import Text

    from singaudit.report.brief.make import brief_of

    out = console(stream or sys.stdout)
    for text, style in brief_lines(brief_of(result), result.warnings, files):
        out.print(Text(text, style=style), soft_wrap=True)


def brief_lines(brief: Brief, warnings: Sequence[str] = (), files: Sequence[Path] = ()) -> list[Line]:
    """The brief as at most ``MAX_LINES`` lines: where room is short, the least of the findings and the last of the
    steps are left to the report, and how many is said."""
    head, marks, where = _head(brief), _instrument(brief), _files(files)
    told = _notes(warnings)
    fixed = len(head) + len(marks) + len(told) + len(where)
    steps, findings = list(brief.steps), list(brief.rows)
    while True:
        middle = _findings(brief, findings)
        todo = [line for step in steps for line in _step(step.why, step.command)]
        todo += _beside(steps, len(brief.steps) - len(steps), files)
        over = fixed + len(middle) + len(todo) - MAX_LINES
        if over <= 0 or not (findings or steps):
            break
        if len(steps) > 1 and (len(steps) > 2 or len(findings) <= 4):
            steps.pop()
        elif len(findings) > 1:
            findings.pop()
        elif steps:
            steps.pop()
        else:
            findings.pop()
    return [*head, *marks, *middle, *todo, *told, *where]


def quiet_line(result: AuditResult) -> str:
    """One line for --quiet where a gate did not pass; empty where nothing is to be said."""
    if all(gate.status in ("pass", "waived") for gate in result.gates):
        return ""
    from singaudit.report.brief.make import brief_of

    brief = brief_of(result)
    return f"singaudit: {brief.word.lower()}: {safe(brief.model, 80)}: {safe(brief.sentence, 400)}"


def file_line(files: Sequence[Path]) -> str:
    """Where the files are: the one to open first, and the names of the others beside it; empty without any."""
    if not files:
        return ""
    order = ("index.html", "report.html", "compare.html", "image.html", "report.pdf")
    listed = sorted(
        (f for f in files if f.parent.name != "pictures" and f.suffix != ".png" and f.name != "run.json"),
        key=lambda f: (order.index(f.name) if f.name in order else len(order), f.name),
    )
    if not listed:
        return ""
    first, rest = listed[0], ", ".join(f.name for f in listed[1:])
    return f"Report: {safe(str(first), 4096)}" + (f" (beside it {safe(rest, 300)})" if rest else "")


def _wrapped(text: str, indent: str = "  ", after: str | None = None, style: str = "") -> list[Line]:
    lines = textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=indent if after is None else after,
        break_on_hyphens=False,
    )
    return [(line, style) for line in lines]


def _head(brief: Brief) -> list[Line]:
    facts = " · ".join(safe(fact, 40) for fact in brief.facts[:3])
    word = f"{_MARKS[brief.status]} {brief.word.upper()}  {safe(brief.model, 40)} · {facts}"
    return [
        *_wrapped(word, "", "  ", f"bold {_COLOURS[brief.status]}"),
        *_wrapped(safe(brief.sentence, 320), style="bold"),
        *_wrapped(safe(brief.certainty, 240)),
        *(line for note in brief.notes[:2] for line in _wrapped(safe(note, 150))),
    ]


def _instrument(brief: Brief) -> list[Line]:
    """All that is fine in one sentence, and a line or two for each that is not."""
    fine = [f"{mark.name} {safe(mark.text, 80)}" for mark in brief.marks if mark.state == "ok"]
    lines = _wrapped("; ".join(fine), "● ", "  ", "green") if fine else []
    for mark in brief.marks:
        if mark.state != "ok":
            text = f"{mark.name} {safe(mark.text, 90)}. Doubtful: {mark.doubtful}."
            lines += _wrapped(text, f"{_STATES[mark.state]} ", "  ", _STATE_COLOURS[mark.state])[:2]
    return lines


def _findings(brief: Brief, rows: Sequence[Row]) -> list[Line]:
    from singaudit.report.brief.model import counted_words

    lines: list[Line] = []
    if rows:
        lines.append(("What the head ignores (a long bar is ignored; share and 95 % interval)", "bold"))
        lines += [(_row(row), _ROW_COLOURS[row.style]) for row in rows]
    more = counted_words([row.word for row in brief.rows[len(rows) :]] + list(brief.rest))
    lines += _wrapped(f"{more}." if more else "")
    texts = [brief.untold_line, *(brief.untold_counts(n) for n in range(len(brief.untold), 0, -1))]
    told = [_wrapped(safe(text, 1000)) for text in texts]
    return lines + next((lines for lines in told if len(lines) <= _UNTOLD), told[-1][:_UNTOLD])


def _row(row: Row) -> str:
    bar, text = "", ""
    if row.bar is not None:
        filled = round(_BAR * row.bar.value)
        bar, text = "█" * filled + "░" * (_BAR - filled), row.bar.text
    return f"  {safe(row.name, 24):<24} {row.word:<20} {bar:<{_BAR}} {text}".rstrip()


def _step(why: str, command: str) -> list[Line]:
    """What to do and its command, which stays one command where it takes several lines; the report has longer ones."""
    lines: list[str] = []
    room = _WIDTH - 8  # indented by six, and followed by a backslash
    words = [shlex.quote(safe(word, len(word))) for word in shlex.split(command)]
    if sum(map(len, words)) > _MAX_COMMAND:
        return _wrapped(f"→ {safe(why, 150)} The command is long: it stands in the report.", "", "  ")
    for word in _with_values(words, room):
        if lines and len(lines[-1]) + 1 + len(word) <= room:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    shell = [
        f"    {'  ' if i else ''}{line}{' ' + chr(92) if i < len(lines) - 1 else ''}" for i, line in enumerate(lines)
    ]
    return [*_wrapped(f"→ {safe(why, 150)}", "", "  "), *((line, "cyan") for line in shell)]


def _with_values(words: Sequence[str], room: int) -> list[str]:
    """Options together with their values, where both fit on a line."""
    parts: list[str] = []
    for i, word in enumerate(words):
        alone = i == 0 or not words[i - 1].startswith("--") or word.startswith("--")
        if alone or len(parts[-1]) + 1 + len(word) > room:
            parts.append(word)
        else:
            parts[-1] += f" {word}"
    return parts


def _beside(steps: Sequence[Step], left: int, files: Sequence[Path]) -> list[Line]:
    """What the steps shown leave unsaid: words to fill in, and how many more there are and where."""
    written = [file.name for file in files]
    page = next((f" ({name})" for name in ("report.html", "report.pdf", "summary.md") if name in written), "")
    parts = ["Words in capitals are yours to fill in."] if any(step.to_fill_in for step in steps) else []
    if left:
        parts.append(f"{left} more thing{'s' if left > 1 else ''} to do stand{'s' * (left == 1)} in the report{page}.")
    return _wrapped(" ".join(parts))


def _notes(warnings: Sequence[str]) -> list[Line]:
    if not warnings:
        return []
    more = f" (and {len(warnings) - 1} more in the report)" if len(warnings) > 1 else ""
    first = safe(warnings[0], 2 * _WIDTH - 20 - len(more))
    if first.endswith("…"):
        first = f"{first[:-1].rsplit(' ', 1)[0]} …"
    return _wrapped(first + more, "! ", "  ", "yellow")[:2]


def _files(files: Sequence[Path]) -> list[Line]:
    text = file_line(files)
    return [(text, "")] if text else []
