"""Gates judged against a result: on the interval's bad end, and nothing passes by default."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from singaudit.report.gates.instrument import Fault, excused, faults_of, rests_on
from singaudit.report.gates.names import KEYS, WORDS, field_name, selectors
from singaudit.report.gates.rules import GateStatus, Rule, Step
from singaudit.report.result.audit import AuditResult
from singaudit.report.result.base import Statistic
from singaudit.report.result.findings import GatePart

MIN_GATE_IMAGES = 20
"""A bootstrap of fewer images says nothing: of one image it is a point."""
GateOn = Literal["upper", "point", "lower"]
_UNSURE = ("cannot tell", "unstable", "not applicable", "nonlinear")


def judge_gates(rules: list[Rule], result: AuditResult, gate_on: GateOn) -> list[GatePart]:
    """Every rule against the result. What is missing or not finite never passes."""
    faults = faults_of(result)
    return [_apart(rule, _judge_one(rule, result, gate_on), result, faults) for rule in rules]


def _apart(rule: Rule, part: GatePart, result: AuditResult, faults: Sequence[Fault]) -> GatePart:
    """The gate as it may be said: what could not be measured neither fails a model nor passes it."""
    rests = rests_on(rule, result)
    if rests == "instrument" and part.status == "fail":
        why = f"this says that the audit could not measure, not that the model is at fault ({part.reason})"
        return part.model_copy(update={"status": "inconclusive", "reason": why})
    reason = excused(rule, result, faults) if rests == "language" else ""
    return part.model_copy(update={"status": "inconclusive", "reason": reason}) if reason else part


def _judge_one(rule: Rule, result: AuditResult, gate_on: GateOn) -> GatePart:
    found, images = _look_up(rule, result)
    if found is None:
        why = "the number it names was not measured, and what is missing never passes"
        return _part(rule, "not measured", "inconclusive", why)
    if rule.members:
        return _judge_word(rule, found)
    if isinstance(found, int | float):
        return _judge_exact(rule, float(found), images)
    value, low, high, n = found.value, found.low, found.high, found.n
    if not all(map(math.isfinite, (value, low, high))):
        return _part(rule, "no finite number", "inconclusive", "what is no number never passes")
    status, reason = _judge_interval(rule, value, low, high, gate_on)
    if n < MIN_GATE_IMAGES:
        status, reason = "inconclusive", _few(n)
    shown = f"{value:.4g} [{low:.4g}, {high:.4g}], n = {n}"
    return _part(rule, shown, status, reason, value, low, high, n)


def _judge_word(rule: Rule, found: Any) -> GatePart:
    word = next((getattr(found, name) for name in WORDS if hasattr(found, name)), found)
    word = str(word).lower() if isinstance(word, bool) else str(word)
    if word in _UNSURE and word not in rule.members:
        return _part(rule, word, "inconclusive", f"{word!r} neither passes nor fails")
    passed = (word in rule.members) == (rule.operator == "in")
    return _part(rule, word, "pass" if passed else "fail", f"the finding is {word!r}")


def _judge_exact(rule: Rule, value: float, images: int | None) -> GatePart:
    if not math.isfinite(value):
        return _part(rule, "no finite number", "inconclusive", "what is no number never passes")
    if images is not None and images < MIN_GATE_IMAGES:
        return _part(rule, f"{value:g}", "inconclusive", _few(images), value)
    reason = "an exact number" if images is None else f"one number of a statistic over {images} images"
    return _part(rule, f"{value:g}", "pass" if _holds(rule, value) else "fail", reason, value)


def _part(
    rule: Rule,
    found: str,
    status: GateStatus,
    reason: str,
    value: float | None = None,
    low: float | None = None,
    high: float | None = None,
    n: int | None = None,
) -> GatePart:
    limit = f"{rule.operator} ({', '.join(rule.members)})" if rule.members else f"{rule.operator} {rule.limit:g}"
    return GatePart(
        name=rule.name, rule=rule.text, found=found, value=value, low=low, high=high, n=n, limit=limit, status=status,
        reason=reason,
    )  # fmt: skip


def _few(n: int) -> str:
    return f"{n} images are too few for an interval, at least {MIN_GATE_IMAGES} are needed"


def _judge_interval(rule: Rule, value: float, low: float, high: float, gate_on: GateOn) -> tuple[GateStatus, str]:
    if gate_on == "point":
        return ("pass" if _holds(rule, value) else "fail"), "judged on the value alone (--gate-on point)"
    good, bad = (low, high) if rule.operator.startswith("<") else (high, low)
    if gate_on == "lower":
        return ("pass" if _holds(rule, good) else "fail"), "judged on the interval's good end (--gate-on lower)"
    if _holds(rule, bad):
        return "pass", "the whole interval is on the good side"
    if not _holds(rule, good):
        return "fail", "the whole interval is on the bad side"
    return "inconclusive", "the interval straddles the limit: more images would narrow it"


def _holds(rule: Rule, value: float) -> bool:
    return {
        "<": value < rule.limit,
        "<=": value <= rule.limit,
        ">": value > rule.limit,
        ">=": value >= rule.limit,
    }[rule.operator]


def _look_up(rule: Rule, result: AuditResult) -> tuple[Any, int | None]:
    """(what a rule names or None where it was not measured, images behind the statistic it is a number of)."""
    found: Any = result
    images: int | None = None
    for step in rule.path:
        if isinstance(found, Statistic):
            images = found.n
        found = _follow(found, step)
        if found is None:
            return None, None
    return found, images if rule.path[-1].name != "n" else None


def _follow(found: Any, step: Step) -> Any:
    name = field_name(type(found).model_fields, step.name) if hasattr(type(found), "model_fields") else None
    if name is None:
        return None
    below = getattr(found, name)
    if step.selector is None:
        return None if isinstance(below, list | dict) else below
    if isinstance(below, dict):
        return below.get(step.selector)
    chosen = [entry for entry in below or () if step.selector in _selectors(entry)]
    return chosen[0] if len(chosen) == 1 else None


def _selectors(entry: Any) -> tuple[str, ...]:
    """What names an entry of a list; a concept also with its group."""
    key = next((getattr(entry, k) for k in KEYS if hasattr(entry, k)), None)
    group = getattr(entry, "group", None)
    return selectors(str(key), group if group != key else None)
