"""Under GitHub Actions: the brief in the job summary, and annotations for gates that did not pass; else nothing."""

from __future__ import annotations

import os
import sys
from typing import TextIO

from singaudit.report.formats.checks import Check, checks, conclusion, model_path
from singaudit.report.formats.interface import Files, Pages, Place
from singaudit.report.result.audit import AuditResult

MAX_ANNOTATIONS = 10
"""GitHub shows no more of a step."""
_KINDS = {"fail": "error", "inconclusive": "warning"}


def announce(result: AuditResult, files: Files, quiet: bool = False, stream: TextIO | None = None) -> None:
    """Append the brief to the job's summary and print annotations on stderr, where GitHub's variables are set.

    ``quiet``: no annotations. A summary that cannot be written is said; the audit's outcome stands.
    """
    summary, annotate = os.environ.get("GITHUB_STEP_SUMMARY"), os.environ.get("GITHUB_ACTIONS") == "true"
    if not summary and not annotate:
        return
    stream = stream or sys.stderr
    pages = Pages(result)
    if summary:
        from singaudit.report.formats.markdown import summary as brief

        try:
            with open(summary, "a", encoding="utf-8", errors="replace") as file:
                file.write(brief(pages.shown) + "\n")
        except (OSError, ValueError) as error:
            print(f"singaudit: the job's summary cannot be written: {error}", file=stream)
    if annotate and not quiet:
        for line in annotation_lines(pages.shown, files):
            print(line, file=stream)


def annotation_lines(shown: AuditResult, files: Files) -> list[str]:
    """Workflow commands, failed gates first, at most ``MAX_ANNOTATIONS``; ``shown`` holds inert texts.

    Each names the gate's line or the model's file, and no file where neither is one of the repository; that nothing
    could be concluded is told of the model's file, or else of the one that sets gates.
    """
    model = Place(model_path(shown, files), 1)
    whole = model if files.model else next((place for place in files.places if place is not None), model)
    unmet = sorted((c for c in checks(shown, files) if c.status in _KINDS), key=lambda c: c.status != "fail")
    if shown.verdict.status == "inconclusive" and not unmet:
        unmet = [Check("no conclusion", "inconclusive", conclusion(shown), whole)]
    if len(unmet) > MAX_ANNOTATIONS:
        left = len(unmet) - MAX_ANNOTATIONS + 1
        rest = Check("more gates", unmet[MAX_ANNOTATIONS - 1].status, f"{left} more gates did not pass", unmet[0].place)
        unmet = [*unmet[: MAX_ANNOTATIONS - 1], rest]
    return [_annotation(check, bool(files.model) or check.place != model) for check in unmet]


def _annotation(check: Check, in_file: bool) -> str:
    title = f"singaudit: {check.name} {'failed' if check.status == 'fail' else 'undecided'}"
    where = f"file={_property(check.place.path)},line={check.place.line}," if in_file else ""
    return f"::{_KINDS[check.status]} {where}title={_property(title)}::{_data(check.message)}"


def _data(text: str) -> str:
    """A command's text as the runner reads it back: it would end at a line break."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
