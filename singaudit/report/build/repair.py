"""What a repair found, as its result states it."""

from __future__ import annotations

from typing import Any

import numpy as np

from singaudit.repair.guard import Guarded
from singaudit.repair.judge import GroupChange, JudgedHead, Paired
from singaudit.report.build.scores import statistic
from singaudit.report.result.repair import GroupChangePart, GuardPart, PairedPart


def judged_fields(found: JudgedHead) -> dict[str, Any]:
    """What the result of a refit says of the images held out."""
    worst = [None if np.isnan(value) else value for value in found.worst]
    return {
        "accuracy": paired_part(found.accuracy),
        "balanced_accuracy": None if found.balanced is None else paired_part(found.balanced),
        "worst_before": worst[0],
        "worst_after": worst[1],
        "class_changes": [_change_part(item) for item in found.classes],
        "group_changes": [_change_part(item) for item in found.groups],
        "calibration_before": statistic(found.calibration[0]),
        "calibration_after": statistic(found.calibration[1]),
    }


def guard_part(found: Guarded | None, most_lost: float) -> GuardPart | None:
    """What the result says of groups that counted more; ``most_lost`` in points."""
    if found is None:
        return None
    lost_alike, lost = found.lost
    right_alike, right = found.right
    return GuardPart(
        allowed=most_lost / 100, raised=found.raised, lost=lost, lost_alike=lost_alike, right=right,
        right_alike=right_alike,
    )  # fmt: skip


def paired_part(found: Paired) -> PairedPart:
    """Shares before and after as the result states them."""
    return PairedPart(before=statistic(found.before), after=statistic(found.after), change=statistic(found.change))


def _change_part(item: GroupChange) -> GroupChangePart:
    return GroupChangePart(
        class_name=item.name, group=item.group, value=item.value, accuracy=paired_part(item.accuracy)
    )
