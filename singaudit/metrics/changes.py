"""Many mean changes at once: picked on one half of the images, confirmed on the other, with corrected intervals.

Picking and confirming control the false discovery rate (Benjamini and Hochberg 1995), the intervals the false coverage
rate over what was confirmed (Benjamini and Yekutieli 2005).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from singaudit.metrics.intervals import ROUNDING

Array = NDArray[np.float64]
Change = Literal["lost", "gained", "none", "cannot tell"]

LEVEL = 0.05
"""Of the false discovery rate of picking and confirming, and of the false coverage rate of the intervals."""
MIN_HALF = 20
"""Units that a concept or class needs in each half."""


@dataclass(frozen=True)
class Changes:
    """Mean changes of many things at once, in two halves of the images; arrays share one shape."""

    mean: Array
    """(2, ...) mean change per half, degrees."""
    variance: Array
    """(2, ...) its sample variance over images."""
    excess: Array
    """(2, ...) mean change less control."""
    excess_variance: Array
    """(2, ...) its sample variance over images."""
    n: Array
    """(2, ...) units: images of one scene say no more than one of them."""


@dataclass(frozen=True)
class JudgedChanges:
    """What was concluded about each of many changes; arrays of one shape."""

    change: NDArray[np.str_]
    """``Change``."""
    value: Array
    """Degrees, from the half that did not pick; NaN where it cannot be told."""
    low: Array
    """Of the corrected interval."""
    high: Array
    """Of the corrected interval."""
    control: Array
    """Mean change with other images' null components."""
    n: NDArray[np.intp]
    """Units in the half that confirms."""


class Sums:
    """Per half: images, units, and sums and squares of the change and of its excess over the control.

    Means are over images. Their errors are those of as many images as there are units, which is right where images of a
    unit change alike, as near-copies do, and too wide where they do not.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.n, self.units = np.zeros((2, *shape)), np.zeros((2, *shape))
        self._sums, self._squares = np.zeros((2, 2, *shape)), np.zeros((2, 2, *shape))

    def add(self, half: int, change: Array, control: Array, mask: NDArray[np.bool_], units: NDArray[np.intp]) -> None:
        """Add images (b, k) of one half where ``mask`` (b, k) says that they count; ``units`` (b,) of each."""
        self.n[half] += mask.sum(axis=0)
        self.units[half] += _any_of_unit(units, mask)[1].sum(axis=0)
        for i, values in enumerate((change, change - control)):
            self._sums[i, half] += np.einsum("ij,ij->j", values, mask)
            self._squares[i, half] += np.einsum("ij,ij,ij->j", values, values, mask)

    def add_by(
        self,
        half: int,
        change: Array,
        control: Array,
        place: NDArray[np.intp],
        units: NDArray[np.intp],
        mask: NDArray[np.bool_] | None = None,
    ) -> None:
        """Add images (b, k) of one half to the rows ``place`` (b,); -1 and ``mask`` (b, k) leave out."""
        rows = self.n.shape[1]
        member = one_hot(place, rows)
        shown = np.ones((len(place), 1), bool) if mask is None else mask
        self.n[half] += member.T @ shown
        # A unit counts once in every row that it has images of.
        of_row, seen = _any_of_unit(units * np.intp(rows + 1) + place + 1, shown)
        self.units[half] += one_hot(of_row % (rows + 1) - 1, rows).T @ seen
        for i, values in enumerate((change, change - control)):
            if mask is not None:
                values = np.where(mask, values, 0.0)
            self._sums[i, half] += member.T @ values
            self._squares[i, half] += member.T @ values**2

    def tests(self) -> Changes:
        """Means and variances."""
        n = np.maximum(self.n, 1)
        mean = self._sums / n
        variance = np.maximum(self._squares - n * mean**2, 0.0) / np.maximum(n - 1, 1)
        return Changes(mean[0], variance[0], mean[1], variance[1], self.units)


def _any_of_unit(key: NDArray[np.intp], mask: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """(u,) distinct keys of images (b,), and (u, k) whether ``mask`` (b, k) holds for any image of each."""
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    if not len(starts):
        return ordered, mask
    return ordered[starts], np.logical_or.reduceat(mask[order], starts, axis=0)


def adjusted_p(p: Array) -> Array:
    """Adjusted p-values of ``p`` (any shape): those at or below q have a false discovery rate of at most q.

    NaN (not tested) counts for nothing and becomes 1. Source: Benjamini and Hochberg 1995; holds under independence and
    positive dependence.
    """
    found = np.ones(p.shape)
    tested = np.isfinite(p)
    values = p[tested]
    falling = np.argsort(-values, kind="stable")
    scaled = values[falling] * (len(values) / np.arange(len(values), 0, -1))
    values[falling] = np.minimum(np.minimum.accumulate(scaled), 1.0)
    found[tested] = values
    return found


def benjamini_hochberg(p: Array, level: float = LEVEL) -> NDArray[np.bool_]:
    """Which of the p-values ``p`` (any shape, NaN where not tested) are discoveries at a false discovery rate."""
    return np.asarray(np.isfinite(p) & (adjusted_p(p) <= level))


def judge_changes(tests: Sequence[Changes], negligible: Array) -> list[JudgedChanges]:
    """All ``tests`` as one family: pick on half 0, confirm on half 1. ``negligible`` (k,) is along their last axis."""
    sizes = [t.n[0].size for t in tests]
    flat = Changes(
        *(
            np.concatenate([getattr(t, name).reshape(2, -1) for t in tests], axis=1)
            for name in ("mean", "variance", "excess", "excess_variance", "n")
        )
    )
    limits = np.concatenate([np.broadcast_to(negligible, t.n[0].shape).ravel() for t in tests])
    enough = (flat.n >= MIN_HALF).all(axis=0)
    p = np.where(enough, _p_values(flat), np.nan)
    picked = benjamini_hochberg(p[0])
    same = np.abs(np.sign([*flat.mean, *flat.excess]).sum(axis=0)) == 4
    confirmed = benjamini_hochberg(np.where(picked & same, p[1], np.nan))
    # The share confirmed of those picked sets how wide intervals must be for their false coverage rate.
    level = LEVEL * max(int(confirmed.sum()), 1) / max(int(picked.sum()), 1)
    width = quantile(1 - level / 2, flat.n[1] - 1) * np.sqrt(flat.variance[1] / np.maximum(flat.n[1], 1))
    value = flat.mean[1]
    low, high = value - width, value + width
    small = (np.abs(low) <= limits) & (np.abs(high) <= limits)
    large = confirmed & (np.abs(value) > limits)
    change = np.select(
        [~enough, large & (value < 0), large & (value > 0), small],
        ["cannot tell", "lost", "gained", "none"],
        "cannot tell",
    )
    numbers = [np.where(enough, a, np.nan) for a in (value, low, high, value - flat.excess[1])]
    found = []
    parts = np.split(np.arange(len(limits)), np.cumsum(sizes)[:-1])
    for part, shape in zip(parts, [t.n[0].shape for t in tests], strict=True):
        mean, bottom, top, control = (a[part].reshape(shape) for a in numbers)
        n = flat.n[1][part].reshape(shape).astype(np.intp)
        found.append(JudgedChanges(change[part].reshape(shape), mean, bottom, top, control, n))
    return found


def _p_values(tests: Changes) -> Array:
    """(2, ...) two-sided p-values: the larger of Student's t-tests of the change and of its excess over the control."""
    from scipy.special import stdtr

    found = []
    for mean, variance in ((tests.mean, tests.variance), (tests.excess, tests.excess_variance)):
        error = np.sqrt(variance / np.maximum(tests.n, 1))
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.where(error > ROUNDING, mean / error, np.where(np.abs(mean) <= ROUNDING, 0.0, np.inf))
        found.append(2 * stdtr(np.maximum(tests.n - 1, 1), -np.abs(t)))
    return np.asarray(np.maximum(*found))


def quantile(p: float, df: Array) -> Array:
    """Student's t quantile at ``p`` for ``df`` degrees of freedom (any shape, at least 1)."""
    from scipy.special import stdtrit

    return np.asarray(stdtrit(np.maximum(df, 1), p))


def one_hot(index: NDArray[np.intp], size: int) -> Array:
    """(b, size); rows of index -1 are 0."""
    found = np.zeros((len(index), size))
    rows = np.flatnonzero(index >= 0)
    found[rows, index[rows]] = 1.0
    return found
