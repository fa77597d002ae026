"""result.json: the result as it is stored, one byte sequence per result."""

from __future__ import annotations

from singaudit.report.formats.interface import Files, Pages
from singaudit.report.result.audit import AuditResult


def render(result: AuditResult, pages: Pages, files: Files) -> dict[str, bytes]:
    """The stored result under its name."""
    return {"result.json": files.stored}
