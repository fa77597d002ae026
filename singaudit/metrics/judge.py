"""From a group's numbers and controls to its finding, with many groups judged at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from singaudit.metrics.changes import adjusted_p
from singaudit.metrics.control_moves import SHUFFLED
from singaudit.metrics.control_run import Family, run_controls
from singaudit.metrics.findings import THRESHOLDS, Evidence, Finding, Thresholds, decide, readable, reads, unstable
from singaudit.metrics.group_numbers import Carried
from singaudit.metrics.groups import MeasuredGroup
from singaudit.metrics.intervals import ROUNDING, Estimate
from singaudit.metrics.measure import Measured, measure
from singaudit.metrics.subject import Subject

_Z95 = 1.959963984540054
_NOTHING = Estimate(math.nan, math.nan, math.nan, 0)


@dataclass(frozen=True)
class JudgedGroup:
    """A concept group with its finding and what led to it."""

    group: MeasuredGroup
    """The group with its numbers."""
    finding: Finding
    """After stability was looked at."""
    rule: str
    """The rule that decided, with its numbers."""
    stable: bool
    """Translators refitted on either half of the data do not contradict it."""
    readable: bool
    """The vision-language model reads the group itself."""
    shows_share: bool
    """Whether the carried share means something: a share of a reading too faint to be one would only mislead."""
    evidence: Evidence
    """The numbers the rules looked at."""


def findings_of(
    subject: Subject, progress: Callable[[int], None] = lambda done: None
) -> tuple[Measured, list[Family], list[JudgedGroup]]:
    """Every number, the controls, and what follows; ``progress`` is told how many draws of the controls are done."""
    measured = measure(subject)
    controls = run_controls(subject, measured, progress)
    return measured, controls, judge_groups(subject, measured, controls)


def judge_groups(
    subject: Subject, measured: Measured, controls: Sequence[Family], limits: Thresholds = THRESHOLDS
) -> list[JudgedGroup]:
    """The finding of every group, in their order."""
    shuffled = next((family for family in controls if family.name == SHUFFLED), None)
    adjusted = [
        adjusted_p(np.array([p_above_zero(m.follow_normalised) if m else np.nan for m in ms]))
        for ms in zip(*(_sets(group) for group in measured.groups), strict=True)
    ]
    common = Evidence(
        null_dim=subject.space.null_dim, images=int(subject.unit_of.max()) + 1, translator_images=subject.fitted.images,
        effective_images=0.0, r2=measured.r2, readable=_NOTHING, margin=_NOTHING, margin_control=math.nan,
        margin_share=_NOTHING, carried_share=_NOTHING, follow_normalised=_NOTHING, follow_share=_NOTHING,
        follow_q=1.0, probe_principal=_NOTHING, probe_null=_NOTHING, probe_gain=_NOTHING,
        class_readable=class_readable(measured), planted=measured.planted,
    )  # fmt: skip
    judged = []
    for group, *q in zip(measured.groups, *adjusted, strict=True):
        mine = replace(
            common,
            labelled=group.of.labels is not None,
            values_judged=len(group.values.present),
            values_listed=group.values.listed,
            texts=group.text_test,
        )
        against = shuffled.groups.get(group.of.name, {}) if shuffled is not None else {}
        if "margin_deg" in against:
            mine = replace(mine, margin_control=against["margin_deg"].high)
        evidence = [
            _evidence(mine, group, carried, float(of_set)) for carried, of_set in zip(_sets(group), q, strict=True)
        ]
        judged.append(_judge(group, evidence, limits))
    return judged


def class_readable(measured: Measured) -> Estimate | None:
    """How well the vision-language model reads the true classes, 0 being chance; None where they are not known."""
    for group in measured.groups:
        if group.of.kind == "class" and group.of.labels is not None and group.numbers is not None:
            return group.numbers.readable
    return None


def _sets(group: MeasuredGroup) -> tuple[Carried | None, Carried | None, Carried | None]:
    """What the translators, and those of either half, show."""
    return (group.numbers.carried, *group.numbers.halves) if group.numbers else (None, None, None)


def _judge(group: MeasuredGroup, evidence: Sequence[Evidence], limits: Thresholds) -> JudgedGroup:
    whole = evidence[0]
    found, rule = decide(whole, limits)
    # The limit on translator images is for the whole: halves have half of them by design. The margin of the control
    # belongs to the whole as well, half as many pairs give a larger one.
    first, second = (
        decide(replace(half, translator_images=whole.translator_images), limits)[0] for half in evidence[1:]
    )
    shaky = unstable(found, (first, second))
    if shaky:
        rule = f"{found!r} by the whole, {first!r} and {second!r} by translators of either half: {rule}"
    finding: Finding = "unstable" if shaky else found
    return JudgedGroup(group, finding, rule, not shaky, readable(whole, limits), reads(whole, limits), whole)


def _evidence(common: Evidence, group: MeasuredGroup, carried: Carried | None, q: float) -> Evidence:
    found = group.numbers
    if found is None or carried is None:
        return common
    return replace(
        common, effective_images=group.values.effective_images, readable=found.readable, margin=carried.margin,
        margin_share=carried.margin_share, carried_share=carried.carried_share,
        follow_normalised=carried.follow_normalised, follow_share=carried.follow_share, follow_q=q,
        probe_principal=found.probe_principal, probe_null=found.probe_null, probe_gain=found.probe_gain,
        beyond=None if group.of.kind == "class" else found.beyond,
        nonlinear=found.nonlinear if group.of.kind == "group" else None,
    )  # fmt: skip


def p_above_zero(e: Estimate) -> float:
    """One-sided p-value against 0, by the normal approximation of the bootstrap interval."""
    error = (e.high - e.low) / (2 * _Z95)
    if not math.isfinite(error) or error <= ROUNDING:
        return 0.0 if e.value > ROUNDING and math.isfinite(e.value) else 1.0
    return 0.5 * math.erfc(e.value / error / math.sqrt(2))
