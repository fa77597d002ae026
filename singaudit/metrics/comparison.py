"""Differences between models' scores: paired over the same images, or from intervals alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singaudit.metrics.changes import LEVEL, benjamini_hochberg, quantile
from singaudit.metrics.intervals import ROUNDING

Array = NDArray[np.float64]

_NORMAL = 1.959963984540054
# Half a 95 % interval in standard errors.


@dataclass(frozen=True)
class Score:
    """One model's score: a mean or a ratio of means over images."""

    value: float
    """Of all its images."""
    low: float
    """Of its 95 % interval."""
    high: float
    """Of its 95 % interval."""
    influence: Array | None
    """(n,) each image's pull on the value, mean 0 over the images; None where only the interval is known."""

    @property
    def error(self) -> float:
        """Standard error that the interval stands for."""
        return (self.high - self.low) / (2 * _NORMAL)


@dataclass(frozen=True)
class Difference:
    """First less second, with a 95 % interval corrected for all differences that were looked at."""

    first: int
    """Position of a model."""
    second: int
    """Position of another."""
    value: float
    """First less second."""
    low: float
    """Of the interval."""
    high: float
    """Of the interval."""
    paired: bool
    """Over the same images one by one; else from the two intervals, as if images were different."""
    exceeds: bool
    """Whether the difference is a discovery at a false discovery rate of 5 %."""


def mean_score(values: Array, interval: tuple[float, float]) -> Score:
    """A mean over images (n,)."""
    value = float(values.mean())
    return Score(value, *interval, values - value)


def ratio_score(over: Array, under: Array, interval: tuple[float, float]) -> Score:
    """mean(over) / mean(under) with its influence values (delta method): (over - ratio * under) / mean(under)."""
    ratio = float(over.mean() / under.mean())
    return Score(ratio, *interval, (over - ratio * under) / float(under.mean()))


def differences(scores: Sequence[Score | None]) -> list[Difference]:
    """Every pair of models, as one family: Benjamini-Hochberg, and intervals at the level that it leaves.

    Pairs are compared image by image where both influences are known; they must be of the same images in one order.
    """
    from scipy.special import stdtr

    pairs: list[tuple[int, int, float, float, int, bool]] = []
    for i, a in enumerate(scores):
        for j, b in enumerate(scores[i + 1 :], i + 1):
            if a is None or b is None:
                continue
            paired = a.influence is not None and b.influence is not None
            if paired:
                pull = np.asarray(a.influence) - np.asarray(b.influence)
                n = len(pull)
                error = float(pull.std(ddof=1)) / np.sqrt(n) if n > 1 else np.inf
            else:
                n, error = 10**6, float(np.hypot(a.error, b.error))
            pairs.append((i, j, a.value - b.value, float(error), n, paired))
    if not pairs:
        return []
    value, error, df = (np.array([p[k] for p in pairs], np.float64) for k in (2, 3, 4))
    df = np.maximum(df - 1, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(error > ROUNDING, np.abs(value) / error, np.where(np.abs(value) <= ROUNDING, 0.0, np.inf))
    found = benjamini_hochberg(np.asarray(2 * stdtr(df, -t)))
    width = quantile(1 - LEVEL * max(int(found.sum()), 1) / len(pairs) / 2, df) * error
    return [
        Difference(i, j, v, float(v - w), float(v + w), paired, bool(d))
        for (i, j, v, _, _, paired), w, d in zip(pairs, width, found, strict=True)
    ]


def rank_ranges(count: int, found: Sequence[Difference], largest_first: bool) -> list[tuple[int, int]]:
    """Per model (best, worst) rank that the differences leave open, from 1; alone of its kind where both are equal."""
    better, worse = np.zeros(count, int), np.zeros(count, int)
    for d in found:
        if d.exceeds:
            first_is_better = (d.value > 0) == largest_first
            worse[d.second if first_is_better else d.first] += 1
            better[d.first if first_is_better else d.second] += 1
    return [(1 + int(w), count - int(b)) for b, w in zip(better, worse, strict=True)]
