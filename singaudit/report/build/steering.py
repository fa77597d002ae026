"""From steering to its part of the result: pure assembly."""

from __future__ import annotations

from collections.abc import Sequence

from singaudit.geometry.equivalents import STEERED_ANGLE
from singaudit.metrics.steering import Steered, Steering
from singaudit.report.build.scores import maybe, statistic
from singaudit.report.result.steering import SteeringEntry, SteeringPart


def steering_part(found: Steered | None, concepts: Sequence[tuple[str | None, str]]) -> SteeringPart | None:
    """``concepts`` are (group, name) in the order of the texts. None without a null space."""
    if found is None:
        return None
    return SteeringPart(
        angle_deg=STEERED_ANGLE,
        typical_null_norm=found.typical_null_norm,
        other_class=_entry(None, "another class", found.other_class) if found.other_class else None,
        concepts=[_entry(group, name, s) for (group, name), s in zip(concepts, found.texts, strict=False)],
    )


def _entry(group: str | None, name: str, s: Steering) -> SteeringEntry:
    return SteeringEntry(
        name=name,
        group=group,
        reached=statistic(s.reached),
        step_norms=maybe(s.step),
        attribute_score_deg=maybe(s.attribute_score),
        absolute_deg=maybe(s.absolute),
        one_norm_image_score_deg=statistic(s.image_score_one),
        one_norm_attribute_score_deg=statistic(s.attribute_score_one),
    )
