"""The verdict: a failed gate outranks all, any doubt outranks a pass, and no gate is no pass."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime

from singaudit.config import Waiver
from singaudit.report.gates.instrument import faults_of, withheld
from singaudit.report.gates.judge import GateOn, judge_gates
from singaudit.report.gates.rules import Rule
from singaudit.report.gates.waivers import WARNED, waive
from singaudit.report.result.audit import AuditResult
from singaudit.report.result.findings import GatePart, Verdict

UNDECIDED = Verdict(status="inconclusive", reasons=[], sentence="")
"""What a result holds until ``decided``."""


def decided(
    result: AuditResult, rules: list[Rule], gate_on: GateOn, waivers: Sequence[Waiver] = (), today: date | None = None
) -> AuditResult:
    """The result with its gates judged and its verdict: a failed gate outranks all, any doubt outranks a pass.

    Findings that rest on what could not be measured are withheld. Where nothing is asked but how many dimensions are
    ignored, and there are none, the head's weights decide alone: what images and instrument leave open has no bearing.
    ``today`` decides which waivers have expired, and nothing else; None: the day it is now, in UTC.
    """
    result = withheld(result)
    gates, waived = waive(
        judge_gates(rules, result, gate_on), waivers, result.model.sha256, today or datetime.now(UTC).date()
    )
    warned = [part.sentence for part in waived if part.status in WARNED]
    failed = [f"the gate {g.rule!r} failed: found {g.found}" for g in gates if g.status == "fail"]
    weights_decide = bool(rules) and result.geometry.null_dim == 0 and all(map(_asks_null_dim, rules))
    doubts = ([] if weights_decide else _doubts(result)) + [
        f"the gate {g.rule!r} could not be decided: {g.reason}" for g in gates if g.status == "inconclusive"
    ]
    status = "fail" if failed else "inconclusive" if doubts else "pass" if gates else "no gates set"
    verdict = Verdict.model_validate(
        {"status": status, "reasons": failed + doubts, "sentence": verdict_sentence(status, gates, doubts)}
    )
    return result.model_copy(
        update={"gates": gates, "waivers": waived, "verdict": verdict, "warnings": [*result.warnings, *warned]}
    )


def _asks_null_dim(rule: Rule) -> bool:
    return [step.name for step in rule.path] == ["geometry", "null_dim"]


def _doubts(result: AuditResult) -> list[str]:
    """Why no gate's pass could be trusted, whatever the gates say."""
    doubts = list(result.not_evaluated)
    if result.model.preprocessing.guessed:
        keys = ", ".join(result.model.preprocessing.guessed)
        doubts.append(f"preprocessing was only guessed ({keys}); state it with --preprocess")
    if result.geometry.null_dim == 0:
        doubts.append("the head has no logit null space: there is nothing it ignores by construction")
    return doubts + [fault.text for fault in faults_of(result)]


def verdict_sentence(status: str, gates: list[GatePart], reasons: list[str]) -> str:
    """The verdict in one plain sentence."""
    failed = sum(g.status == "fail" for g in gates)
    if status == "fail":
        return f"{failed} of {len(gates)} {'gate' if len(gates) == 1 else 'gates'} failed."
    if status == "pass":
        waived = sum(g.status == "waived" for g in gates)
        if waived:
            passed = len(gates) - waived
            said = f"{passed} of {len(gates)} gates passed" if passed else "No gate passed"
            return f"{said}; {waived} failed and {'is' if waived == 1 else 'are'} waived."
        return f"All {len(gates)} gates passed." if len(gates) > 1 else "The gate passed."
    if status == "inconclusive":
        return f"No conclusion: {reasons[0]}." if reasons else "No conclusion."
    return "The audit is conclusive, but no gates were set: this is no pass."
