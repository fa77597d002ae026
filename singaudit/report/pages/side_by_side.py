"""Two or more audits on one page: what differs, and a link to each report."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from singaudit.report.brief.ignored import row, says_something
from singaudit.report.brief.make import brief_of
from singaudit.report.brief.model import Brief, Row
from singaudit.report.pages import charts, view
from singaudit.report.pages.html import page
from singaudit.report.pages.pictures import ranked_pictures
from singaudit.report.pages.text import display_text, displayable
from singaudit.report.result.audit import AuditResult
from singaudit.report.result.base import Statistic
from singaudit.report.result.findings import FindingPart
from singaudit.report.result.pictures import PicturePart

_PAIRS = 2


@dataclass(frozen=True)
class Column:
    """One audit on the page."""

    result: AuditResult
    link: str
    word: str
    style: str
    spectrum: str
    brief: Brief
    pairs: list[PicturePart]
    """The pictures with the most to say."""


@dataclass(frozen=True)
class Found:
    """What one audit found about a group."""

    row: Row | None
    """None where it cannot be told."""


@dataclass(frozen=True)
class GroupRow:
    """What each audit found about one concept group; None where it has no such group."""

    group: str
    findings: list[Found | None]


@dataclass(frozen=True)
class NumberRow:
    """One score of every audit; None where it was not measured."""

    label: str
    unit: str
    statistics: list[Statistic | None]


def render_pair(results: Sequence[AuditResult], links: Sequence[str], title: str) -> str:
    """One HTML document that shows ``results`` side by side; ``links`` are relative paths to their reports.

    Raises ValueError when a link is not a plain relative path, or their number differs from the results'.
    """
    shown = [displayable(result) for result in results]
    columns = [_column(result, _relative(link)) for result, link in zip(shown, links, strict=True)]
    return page(
        "pair.html.j2", title=display_text(title), columns=columns, groups=_groups(shown), numbers=_numbers(shown)
    )


def _relative(link: str) -> str:
    if not link or link.startswith("/") or ".." in link.split("/") or re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", link):
        raise ValueError(f"expected a relative path to a report, got {link!r}")
    return quote(link)


def _column(result: AuditResult, link: str) -> Column:
    word, style = view.VERDICTS[result.verdict.status]
    pairs = [p for p in ranked_pictures(result.pictures) if p.other_thumbnail and p.success is not False][:_PAIRS]
    return Column(result, link, word, style, charts.spectrum(result.geometry), brief_of(result), pairs)


def _groups(results: Sequence[AuditResult]) -> list[GroupRow]:
    """All concept groups, in order of first appearance."""
    tables = [{f.group: Found(_row(f, result)) for f in result.findings} for result in results]
    names = dict.fromkeys(name for table in tables for name in table)
    return [GroupRow(name, [table.get(name) for table in tables]) for name in names]


def _row(finding: FindingPart, result: AuditResult) -> Row | None:
    return row(finding, result.geometry.classes == 2) if says_something(finding) else None


def _numbers(results: Sequence[AuditResult]) -> list[NumberRow]:
    scores = [result.scores for result in results]
    rows = [
        NumberRow("Class score, |AS|", "°", [s.attribute_score_deg if s else None for s in scores]),
        NumberRow("Image score, IS", "°", [s.image_score_deg if s else None for s in scores]),
        NumberRow("IS / |AS|", "", [s.ratio if s else None for s in scores]),
        NumberRow("Feature variation ignored", "%", [r.geometry.null_energy_share for r in results]),
        NumberRow("Accuracy", "%", [r.data.accuracy if r.data else None for r in results]),
        NumberRow("Translator R²", "", [r.translator.r2 if r.translator else None for r in results]),
    ]
    return [row for row in rows if any(s is not None for s in row.statistics)]
