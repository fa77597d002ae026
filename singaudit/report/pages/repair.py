"""The pages of a refit and of a trim."""

from __future__ import annotations

from singaudit.report.pages import bars
from singaudit.report.pages.html import page
from singaudit.report.pages.text import cleaned
from singaudit.report.result.base import Statistic
from singaudit.report.result.repair import GroupChangePart, RefitResult, TrimResult

SHOWN = 24
"""Rows of a table on the page; the rest stands in the JSON."""


def refit_page(result: RefitResult) -> str:
    """The page of a refit as one HTML document that loads nothing. Raises ReportError when templates are missing."""
    shown = RefitResult.model_validate(cleaned(result.model_dump()))
    changes = sorted(shown.class_changes, key=_by_change)
    groups = sorted(shown.group_changes, key=_by_change)
    bounds = [bound for item in (*changes, *groups) for bound in _ends(item.accuracy.change)]
    return page(
        "refit.html.j2",
        result=shown,
        changes=_ends_of(changes),
        groups=_ends_of(groups),
        more=len(groups) + len(changes) - len(_ends_of(changes)) - len(_ends_of(groups)),
        domain=bars.domain_of(bounds or [0.0]),
    )


def trim_page(result: TrimResult) -> str:
    """The page of a trim as one HTML document that loads nothing. Raises ReportError when templates are missing."""
    return page("trim.html.j2", result=TrimResult.model_validate(cleaned(result.model_dump())))


def _by_change(item: GroupChangePart) -> float:
    return -item.accuracy.change.value


def _ends(change: Statistic) -> tuple[float, float]:
    return change.low, change.high


def _ends_of(items: list[GroupChangePart]) -> list[GroupChangePart]:
    """The largest gains and the largest losses."""
    return items if len(items) <= SHOWN else items[: SHOWN // 2] + items[-SHOWN // 2 :]
