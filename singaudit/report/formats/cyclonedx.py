"""A CycloneDX 1.6 ML-BOM: the audited model as a component, with its card: measures with intervals, and limits.

The verdict stands first among the technical limitations, so that no reader of the numbers alone takes them for a pass.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from typing import Any

from singaudit.report.formats.checks import waivers
from singaudit.report.formats.interface import Files, Pages
from singaudit.report.result.audit import AuditResult
from singaudit.report.result.base import Statistic
from singaudit.version import __version__

_SHA256 = re.compile("[0-9a-f]{64}")
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://singaudit.invalid/result")
MAX_SLICES = 1000
"""Classes with a measure of their own; result.json holds all of them."""


def render(result: AuditResult, pages: Pages, files: Files) -> dict[str, bytes]:
    """The bill of materials; the same bytes for the same result."""
    shown = pages.shown
    bom = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, result.checksum or shown.model.sha256)}",
        "version": 1,
        "metadata": {
            "tools": {"components": [{"type": "application", "name": "singaudit", "version": __version__}]},
            "component": _component(shown, result.checksum),
        },
    }
    return {"singaudit.cdx.json": json.dumps(bom, indent=1).encode("ascii") + b"\n"}


def _component(shown: AuditResult, checksum: str) -> dict[str, Any]:
    model = shown.model
    component: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": f"model:{model.sha256}",
        "name": model.name,
        "description": f"Image classifier, {model.format}; {shown.geometry.classes} classes.",
    }
    if _SHA256.fullmatch(model.sha256):
        component["hashes"] = [{"alg": "SHA-256", "content": model.sha256}]
    component["modelCard"] = {
        "bom-ref": f"card:{model.sha256}",
        "modelParameters": _parameters(shown),
        "quantitativeAnalysis": {"performanceMetrics": list(_metrics(shown))},
        "considerations": {"technicalLimitations": list(_limitations(shown))},
    }
    component["properties"] = list(_properties(shown, checksum))
    return component


def _parameters(shown: AuditResult) -> dict[str, Any]:
    out: dict[str, Any] = {
        "task": "image-classification",
        "inputs": [{"format": "image"}],
        "outputs": [{"format": f"logits of {shown.geometry.classes} classes"}],
    }
    if shown.data is not None:
        images = shown.data.audit
        out["datasets"] = [
            {
                "type": "dataset",
                "name": images.source,
                "description": f"{images.used} images that the audit measured on; digest sha256:{images.digest}",
            }
        ]
    return out


def _metrics(shown: AuditResult) -> Iterator[dict[str, Any]]:
    if shown.data is not None:
        yield from _metric("accuracy", shown.data.accuracy)
    if shown.translator is not None:
        yield from _metric("translator R2", shown.translator.r2)
    if shown.scores is not None:
        yield from _metric("image score, degrees", shown.scores.image_score_deg)
        yield from _metric("class attribute score |AS|, degrees", shown.scores.attribute_score_deg)
    for part in shown.classes[:MAX_SLICES]:
        yield from _metric("class attribute score |AS|, degrees", part.attribute_score_deg, f"class: {part.name}")
    for finding in shown.findings[:MAX_SLICES]:
        yield from _metric(
            "carried share: reading that only the null space carries",
            finding.carried_share,
            f"concept group: {finding.group}",
        )


def _metric(kind: str, statistic: Statistic | None, part: str = "") -> Iterator[dict[str, Any]]:
    """One performance metric; CycloneDX wants numbers as text."""
    if statistic is None:
        return
    metric: dict[str, Any] = {"type": kind, "value": repr(statistic.value)}
    if part:
        metric["slice"] = part
    metric["confidenceInterval"] = {"lowerBound": repr(statistic.low), "upperBound": repr(statistic.high)}
    yield metric


def _limitations(shown: AuditResult) -> Iterator[str]:
    verdict = shown.verdict
    yield f"Verdict of the audit: {verdict.status}. {verdict.sentence}"
    yield from verdict.reasons
    yield from waivers(shown)
    yield from (f"{f.group}: {f.finding}. {f.sentence}" for f in shown.findings if f.finding in ("strong", "partial"))
    yield from shown.not_evaluated
    yield from shown.warnings
    geometry = shown.geometry
    yield (
        f"{geometry.null_dim} of {geometry.feature_dim} feature dimensions are not visible to the logits. The audit "
        "says what the head ignores, not why."
    )


def _properties(shown: AuditResult, checksum: str) -> Iterator[dict[str, str]]:
    yield {"name": "singaudit:verdict", "value": shown.verdict.status}
    yield {"name": "singaudit:result:sha256", "value": checksum}
    if shown.data is not None:
        yield {"name": "singaudit:images:digest", "value": shown.data.audit.digest}
    if shown.encoder is not None:
        yield {"name": "singaudit:encoder", "value": f"{shown.encoder.name}@{shown.encoder.revision}"}
    for gate in shown.gates:
        yield {"name": f"singaudit:gate:{gate.status}", "value": f"{gate.name or gate.rule}: found {gate.found}"}
    for part, text in zip(shown.waivers, waivers(shown), strict=True):
        yield {"name": f"singaudit:waiver:{part.status}", "value": text}
    yield {"name": "singaudit:command", "value": shown.reproduce.command}
