"""From a result to its brief."""

from __future__ import annotations

from collections.abc import Sequence

from singaudit.report.brief import ignored, instrument, sentences
from singaudit.report.brief.gates import Asked, asked
from singaudit.report.brief.model import MAX_ROWS, Brief
from singaudit.report.brief.picture import picture
from singaudit.report.brief.steps import ARRAYS, steps
from singaudit.report.brief.words import counted, share_text
from singaudit.report.gates.rules import MAX_CLASS_GAIN
from singaudit.report.result.audit import AuditResult


def brief_of(result: AuditResult) -> Brief:
    """The brief of a result: the same texts wherever it is shown. Pure; names are as the result has them."""
    marks = instrument.marks(result)
    two_class = result.geometry.classes == 2
    gates = asked(result.gates)
    every = ignored.rows([f for f in result.findings if f.kind != "concept"], two_class)
    ordered = ignored.decided_first(ignored.rows(result.findings, two_class), every, _deciding(gates))
    reads = not any(mark.name == "language model" and mark.state == "red" for mark in marks)
    ordered = ordered if reads else ignored.doubted(ordered)
    rows, rest = ordered[:MAX_ROWS], tuple(row.word for row in ordered[MAX_ROWS:])
    return Brief(
        model=result.model.name, facts=_facts(result), status=result.verdict.status,
        word=sentences.WORDS[result.verdict.status],
        sentence=sentences.sentence(result, gates, every, marks),
        certainty=sentences.certainty(result, gates, every, reads), marks=marks, rows=rows, rest=rest,
        untold=ignored.untold(result.findings, result.model.format == ARRAYS), picture=picture(result, rows),
        steps=steps(result, gates, every, marks), notes=(*_waived(gates), *_notes(result)),
    )  # fmt: skip


def _deciding(gates: Sequence[Asked]) -> list[str]:
    """Groups whose gates failed, the classes' own for the gate on what the logits lose of them."""
    failed = [a for a in gates if a.gate.status == "fail"]
    return ["class" if a.loses_class else a.group for a in failed if a.loses_class or (a.group and a.forbids)]  # type: ignore[misc]


def _waived(gates: Sequence[Asked]) -> tuple[str, ...]:
    """Gates that failed and are not held against the model for now."""
    return tuple(
        f"Waived, it fails all the same: {a.subject}. {a.gate.reason}" for a in gates if a.gate.status == "waived"
    )


def _notes(result: AuditResult) -> tuple[str, ...]:
    """What a decision must not overlook beside the findings."""
    noted = [f"Against the last release: {result.baseline.sentence}."] if result.baseline is not None else []
    noted += [f"{part.sentence[0].upper()}{part.sentence[1:]}." for part in result.waivers if part.status == "applied"]
    return (*noted, *_lost_classes(result))


def _lost_classes(result: AuditResult) -> tuple[str, ...]:
    data = result.data
    if (
        result.verdict.status == "fail"
        or data is None
        or data.class_gain is None
        or data.class_gain.low <= MAX_CLASS_GAIN
    ):
        return ()
    right = f"; it is right in {share_text(data.accuracy)} of these images" if data.accuracy is not None else ""
    return (
        f"Its features know the classes better than its logits show: {share_text(data.class_gain)} of it is "
        f"lost{right}.",
    )


def _facts(result: AuditResult) -> tuple[str, ...]:
    facts = [counted(result.geometry.classes, "class", "classes")]
    if result.data is not None:
        facts.append(counted(result.data.audit.used, "image"))
        if result.data.accuracy is not None:
            facts.append(f"accuracy {share_text(result.data.accuracy)}")
    if result.encoder is not None:
        facts.append(f"read by {result.encoder.name}")
    return tuple(facts)
