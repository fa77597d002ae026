"""What a repair found, as its result states it."""

from __future__ import annotations

from typing import Any

import numpy as np

from singaudit.repair.judge import GroupChange, Judged, Paired
from singaudit.report.build.scores import statistic
from singaudit.report.result.repair import GroupChangePart, PairedPart


def judged_fields(found: Judged) -> dict[str, Any]:
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


def paired_part(found: Paired) -> PairedPart:
    """Shares before and after as the result states them."""
    return PairedPart(before=statistic(found.before), after=statistic(found.after), change=statistic(found.change))


def _change_part(item: GroupChange) -> GroupChangePart:
    return GroupChangePart(
        class_name=item.name, group=item.group, value=item.value, accuracy=paired_part(item.accuracy)
    )
