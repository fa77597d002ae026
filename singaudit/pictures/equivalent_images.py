"""Equivalent images: from what the findings name to pictures with the original's logits, checked by a round trip."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from singaudit.pictures.attempts import Attempts
from singaudit.pictures.audited import Audited
from singaudit.pictures.checked import Equivalent, checked
from singaudit.pictures.reach import nearest_admissible, observed_bounds
from singaudit.pictures.targets import Aim, Readings, null_shift, read, starting_images, wished_null, wished_values

if TYPE_CHECKING:
    from singaudit.pictures.features import FeatureCopy

Array = NDArray[np.float64]

STARTS = 3
"""Real images that are tried for one equivalent, one after the other."""
# A wish shorter than this (typical null norms) asks for hardly any move: there is nothing that bounds could forbid.
_LEAST_WISH = 0.3
# Below this share of its way a wish is out of reach, and a picture would only show noise.
_LEAST_REACH = 0.1


def make_equivalents(
    audited: Audited,
    aim: Aim,
    rows: Sequence[int],
    copy: FeatureCopy,
    *,
    count: int | None = None,
    probe_features: NDArray[np.float32] | None = None,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int, float], None] = lambda done, step, worst: None,
) -> list[Equivalent]:
    """Equivalents of the images ``rows`` toward ``aim``, failures among them.

    Images that show a free text already are passed over; of the others the first ``count`` are taken.
    ``probe_features`` widen the observed bounds. ``stop`` ends the optimisation: what is finished is checked and
    returned, the rest is left out. ``progress`` is told (images done, step, worst logit error). Fully determined by its
    inputs: there is no draw.
    """
    readings = read(audited.subject.embeddings, aim)
    values = wished_values(readings, rows)
    kept = np.flatnonzero(values >= 0)[:count]
    if not len(kept):
        return []
    plan = _plan(audited, aim, readings, np.asarray(rows, np.intp)[kept], values[kept], STARTS, probe_features)
    return _made(audited, aim, plan, copy, stop, progress)


def equivalents_of(
    audited: Audited,
    aim: Aim,
    row: int,
    copy: FeatureCopy,
    *,
    count: int,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int, float], None] = lambda done, step, worst: None,
) -> list[Equivalent]:
    """Up to ``count`` equivalents of one image, each from other real images; of a group, its values share them.

    A value that no other image shows, or that bounds forbid, is one failure. Nothing for an image that shows a free
    text already. Otherwise as ``make_equivalents``.
    """
    readings = read(audited.subject.embeddings, aim)
    wished = np.unique(wished_values(readings, [row] * len(aim.values)))
    wished = wished[wished >= 0][:count]
    if not len(wished):
        return []
    tried = STARTS * -(-count // len(wished))
    plan = _plan(audited, aim, readings, np.full(len(wished), row, np.intp), wished, tried)
    return _made(audited, aim, _shared_out(plan, count), copy, stop, progress)


@dataclass(frozen=True)
class _Plan:
    """What is to be attempted; one row per equivalent."""

    readings: Readings
    positions: NDArray[np.intp]
    values: NDArray[np.intp]
    null: Array
    reach: Array
    hopeless: NDArray[np.bool_]
    starts: NDArray[np.intp]

    def taken(self, rows: NDArray[np.intp], starts: NDArray[np.intp]) -> _Plan:
        return replace(
            self,
            positions=self.positions[rows],
            values=self.values[rows],
            null=self.null[rows],
            reach=self.reach[rows],
            hopeless=self.hopeless[rows],
            starts=starts,
        )


def _plan(
    audited: Audited,
    aim: Aim,
    readings: Readings,
    positions: NDArray[np.intp],
    values: NDArray[np.intp],
    starts: int,
    probe_features: NDArray[np.float32] | None = None,
) -> _Plan:
    """Targets within the observed bounds, and up to ``starts`` real images to start from for each."""
    subject, space = audited.subject, audited.subject.space
    features = subject.features[positions]
    wish = wished_null(
        subject.features, readings, positions, values, null_shift(subject.features, readings.similarity, space), space
    )
    seen = [subject.features] if probe_features is None else [subject.features, probe_features]
    reached = nearest_admissible(features, wish, observed_bounds(*seen), space)
    wished = np.linalg.norm(wish - space.null_part(features), axis=1) / audited.units.typical_null
    hopeless = (wished >= _LEAST_WISH) & (reached.share < _LEAST_REACH)
    found = starting_images(
        positions, values, readings, subject.features, audited.logits, subject.embeddings, reached.null, aim, space,
        audited.units, starts,
    )  # fmt: skip
    found[hopeless] = -1
    return _Plan(readings, positions, values, reached.null, reached.share, hopeless, found)


def _shared_out(plan: _Plan, count: int) -> _Plan:
    """Every row as several attempts, ``count`` in all, that share its starts; without a start it stays one attempt."""
    share = [len(part) for part in np.array_split(np.arange(count), len(plan.positions))]
    rows: list[int] = []
    starts = []
    for row, (own, some) in enumerate(zip(plan.starts, share, strict=True)):
        for attempt in range(min(some, max(1, int((own >= 0).sum())))):
            # The best start of each attempt is better than any attempt's second.
            chosen = own[attempt::some][:STARTS]
            starts.append(np.append(chosen, [-1] * (STARTS - len(chosen))))
            rows.append(row)
    return plan.taken(np.array(rows, np.intp), np.array(starts, np.intp))


def _made(
    audited: Audited,
    aim: Aim,
    plan: _Plan,
    copy: FeatureCopy,
    stop: Callable[[], bool],
    progress: Callable[[int, int, float], None],
) -> list[Equivalent]:
    attempts = Attempts(audited, copy, plan.positions, plan.null, plan.starts)
    attempts.run(stop, progress)
    return checked(audited, aim, plan.readings, plan.values, plan.reach, plan.hopeless, attempts)
