"""GitLab's code quality report: what did not pass, as an array; fail is major, inconclusive minor, a waiver info."""

from __future__ import annotations

import json
from typing import Any

from singaudit.report.formats.checks import Check, checks, conclusion, fingerprint, model_path, unique, waivers
from singaudit.report.formats.interface import Files, Pages, Place
from singaudit.report.result.audit import AuditResult

_KINDS = {"fail": ("singaudit/gate-failed", "major"), "inconclusive": ("singaudit/gate-undecided", "minor")}
_WORDS = {"fail": "failed", "inconclusive": "undecided", "waived": "has a waiver"}


def render(result: AuditResult, pages: Pages, files: Files) -> dict[str, bytes]:
    """The findings; an empty array where every gate passed and nothing is waived."""
    path = model_path(pages.shown, files)
    entries = [
        _entry(check, path, *_KINDS[check.status]) for check in checks(pages.shown, files) if check.status in _KINDS
    ]
    if pages.shown.verdict.status == "inconclusive":
        whole = Check("verdict", "inconclusive", conclusion(pages.shown), Place(path, 1))
        entries.append(_entry(whole, path, "singaudit/inconclusive", "minor"))
    # A waived gate is no defect, but nobody who reads this list alone may take it for a pass.
    names = unique([part.gate for part in pages.shown.waivers])
    for name, text in zip(names, waivers(pages.shown), strict=True):
        waiver = Check(name, "waived", text, Place(path, 1))
        entries.append(_entry(waiver, path, "singaudit/waiver", "info"))
    return {"gl-code-quality-report.json": json.dumps(entries, indent=1).encode("ascii") + b"\n"}


def _entry(check: Check, model: str, kind: str, severity: str) -> dict[str, Any]:
    word = _WORDS[check.status]
    return {
        "description": f"{model}: {check.name} {word}: {check.message}",
        "check_name": kind,
        "fingerprint": fingerprint(kind, model, check.name),
        "severity": severity,
        "location": {"path": check.place.path, "lines": {"begin": check.place.line}},
    }
