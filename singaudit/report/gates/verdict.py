"""The verdict: a failed gate outranks all, any doubt outranks a pass, and no gate is no pass."""

from __future__ import annotations

from singaudit.metrics.findings import THRESHOLDS
from singaudit.report.gates.judge import GateOn, judge
from singaudit.report.gates.rules import Rule
from singaudit.report.result.audit import AuditResult
from singaudit.report.result.data import TranslatorPart
from singaudit.report.result.findings import GatePart, Verdict

UNDECIDED = Verdict(status="inconclusive", reasons=[], sentence="")
"""What a result holds until ``decided``."""


def decided(result: AuditResult, rules: list[Rule], gate_on: GateOn) -> AuditResult:
    """The result with its gates judged and its verdict: a failed gate outranks all, any doubt outranks a pass."""
    gates = judge(rules, result, gate_on)
    failed = [f"the gate {g.rule!r} failed: found {g.found}" for g in gates if g.status == "fail"]
    doubts = _doubts(result) + [
        f"the gate {g.rule!r} could not be decided: {g.reason}" for g in gates if g.status == "inconclusive"
    ]
    status = "fail" if failed else "inconclusive" if doubts else "pass" if gates else "no gates set"
    verdict = Verdict.model_validate(
        {"status": status, "reasons": failed + doubts, "sentence": verdict_sentence(status, gates, doubts)}
    )
    return result.model_copy(update={"gates": gates, "verdict": verdict})


def _doubts(result: AuditResult) -> list[str]:
    """Why no gate's pass could be trusted, whatever the gates say."""
    doubts = list(result.not_evaluated)
    if result.model.preprocessing.guessed:
        keys = ", ".join(result.model.preprocessing.guessed)
        doubts.append(f"preprocessing was only guessed ({keys}); state it with --preprocess")
    if result.geometry.null_dim == 0:
        doubts.append("the head has no logit null space: there is nothing it ignores by construction")
    if result.data is not None and result.data.audit.used < THRESHOLDS.min_images:
        doubts.append(f"{result.data.audit.used} images are too few, at least {THRESHOLDS.min_images} are needed")
    return doubts + (unreadable(result.translator) if result.translator is not None else [])


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


def verdict_sentence(status: str, gates: list[GatePart], reasons: list[str]) -> str:
    """The verdict in one plain sentence."""
    failed = sum(g.status == "fail" for g in gates)
    if status == "fail":
        return f"{failed} of {len(gates)} {'gate' if len(gates) == 1 else 'gates'} failed."
    if status == "pass":
        return f"All {len(gates)} gates passed." if len(gates) > 1 else "The gate passed."
    if status == "inconclusive":
        return f"No conclusion: {reasons[0]}." if reasons else "No conclusion."
    return "The audit is conclusive, but no gates were set: this is no pass."
