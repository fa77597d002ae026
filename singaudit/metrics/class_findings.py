"""What may be said about one concept group over the images of one class: the carried share, and fewer words than
about all images, because one class has few.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singaudit.metrics.changes import LEVEL, MIN_HALF, JudgedChanges, Sums, judge_changes, one_hot, quantile
from singaudit.metrics.findings import THRESHOLDS, Finding

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ClassCarried:
    """Per class and group; arrays (c, g)."""

    change: JudgedChanges
    """Of the own value, degrees; negative where its reading vanishes."""
    margin: Array
    """Mean margin(T f) of the own value, degrees."""
    share: Array
    """Carried share: what vanishes over the margin; NaN where there is too little to share out."""
    low: Array
    """Of its interval, by the delta method."""
    high: Array
    """Of its interval."""
    n: NDArray[np.intp]
    """Units."""

    def finding(self, row: int, column: int, whole: Finding) -> Finding:
        """What follows for a class from its numbers and from the finding over all images.

        Null-follow, probes and stability were judged over all images: a class is never claimed to be more than they
        allow.
        """
        change = self.change.change[row, column]
        low, high = self.low[row, column], self.high[row, column]
        if change == "cannot tell" and not np.isfinite(self.change.value[row, column]):
            return "cannot tell"
        if whole in ("redundant", "not detected"):
            return whole if change == "none" else "cannot tell"
        if whole not in ("strong", "partial"):
            return whole
        if change == "lost" and low > THRESHOLDS.partial_share:
            return "strong" if low >= THRESHOLDS.strong_share else "partial"
        return "not detected" if max(abs(low), abs(high)) <= THRESHOLDS.absent_share else "cannot tell"


class ClassSums:
    """Accumulates own-value changes and margins per class and group."""

    def __init__(self, classes: int, groups: int) -> None:
        self._tests = Sums((classes, groups))
        self._moments = np.zeros((5, classes, groups))

    def add(
        self,
        half: NDArray[np.intp],
        place: NDArray[np.intp],
        change: Array,
        control: Array,
        margin: Array,
        mask: NDArray[np.bool_],
        units: NDArray[np.intp],
    ) -> None:
        """Add images: class rows ``place`` (b,), own-value changes, their control and margins (b, g) in degrees.

        ``units`` (b,) are the images' scenes; ``mask`` (b, g) says which images have a judged value of a group at all;
        others count for nothing.
        """
        for h in (0, 1):
            at = half == h
            self._tests.add_by(h, change[at], control[at], place[at], units[at], mask[at])
        member = one_hot(place, self._moments.shape[1])
        for i, values in enumerate((change, margin, change**2, margin**2, change * margin)):
            self._moments[i] += member.T @ np.where(mask, values, 0.0)

    def result(self, negligible: Array) -> ClassCarried:
        """Judge every class and group; ``negligible`` (g,) degrees."""
        count = self._tests.units.sum(axis=0)
        n = np.maximum(count, 1)
        change, margin, cc, mm, cm = self._moments / np.maximum(self._tests.n.sum(axis=0), 1)
        var_c, var_m, cov = cc - change**2, mm - margin**2, cm - change * margin
        # A margin that is not clearly above 0 leaves nothing to share out.
        clear = (count >= 2 * MIN_HALF) & (margin > 3 * np.sqrt(np.maximum(var_m, 0) / n)) & (margin > negligible)
        share = np.where(clear, -change / np.where(clear, margin, 1.0), np.nan)
        spread = np.sqrt(np.maximum(var_c + 2 * share * cov + share**2 * var_m, 0) / n) / np.where(clear, margin, 1.0)
        # As many intervals as classes and groups are read at once: simultaneous over all of them (Bonferroni).
        width = quantile(1 - LEVEL / 2 / max(int(clear.sum()), 1), count - 1) * spread
        return ClassCarried(
            judge_changes([self._tests.tests()], negligible)[0],
            margin,
            share,
            share - width,
            share + width,
            count.astype(np.intp),
        )
