"""SARIF 2.1.0 for code scanning: an alert for every gate that failed or could not be decided.

GitHub's own rules on top of the standard's: every result has a location inside the repository (else the whole file is
refused), a fingerprint that survives a new model, and at most 25,000 results. Waived gates give no result, because
suppressions are ignored there.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from singaudit.report.formats.checks import Check, checks, conclusion, fingerprint, model_path, waivers
from singaudit.report.formats.interface import Files, Pages, Place
from singaudit.report.result.audit import AuditResult
from singaudit.version import __version__

MAX_RESULTS = 25_000
_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_HELP = (
    "singaudit measures what an image classifier's head ignores. A gate is a rule over the numbers of its result.json; "
    "report.html shows them with their intervals and controls. "
)
_RULES: dict[str, dict[str, str]] = {
    "singaudit/gate-failed": {
        "level": "error",
        "short": "A gate on what the classifier ignores failed.",
        "full": "A rule over what the classifier's head ignores was measured on images and does not hold, with the "
        "whole of its interval on the wrong side of the limit.",
        "help": "Do not release the model as it is. Look at the finding in report.html; retrain the head with examples "
        "in which the attribute decides, or change the rule where it is stricter than the task.",
    },
    "singaudit/gate-undecided": {
        "level": "warning",
        "short": "A gate on what the classifier ignores could not be decided.",
        "full": "A rule was measured, but the measurement does not say whether it holds: its interval straddles the "
        "limit, there were too few images, or the instrument itself did not read well enough. This is no pass.",
        "help": "Audit more images, or mend the instrument that report.html names.",
    },
    "singaudit/inconclusive": {
        "level": "warning",
        "short": "The audit of the classifier came to no conclusion.",
        "full": "Something that every conclusion rests on is missing or doubtful: images, the translator's fidelity, "
        "preprocessing that was only guessed. No gate's pass counts until it is mended.",
        "help": "Read the reasons, mend them and audit again.",
    },
}
_OF_STATUS = {"fail": "singaudit/gate-failed", "inconclusive": "singaudit/gate-undecided"}


def render(result: AuditResult, pages: Pages, files: Files) -> dict[str, bytes]:
    """One run with the alerts, failed gates first."""
    shown = pages.shown
    path = model_path(shown, files)
    unmet = [c for c in checks(shown, files) if c.status in _OF_STATUS]
    unmet.sort(key=lambda c: c.status != "fail")
    found = [(_OF_STATUS[c.status], c) for c in unmet]
    if shown.verdict.status == "inconclusive":
        whole = Check("verdict", "inconclusive", conclusion(shown), Place(path, 1))
        found.append(("singaudit/inconclusive", whole))
    if len(found) > MAX_RESULTS:
        left = len(found) - MAX_RESULTS + 1
        more = Check("more gates", "inconclusive", f"{left} more gates did not pass; see result.json.", Place(path, 1))
        found = [*found[: MAX_RESULTS - 1], ("singaudit/gate-undecided", more)]
    rules = list(_RULES)
    log = {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": _driver()},
                "automationDetails": {"id": f"singaudit/{quote(path, safe='/')}/"},
                "invocations": [_invocation(shown)],
                "results": [_result(rule, rules.index(rule), check, path) for rule, check in found],
                "properties": {
                    "verdict": shown.verdict.status,
                    "modelSha256": shown.model.sha256,
                    "resultChecksum": result.checksum,
                    **({"waivers": waivers(shown)} if shown.waivers else {}),
                },
            }
        ],
    }
    return {"singaudit.sarif": json.dumps(log, indent=1).encode("ascii") + b"\n"}


def _invocation(shown: AuditResult) -> dict[str, Any]:
    """The run itself; waivers are notes on its configuration, for a waived gate has no result to hold them."""
    notes = [{"level": "note", "message": {"text": text}} for text in waivers(shown)]
    return {"executionSuccessful": True, **({"toolConfigurationNotifications": notes} if notes else {})}


def _driver() -> dict[str, Any]:
    return {
        "name": "singaudit",
        "version": __version__,
        "semanticVersion": __version__,
        "rules": [
            {
                "id": name,
                "shortDescription": {"text": rule["short"]},
                "fullDescription": {"text": rule["full"]},
                "help": {"text": _HELP + rule["help"]},
                "defaultConfiguration": {"level": rule["level"]},
                "properties": {"precision": "high", "tags": ["model", "audit"]},
            }
            for name, rule in _RULES.items()
        ],
    }


def _result(rule: str, index: int, check: Check, model: str) -> dict[str, Any]:
    location = _location(check.place)
    out: dict[str, Any] = {
        "ruleId": rule,
        "ruleIndex": index,
        "level": _RULES[rule]["level"],
        "message": {"text": f"{check.name}: {check.message}"},
        "locations": [location],
        "partialFingerprints": {"primaryLocationLineHash": fingerprint(rule, model, check.name)[:16] + ":1"},
    }
    if check.place.path != model:
        related = {"id": 1, "message": {"text": "The model that was audited."}, **_location(Place(model, 1))}
        out["relatedLocations"] = [related]
    return out


def _location(place: Place) -> dict[str, Any]:
    # A path is no URI: blanks, percent signs and what is not ASCII are escaped.
    uri = quote(place.path, safe="/")
    return {"physicalLocation": {"artifactLocation": {"uri": uri}, "region": {"startLine": place.line}}}
