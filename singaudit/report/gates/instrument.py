"""Instrument and model are two things: what a gate rests on, and whether what it rests on could measure at all.

Whatever says only that the audit could not measure never fails a model: such a gate is undecided, and the audit
inconclusive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from pydantic import BaseModel

from singaudit.metrics.findings import THRESHOLDS
from singaudit.report.gates.names import SINGULAR
from singaudit.report.gates.rules import Rule
from singaudit.report.result.audit import AuditResult
from singaudit.report.result.data import DataPart, TranslatorPart
from singaudit.report.result.findings import FindingPart

Rests = Literal["model", "instrument", "language"]
"""On what the model does, to images and labels; on what measures it; or on what a language model says it means."""

_MODEL = ("model", "geometry")
_INSTRUMENT = ("translator", "certificate", "logit_check", "encoder", "schema_version", "method")
_MODEL_DATA = ("accuracy", "chance_accuracy", "class_gain", "class_probe")
_INSTRUMENT_FINDING = ("readable", "readability", "stable", "values_judged", "own_value")
_COUNTS = ("n", "images")
_P = TypeVar("_P", bound=BaseModel)


@dataclass(frozen=True)
class Fault:
    """Why something could not be measured."""

    text: str
    """One clause."""
    labelled_too: bool
    """Whether it concerns groups whose values are labelled as well."""


def rests_on(rule: Rule, result: AuditResult) -> Rests:
    """What the number that ``rule`` names rests on."""
    first, last = rule.path[0], rule.path[-1].name
    root = SINGULAR.get(first.name, first.name)
    names = [step.name for step in rule.path[1:]]
    if root in _MODEL:
        return "model"
    if root in _INSTRUMENT or last in _COUNTS:
        return "instrument"
    if root == "data":
        return "model" if names and names[0] in _MODEL_DATA else "instrument"
    if root == "findings" and any(name in _INSTRUMENT_FINDING for name in names):
        return "instrument"
    if root == "findings" and "probe" in names and _labelled(first.selector, result):
        return "model"
    return "language"


def excused(rule: Rule, result: AuditResult, faults: Sequence[Fault]) -> str:
    """Why a gate that rests on language cannot be decided, or an empty text."""
    first = rule.path[0]
    labelled = SINGULAR.get(first.name, first.name) == "findings" and _labelled(first.selector, result)
    return next((fault.text for fault in faults if fault.labelled_too or not labelled), "")


def faults_of(result: AuditResult) -> list[Fault]:
    """Why what rests on language could not be measured; nothing where it could."""
    found = [Fault(text, True) for text in (*too_few(result.data), *unreadable_where_fitted(result))]
    if result.certificate is not None and result.certificate.status == "failed":
        found.append(Fault(f"the shadow copy failed its certificate: {result.certificate.reason}", True))
    return found + [Fault(text, False) for text in blind(result)]


def too_few(data: DataPart | None) -> list[str]:
    """That too few images, of too few scenes, were audited."""
    if data is None:
        return []
    if data.audit.used < THRESHOLDS.min_images:
        return [f"{data.audit.used} images are too few, at least {THRESHOLDS.min_images} are needed"]
    if data.units is not None and data.units.count < THRESHOLDS.min_images:
        return [
            f"{data.audit.used} images of {data.units.count} scenes are too few, at least {THRESHOLDS.min_images} "
            "scenes are needed"
        ]
    return []


def unreadable(translator: TranslatorPart | None) -> list[str]:
    """Why nothing that a translator says can be trusted; nothing where it can."""
    if translator is None:
        return ["no translator was fitted"]
    doubts = []
    if translator.images < THRESHOLDS.min_translator_images:
        doubts.append(
            f"the translator rests on {translator.images} images, at least "
            f"{THRESHOLDS.min_translator_images} are needed; add some with --probe"
        )
    if not translator.r2.low > THRESHOLDS.min_r2:
        doubts.append(
            f"the translator explains too little of the image embeddings (R2 {translator.r2.value:.3f}, "
            f"its lower end must exceed {THRESHOLDS.min_r2})"
        )
    return doubts


def unreadable_where_fitted(result: AuditResult) -> list[str]:
    """``unreadable``; nothing for a result that has no translator at all."""
    return unreadable(result.translator) if result.translator is not None else []


def blind(result: AuditResult) -> list[str]:
    """That the language model does not read these images: true classes no better than chance, or no group at all."""
    reading = result.encoder.class_reading if result.encoder is not None else None
    if reading is not None and reading.low <= reading.chance:
        return [
            f"the language model does not read these images: it names {reading.value:.1%} of the true classes "
            f"[{reading.low:.1%}, {reading.high:.1%}], {reading.chance:.1%} by chance; name another with --vlm, or say "
            "the classes in words with --class-prompts"
        ]
    if result.findings and not any(part.readable for part in result.findings):
        return ["the language model reads none of the concept groups on these images"]
    return []


def withheld(result: AuditResult) -> AuditResult:
    """The result with no finding claimed that rests on what could not be measured."""
    faults = faults_of(result)
    if not faults:
        return result
    findings = [_withheld(part, faults) for part in result.findings]
    untold = {part.group for part in result.findings if _fault_of(part, faults)}
    classes = [
        part.model_copy(
            update={
                "findings": [_untold(f, "finding") if f.group in untold else f for f in part.findings],
                "concepts": [_untold(c, "change") if (c.group or c.name) in untold else c for c in part.concepts],
                "words": [word for word in part.words if (word.group or word.name) not in untold],
            }
        )
        for part in result.classes
    ]
    concepts = [_untold(c, "change") if (c.group or c.name) in untold else c for c in result.concepts]
    words = result.words
    if words is not None:
        kept = {
            kind: [word for word in getattr(words, kind) if (word.group or word.name) not in untold]
            for kind in ("lost", "gained")
        }
        words = words.model_copy(update=kept)
    return result.model_copy(update={"findings": findings, "classes": classes, "concepts": concepts, "words": words})


def _untold(part: _P, field: str) -> _P:
    """The part with nothing claimed; what was never judged stays so."""
    return part if getattr(part, field) is None else part.model_copy(update={field: "cannot tell"})


def _fault_of(part: FindingPart, faults: Sequence[Fault]) -> str:
    """The first reason for which nothing can be said about the part's group, or an empty text."""
    return next((f.text for f in faults if f.labelled_too or part.own_value != "labels"), "")


def _withheld(part: FindingPart, faults: Sequence[Fault]) -> FindingPart:
    reason = _fault_of(part, faults)
    if not reason or part.finding in ("cannot tell", "not applicable"):
        return part
    name = part.group.replace("_", " ")
    return part.model_copy(
        update={
            "finding": "cannot tell",
            "rule": f"{reason}; by the numbers alone it would be {part.finding!r}: {part.rule}",
            "sentence": f"Whether the head ignores {name} cannot be told: {reason}.",
        }
    )


def _labelled(group: str | None, result: AuditResult) -> bool:
    return any(part.group == group and part.own_value == "labels" for part in result.findings)
