"""What a score means: its place among the draws of a control.

Zero removal moves T f toward or away from every prompt, whatever the null space holds; a score means something
only beside controls.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singaudit.metrics.intervals import Estimate, percentiles, wilson

Array = NDArray[np.float64]

_RESAMPLES = 500
_MANY = 64
"""Columns of a random basis from which on they are hardly ever nearly dependent."""
# Relative rounding of a score that was computed in float32.
_ROUNDING = 1e-6


def random_numbers(dim: int, of: int, generator: np.random.Generator) -> NDArray[np.float32]:
    """(of, k) normal numbers whose columns span a Haar-random subspace of dimension ``dim``, or its complement.

    The complement of a Haar subspace is one too, and the narrower of the two is cheaper to draw and to project through.
    """
    return generator.standard_normal((of, min(dim, of - dim)), dtype=np.float32)


def spanned(gaussian: NDArray[np.float32]) -> NDArray[np.float32]:
    """An orthonormal basis (of, k) of what the columns of ``random_numbers`` span."""
    narrow = gaussian.shape[1]
    # Q = A R^-1 with R from the Gram matrix, in a fifth of the time of a QR decomposition: at least twice as many rows
    # as columns leave it well conditioned, and so much that single precision does where the columns are many.
    exact: NDArray[np.floating] = gaussian.astype(np.float64 if narrow < _MANY else np.float32)
    lower = np.linalg.cholesky((exact.T @ exact).astype(np.float64))
    return (exact @ _inverse_of(lower).T.astype(exact.dtype)).astype(np.float32)


def _inverse_of(lower: Array) -> Array:
    """Of a lower triangular matrix, by halves: products, where a general inverse eliminates."""
    half = len(lower) // 2
    if len(lower) < _MANY:
        return np.asarray(np.linalg.inv(lower), dtype=np.float64)
    first, last = _inverse_of(lower[:half, :half]), _inverse_of(lower[half:, half:])
    inverse = np.zeros_like(lower)
    inverse[:half, :half], inverse[half:, half:] = first, last
    inverse[half:, :half] = -last @ (lower[half:, :half] @ first)
    return inverse


@dataclass(frozen=True)
class Against:
    """An observed score against the draws of a control."""

    observed: float
    """On the images the control used."""
    mean: float
    """Of the draws."""
    low: float
    """2.5th percentile of the draws."""
    high: float
    """97.5th percentile of the draws."""
    percentile: Estimate
    """Share of draws below the observed value, 0 to 100, ties count half; Wilson interval over the draws."""
    effect_size: Estimate | None
    """(observed - mean) / standard deviation of the draws, bootstrapped over them; None when all are equal."""


def compare(observed: Array, draws: Array, seed: int = 0) -> list[Against]:
    """Place each ``observed`` (k,) among its draws (draws, k)."""
    count = len(draws)
    low, high = np.percentile(draws, (2.5, 97.5), axis=0)
    # Both come from sums in single precision: what differs by less than its rounding is a tie.
    ties = np.abs(draws - observed) <= _ROUNDING * np.abs(observed)
    below = np.sum((draws < observed) & ~ties, axis=0) + 0.5 * np.sum(ties, axis=0)
    mean, spread = draws.mean(axis=0), draws.std(axis=0, ddof=1)
    # One set of resamples for all scores: sums of draws and of their squares give every mean and deviation.
    picks = np.random.default_rng([seed, 3]).multinomial(count, np.full(count, 1 / count), _RESAMPLES)
    centred = draws - mean
    means = picks @ centred / count
    deviations = np.sqrt(np.maximum(picks @ centred**2 / count - means**2, 0) * count / (count - 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        effects, drawn = (observed - mean) / spread, (observed - mean - means) / deviations
    # Draws that are equal but for rounding have no spread to measure by.
    spreads = (
        (spread > _ROUNDING * np.maximum(np.abs(mean), 1e-9)) & np.isfinite(effects) & np.isfinite(drawn).all(axis=0)
    )
    ends = np.zeros((2, len(observed)))
    ends[:, spreads] = percentiles(np.ascontiguousarray(drawn[:, spreads].T))
    return [
        Against(
            float(observed[j]),
            float(mean[j]),
            float(low[j]),
            float(high[j]),
            _percentile(float(below[j]), count),
            _effect(float(effects[j]), ends[:, j], count) if spreads[j] else None,
        )
        for j in range(len(observed))
    ]


def _percentile(below: float, count: int) -> Estimate:
    low, high = wilson(below, count)
    return Estimate(100 * below / count, 100 * low, 100 * high, count)


def _effect(value: float, ends: Array, count: int) -> Estimate:
    return Estimate(value, min(float(ends[0]), value), max(float(ends[1]), value), count)
