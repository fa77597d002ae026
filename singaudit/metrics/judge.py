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
from singaudit.metrics.groups import Carried, GroupMeasure
from singaudit.metrics.intervals import ROUNDING, Estimate
from singaudit.metrics.measure import Measured, measure
from singaudit.metrics.subject import GroupTexts, Subject

_Z95 = 1.959963984540054
_NOTHING = Estimate(math.nan, math.nan, math.nan, 0)


@dataclass(frozen=True)
class Judged:
    """A finding with what led to it."""

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
) -> tuple[Measured, list[Family], list[Judged]]:
    """Every number, the controls, and what follows; ``progress`` is told how many draws of the controls are done."""
    measured = measure(subject)
    controls = run_controls(subject, measured, progress)
    return measured, controls, judge(subject, measured, controls)


def judge(
    subject: Subject, measured: Measured, controls: Sequence[Family], limits: Thresholds = THRESHOLDS
) -> list[Judged]:
    """The finding of every group of ``subject``, in their order."""
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
        class_readable=class_readable(subject, measured), planted=measured.planted,
    )  # fmt: skip
    judged = []
    for g, (texts, values, group) in enumerate(zip(subject.groups, measured.values, measured.groups, strict=True)):
        mine = replace(
            common,
            labelled=texts.labels is not None,
            values_judged=len(values.present),
            values_listed=values.listed,
            texts=measured.texts[g],
        )
        if shuffled is not None and "margin_deg" in shuffled.groups[g]:
            mine = replace(mine, margin_control=shuffled.groups[g]["margin_deg"].high)
        evidence = [
            _evidence(mine, texts, group, carried, float(q[g]))
            for carried, q in zip(_sets(group), adjusted, strict=True)
        ]
        judged.append(_judge(evidence, limits))
    return judged


def class_readable(subject: Subject, measured: Measured) -> Estimate | None:
    """How well the vision-language model reads the true classes, 0 being chance; None where they are not known."""
    for texts, group in zip(subject.groups, measured.groups, strict=True):
        if texts.kind == "class" and texts.labels is not None and group is not None:
            return group.readable
    return None


def _sets(group: GroupMeasure | None) -> tuple[Carried | None, Carried | None, Carried | None]:
    """What the translators, and those of either half, show."""
    return (group.carried, *group.halves) if group else (None, None, None)


def _judge(evidence: Sequence[Evidence], limits: Thresholds) -> Judged:
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
    return Judged("unstable" if shaky else found, rule, not shaky, readable(whole, limits), reads(whole, limits), whole)


def _evidence(
    common: Evidence, texts: GroupTexts, group: GroupMeasure | None, carried: Carried | None, q: float
) -> Evidence:
    if group is None or carried is None:
        return common
    return replace(
        common, effective_images=group.values.effective_images, readable=group.readable, margin=carried.margin,
        margin_share=carried.margin_share, carried_share=carried.carried_share,
        follow_normalised=carried.follow_normalised, follow_share=carried.follow_share, follow_q=q,
        probe_principal=group.probe_principal, probe_null=group.probe_null, probe_gain=group.probe_gain,
        beyond=None if texts.kind == "class" else group.beyond,
        nonlinear=group.nonlinear if texts.kind == "group" else None,
    )  # fmt: skip


def p_above_zero(e: Estimate) -> float:
    """One-sided p-value against 0, by the normal approximation of the bootstrap interval."""
    error = (e.high - e.low) / (2 * _Z95)
    if not math.isfinite(error) or error <= ROUNDING:
        return 0.0 if e.value > ROUNDING and math.isfinite(e.value) else 1.0
    return 0.5 * math.erfc(e.value / error / math.sqrt(2))
