"""report.html: one offline page."""

from __future__ import annotations

from singaudit.report.formats.interface import Files, Pages
from singaudit.report.result.audit import AuditResult


def render(result: AuditResult, pages: Pages, files: Files) -> dict[str, bytes]:
    """The page under its name."""
    return {"report.html": pages.document.html().encode()}
