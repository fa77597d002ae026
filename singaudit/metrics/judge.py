"""From a group's numbers and controls to its finding, with many groups judged at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from singaudit.metrics.control_moves import SHUFFLED
from singaudit.metrics.control_run import Family
from singaudit.metrics.findings import THRESHOLDS, Evidence, Finding, Thresholds, decide, reads, unstable
from singaudit.metrics.groups import Carried, GroupMeasure
from singaudit.metrics.intervals import ROUNDING, Estimate
from singaudit.metrics.measure import Measured
from singaudit.metrics.subject import Subject

Array = NDArray[np.float64]

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


def judge(
    subject: Subject, measured: Measured, controls: Sequence[Family], limits: Thresholds = THRESHOLDS
) -> list[Judged]:
    """The finding of every group of ``subject``, in their order."""
    shuffled = next((family for family in controls if family.name == SHUFFLED), None)
    adjusted = [
        benjamini_hochberg(np.array([p_above_zero(m.follow_normalised) if m else np.nan for m in ms]))
        for ms in zip(*(_sets(group) for group in measured.groups), strict=True)
    ]
    r2 = measured.r2
    judged = []
    for g, group in enumerate(measured.groups):
        margin_control = math.nan
        if shuffled is not None and "margin_deg" in shuffled.groups[g]:
            margin_control = shuffled.groups[g]["margin_deg"].high
        evidence = [
            _evidence(subject, group, carried, r2, margin_control, float(q[g]))
            for carried, q in zip(_sets(group), adjusted, strict=True)
        ]
        judged.append(_judge(evidence, limits))
    return judged


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
    return Judged(
        "unstable" if shaky else found, rule, not shaky, whole.readable.low > limits.readable, reads(whole, limits),
        whole,
    )  # fmt: skip


def _evidence(
    subject: Subject, group: GroupMeasure | None, carried: Carried | None, r2: Estimate, margin_control: float, q: float
) -> Evidence:
    images = len(subject.features)
    if group is None or carried is None:
        return Evidence(
            null_dim=subject.space.null_dim, images=images, translator_images=subject.fitted.images,
            effective_images=0.0, r2=r2, readable=_NOTHING, margin=_NOTHING, margin_control=margin_control,
            margin_share=_NOTHING, carried_share=_NOTHING, follow_normalised=_NOTHING, follow_share=_NOTHING,
            follow_q=1.0, probe_principal=_NOTHING, probe_null=_NOTHING, probe_gain=_NOTHING,
        )  # fmt: skip
    return Evidence(
        null_dim=subject.space.null_dim, images=images, translator_images=subject.fitted.images,
        effective_images=group.values.effective_images, r2=r2, readable=group.readable, margin=carried.margin,
        margin_control=margin_control, margin_share=carried.margin_share, carried_share=carried.carried_share,
        follow_normalised=carried.follow_normalised, follow_share=carried.follow_share, follow_q=q,
        probe_principal=group.probe_principal, probe_null=group.probe_null, probe_gain=group.probe_gain,
    )  # fmt: skip


def p_above_zero(e: Estimate) -> float:
    """One-sided p-value against 0, by the normal approximation of the bootstrap interval."""
    error = (e.high - e.low) / (2 * _Z95)
    if not math.isfinite(error) or error <= ROUNDING:
        return 0.0 if e.value > ROUNDING and math.isfinite(e.value) else 1.0
    return 0.5 * math.erfc(e.value / error / math.sqrt(2))


def benjamini_hochberg(p: Array) -> Array:
    """Adjusted p-values (k,) of ``p`` (k,): those at or below q have a false discovery rate of at most q.

    NaN (not tested) counts for nothing and becomes 1. Source: Benjamini, Hochberg (1995).
    """
    adjusted = np.ones(len(p))
    tested = np.flatnonzero(np.isfinite(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    raised = p[order] * len(order) / np.arange(1, len(order) + 1)
    adjusted[order] = np.minimum(np.minimum.accumulate(raised[::-1])[::-1], 1.0)
    return adjusted
