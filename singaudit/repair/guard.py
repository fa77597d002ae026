"""Groups that a new head must not take right answers from are weighed up in its fit until they keep them.

Source: Cotter et al., "Training well-generalizing classifiers for fairness metrics and other data-dependent
constraints" (arXiv 1807.00028): the model minimises a loss under weights, the weights answer to how often the model is
wrong on images that it was not fitted on; here those of cross-validation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singaudit.repair.split import FULL_WEIGHT, shares_of

Array = NDArray[np.float64]
Hits = NDArray[np.bool_]

ROUNDS = 12
_IDLE = 4
"""Rounds without a smaller loss after which no more are tried."""
_STEP = 10.0
"""Growth of a group's log-weight for each share of its images that it loses too many."""
_MOST = 0.25
"""Share that counts at most in a step: a group weighs at most some twelve times as much after it."""
_AIM = 0.5
"""Of what may be lost: what a few images of a group say is not exact, and the other half is for that."""


@dataclass(frozen=True)
class Guard:
    """Groups that may lose so much and no more."""

    groups: tuple[NDArray[np.intp], ...]
    """Each (n,): the group of each image, numbered from 0; -1 where it is in none. An image may be in several."""
    allowed: float
    """Share of right answers that each may lose."""


@dataclass(frozen=True)
class Guarded:
    """What cross-validation says of groups, counting alike, and of their weights."""

    factors: Array
    """(n,) by which each image counts more; all 1 where no group lost too much."""
    lost: tuple[float, float]
    """Largest share of right answers that a group loses: with all groups alike, and with these weights."""
    right: tuple[float, float]
    """Share of right answers under the fit's own weights: with all groups alike, and with these weights."""
    raised: int
    """Groups that count more."""


def weigh_up(
    hits_of: Callable[[Array], Hits],
    before: Hits,
    weights: Array,
    guard: Guard,
    scenes: NDArray[np.intp] | None = None,
    advance: Callable[[int], None] = lambda done: None,
) -> Guarded:
    """Weights (n,) under which no group loses more than it may, or as little more as was found in twelve rounds.

    ``hits_of`` maps factors (n,) to right answers (n,), each by a head that was not fitted on that image; ``before``
    are the old head's, ``weights`` (n,) sum to 1. Images of one of ``scenes`` (n,) count once.
    """
    columns = [_Column.of(own, scenes) for own in guard.groups]
    logs = [np.zeros(len(column.counts)) for column in columns]
    best: Guarded | None = None
    least, idle = np.inf, 0
    for done in range(ROUNDS):
        factors = np.exp(
            sum(
                (log[column.own] * column.known for log, column in zip(logs, columns, strict=True)),
                np.zeros(len(before)),
            )
        )
        after = hits_of(factors)
        advance(done + 1)
        losses = [column.lost(before, after) for column in columns]
        worst = max((float(item.max(initial=0.0)) for item in losses), default=0.0)
        right = float(weights @ after)
        if best is None or worst < least:
            first = (worst, right) if best is None else (best.lost[0], best.right[0])
            raised = int(sum(np.count_nonzero(log) for log in logs))
            best = Guarded(factors, (first[0], worst), (first[1], right), raised)
            least, idle = worst, 0
        else:
            idle += 1
        if worst <= guard.allowed * _AIM or idle == _IDLE:
            break
        for log, item in zip(logs, losses, strict=True):
            log += _STEP * np.clip(item - guard.allowed * _AIM, 0.0, _MOST)
    assert best is not None, "there is a first round"
    return best


@dataclass(frozen=True)
class _Column:
    """One way to put images in groups."""

    own: NDArray[np.intp]
    """(n,) the group, 0 where it is in none."""
    known: Array
    """(n,) 1 where an image is in a group."""
    shares: Array
    """(n,) how much each image counts: those of one scene and group one together."""
    counts: Array
    """(k,) of images, those of one scene once."""

    @classmethod
    def of(cls, groups: NDArray[np.intp], scenes: NDArray[np.intp] | None) -> _Column:
        own, known = np.maximum(groups, 0), (groups >= 0).astype(np.float64)
        shares = known * shares_of(groups, scenes)
        return cls(own, known, shares, np.bincount(own, weights=shares).astype(np.float64))

    def lost(self, before: Hits, after: Hits) -> Array:
        """(k,) share of right answers that each group has less; 0 for one of fewer than ten images, which tell none."""
        change = before.astype(np.float64) - after
        lost = np.bincount(self.own, weights=self.shares * change, minlength=len(self.counts))
        found: Array = np.where(self.counts > FULL_WEIGHT - 0.5, lost / np.maximum(self.counts, 1.0), 0.0)
        return found
