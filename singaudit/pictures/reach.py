"""Reach: how far the null component can go before features leave what the network was ever seen to give.

After ReLU-like activations features are bounded below, so that many features with the same logits belong to no image.
The nearest admissible null component is the projection of a point onto the intersection of an affine subspace (the
same logits) and a box (each feature within its observed bounds): a convex quadratic program, solved for all images at
once by the alternating direction method of multipliers (Boyd et al. 2011, section 5.1) over the two projections.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singaudit.geometry.null_space import NullSpace

Array = NDArray[np.float64]

_ITERATIONS = 2000
_TOLERANCE = 1e-6
# Chosen on a trained head of 1,000 classes, where there is next to no room and the iterations converge slowest: the
# share came within 1e-4 of the exact one (non-negative least squares), and within 0.01 of it with a step of 1.
_STEP = 8.0
_RELAXATION = 1.6
SLACK = 1e-3
"""Features may leave their observed bounds by this share of their range, or of the mean range where that is more:
without it a feature that sits on its bound, as half of all do after a ReLU, would leave the program no interior."""


@dataclass(frozen=True)
class Bounds:
    """What each feature was observed to lie between."""

    low: Array
    """(m,)."""
    high: Array
    """(m,)."""


@dataclass(frozen=True)
class Reached:
    """How near to its target an image's null component can come."""

    null: Array
    """(n, m) nearest admissible null component: the logits are kept exactly, and no feature leaves its bounds."""
    share: Array
    """(n,) which part of the wished move is possible: 1 - |reached - target| / |own - target|, 0 to 1."""
    converged: bool
    """False when the iterations ran out; ``null`` is admissible all the same, only perhaps not the nearest."""


def observed_bounds(*features: NDArray[np.floating]) -> Bounds:
    """Smallest and largest value of each feature over all rows of the arrays (n, m)."""
    low = np.min([np.min(f, axis=0) for f in features], axis=0)
    high = np.max([np.max(f, axis=0) for f in features], axis=0)
    return Bounds(low.astype(np.float64), high.astype(np.float64))


def slack_of(bounds: Bounds) -> Array:
    """(m,) by how much each feature may leave its bounds; more than 0 for a feature that never changed, too."""
    span = bounds.high - bounds.low
    result: Array = SLACK * np.maximum(span, span.mean())
    return result


def room_along(features: NDArray[np.floating], direction: Array, bounds: Bounds) -> Array:
    """(n,) largest t >= 0 for which ``features + t * direction`` (n, m each) stays within the bounds.

    In closed form, the linear program's solution; infinite where a direction is 0, and 0 for features that are outside
    of the bounds already.
    """
    f = np.asarray(features, dtype=np.float64)
    limit = np.where(direction > 0, bounds.high, bounds.low)
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.where(direction == 0, np.inf, (limit - f) / direction)
    result: Array = np.maximum(steps.min(axis=1), 0.0)
    return result


def nearest_admissible(
    features: NDArray[np.floating], target: Array, bounds: Bounds, space: NullSpace, iterations: int = _ITERATIONS
) -> Reached:
    """For each row f of ``features`` (n, m) the null component nearest to ``target`` (n, m) that bounds allow.

    Minimises ``|n - target|`` over null components n with ``low <= P_p f + n <= high``, the bounds widened by
    ``SLACK``. ``features`` must lie within the bounds themselves (they do when the bounds were observed on them), so
    that a solution exists. The last iterate is drawn back toward f until it is admissible to the last digit.
    """
    f = np.asarray(features, dtype=np.float64)
    slack = slack_of(bounds)
    low, high = bounds.low - slack, bounds.high + slack
    own, wish = space.null_part(f), space.null_part(target)
    fixed = f - own
    goal = fixed + wish
    split, dual, point = np.clip(goal, low, high), np.zeros_like(goal), goal
    enough = _TOLERANCE * max(float(np.sqrt(np.mean(np.square(wish - own)))), np.finfo(np.float64).tiny)
    converged = False
    for _ in range(iterations):
        point = fixed + space.null_part((goal + _STEP * (split - dual)) / (1 + _STEP))
        relaxed = _RELAXATION * point + (1 - _RELAXATION) * split
        before, split = split, np.clip(relaxed + dual, low, high)
        dual += relaxed - split
        if max(np.abs(point - split).max(initial=0.0), np.abs(split - before).max(initial=0.0)) <= enough:
            converged = True
            break
    # A convex set that holds both ends holds the way between them: what is left of the way in is dropped.
    back = np.minimum(room_along(f, point - f, Bounds(low, high)), 1.0)[:, None]
    null = own + back * (space.null_part(point) - own)
    wished, left = np.linalg.norm(wish - own, axis=1), np.linalg.norm(wish - null, axis=1)
    share = np.where(wished > 0, 1 - left / np.where(wished > 0, wished, 1.0), 1.0)
    return Reached(null, np.clip(share, 0.0, 1.0), converged)
