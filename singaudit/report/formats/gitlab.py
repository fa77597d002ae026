"""GitLab's code quality report: what did not pass, as an array; fail is major, inconclusive minor."""

from __future__ import annotations

import json
from typing import Any

from singaudit.report.formats.checks import Check, checks, conclusion, fingerprint, model_path
from singaudit.report.formats.interface import Files, Pages, Place
from singaudit.report.result.audit import AuditResult

_KINDS = {"fail": ("singaudit/gate-failed", "major"), "inconclusive": ("singaudit/gate-undecided", "minor")}


def render(result: AuditResult, pages: Pages, files: Files) -> dict[str, bytes]:
    """The findings; an empty array where every gate passed or was waived."""
    path = model_path(pages.shown, files)
    entries = [_entry(check, path, *_KINDS[check.status]) for check in checks(pages.shown, files)
               if check.status in _KINDS]  # fmt: skip
    if pages.shown.verdict.status == "inconclusive":
        whole = Check("verdict", "inconclusive", conclusion(pages.shown), Place(path, 1))
        entries.append(_entry(whole, path, "singaudit/inconclusive", "minor"))
    return {"gl-code-quality-report.json": json.dumps(entries, indent=1).encode("ascii") + b"\n"}


def _entry(check: Check, model: str, kind: str, severity: str) -> dict[str, Any]:
    word = "failed" if check.status == "fail" else "undecided"
    return {
        "description": f"{model}: {check.name} {word}: {check.message}",
        "check_name": kind,
        "fingerprint": fingerprint(kind, model, check.name),
        "severity": severity,
        "location": {"path": check.place.path, "lines": {"begin": check.place.line}},
    }
