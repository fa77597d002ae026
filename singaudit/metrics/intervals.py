"""Bootstrap intervals of means, differences and ratios over images, in one streamed pass.

Poisson bootstrap: every draw weighs every image by an independent Poisson(1) count. The weights of an image depend
on the seed and on its position alone, and all statistics of a draw share them, so that ratios and differences are
resampled jointly and nothing depends on how the images are cut into batches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

BLOCK = 4096
DRAWS = 1000
# A two-sided 95 % interval.
_PERCENTILES = (2.5, 97.5)


@dataclass(frozen=True)
class Estimate:
    """A statistic over images with its 95 % interval."""

    value: float
    """Of the images as they are."""
    low: float
    """2.5th percentile of the bootstrap draws."""
    high: float
    """97.5th percentile."""
    n: int
    """Images it was computed from."""


class Bootstrap:
    """Accumulates weighted column sums over blocks of images, then answers for any function of the means."""

    def __init__(self, seed: int, draws: int = DRAWS) -> None:
        self._seed, self._draws = seed, draws
        self._blocks = 0
        self._n = 0
        self._sums: Array | None = None
        self._weights: Array = np.zeros(draws)
        self._totals: Array | None = None

    def add(self, columns: Array) -> None:
        """Add the next block of images: (rows, k). Every block but the last must have ``BLOCK`` rows."""
        if self._n % BLOCK:
            raise ValueError(f"only the last block may hold other than {BLOCK} rows")
        generator = np.random.Generator(np.random.Philox(key=self._seed, counter=[0, 0, 0, self._blocks]))
        # One row per image, so that an image's weights do not depend on how many follow it.
        weights = generator.poisson(1.0, (len(columns), self._draws)).astype(np.float64)
        sums, totals = weights.T @ columns, columns.sum(axis=0)
        self._sums = sums if self._sums is None else self._sums + sums
        self._totals = totals if self._totals is None else self._totals + totals
        self._weights = self._weights + weights.sum(axis=0)
        self._n += len(columns)
        self._blocks += 1

    def means(self) -> tuple[Array, Array]:
        """Column means (k,) and their bootstrap draws (draws, k)."""
        if self._totals is None or self._sums is None:
            raise ValueError("no images were added")
        # A draw that weighs every image 0 can only happen with a handful of images; it says nothing.
        weights = np.where(self._weights > 0, self._weights, np.nan)
        return self._totals / self._n, self._sums / weights[:, None]

    def estimate(self, statistic: Callable[[Array], Array]) -> Estimate:
        """Value and interval of ``statistic``, a function of column means (..., k) -> (...)."""
        mean, draws = self.means()
        with np.errstate(divide="ignore", invalid="ignore"):
            value, drawn = float(statistic(mean)), statistic(draws)
        drawn = drawn[np.isfinite(drawn)]
        low, high = np.percentile(drawn, _PERCENTILES) if drawn.size else (np.nan, np.nan)
        # The interval of a ratio may miss its own value when few images were drawn; it never should.
        return Estimate(value, min(float(low), value), max(float(high), value), self._n)

    def mean(self, column: int) -> Estimate:
        """Estimate of one column's mean."""
        return self.estimate(lambda m: m[..., column])

    def ratio(self, over: int, under: int) -> Estimate:
        """Estimate of one column's mean over another's."""
        return self.estimate(lambda m: m[..., over] / m[..., under])


def bootstrap(columns: Array, seed: int) -> Bootstrap:
    """A ``Bootstrap`` of the whole table (n, k)."""
    result = Bootstrap(seed)
    for start in range(0, len(columns), BLOCK):
        result.add(columns[start : start + BLOCK])
    return result


def mean_estimate(values: Array, seed: int) -> Estimate:
    """Mean of (n,) values with its interval."""
    return bootstrap(np.asarray(values, dtype=np.float64)[:, None], seed).mean(0)
