"""Whether probe and audited images are of one kind: a translator fitted on others says little about these."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from singaudit.metrics.intervals import Estimate

Array = NDArray[np.float64]

APART = 0.8
"""Lower bound of the share of pairs told right from which two sets of images are said to differ in kind; two draws of
one source reach 0.5."""
_SHRINKAGE = 0.1
_Z95 = 1.959963984540054


def told_apart(
    first: NDArray[np.floating], second: NDArray[np.floating], keys: tuple[Sequence[str], Sequence[str]]
) -> Estimate | None:
    """How well embeddings tell two sets of images apart: 0.5 not at all, 1 always.

    ``first`` (n, d) and ``second`` (k, d); ``keys`` (n,) and (k,) are hashes of the images' units, which stay together.
    The share of pairs, one image of each set, that a linear discriminant fitted on the other half of the units puts in
    the right order (area under the ROC curve), with Hanley and McNeil's (1982) interval; n counts units. None with
    fewer than 20 units of either set.
    """
    counts = [len(set(each)) for each in keys]
    if min(counts) < 20:
        return None
    halves = [np.array([int(key[-8:], 16) % 2 for key in each]) for each in keys]
    areas, weights = [], []
    for half in (0, 1):
        train = [x[h != half] for x, h in zip((first, second), halves, strict=True)]
        test = [x[h == half] for x, h in zip((first, second), halves, strict=True)]
        if min(map(len, (*train, *test))) < 2:
            return None
        direction = _discriminant(*train)
        areas.append(_area(*(np.asarray(x, np.float64) @ direction for x in test)))
        weights.append(len(test[0]) * len(test[1]))
    area = float(np.average(areas, weights=weights))
    return _hanley_mcneil(area, *counts)


def _discriminant(first: NDArray[np.floating], second: NDArray[np.floating]) -> Array:
    """(d,) direction from the second set's mean to the first's, in units of the spread within both, shrunk."""
    means = [np.mean(x, axis=0, dtype=np.float64) for x in (first, second)]
    within = sum(np.cov(np.asarray(x, np.float64).T) for x in (first, second)) / 2
    within = np.atleast_2d(within)
    width = len(within)
    within = (1 - _SHRINKAGE) * within + (_SHRINKAGE * np.trace(within) / width + 1e-12) * np.eye(width)
    result: Array = np.linalg.solve(within, means[0] - means[1])
    return result


def _area(first: Array, second: Array) -> float:
    """Share of pairs in which the first is larger, ties by half."""
    ordered = np.sort(second)
    below, up_to = (np.searchsorted(ordered, first, side) for side in ("left", "right"))
    return float((below.sum() + up_to.sum()) / 2 / (len(first) * len(second)))


def _hanley_mcneil(area: float, n: int, k: int) -> Estimate:
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    variance = (area * (1 - area) + (n - 1) * (q1 - area**2) + (k - 1) * (q2 - area**2)) / (n * k)
    width = _Z95 * math.sqrt(max(variance, 0.0))
    return Estimate(area, max(area - width, 0.0), min(area + width, 1.0), n + k)
