"""Bootstrap intervals of means, differences and ratios over images, in one streamed pass.

Poisson bootstrap: every draw weighs every unit, the images that show one scene, by an independent Poisson(1) count. The
weights of a unit depend on the seed and on its position alone, and all statistics of a draw share them, so that ratios
and differences are resampled jointly and nothing depends on how the images are cut into batches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

BLOCK = 4096
_AT_ONCE = 256
ROUNDING = 1e-9
"""Shares and degrees nearer than this are equal: sums in float64 over any number of images are right to it, and what
lies below differs from one processor's instructions to another's."""
DRAWS = 1000
# A two-sided 95 % interval, and the standard normal quantile of one.
_PERCENTILES = (2.5, 97.5)
_Z = 1.959963984540054


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
    """Accumulates column sums over blocks of images, then answers for any function of the means.

    What is drawn are units: images of one scene get one weight together.
    """

    def __init__(self, seed: int, draws: int = DRAWS) -> None:
        self._seed, self._draws = seed, draws
        self._units = 0
        self._n = 0
        self._sums: Array | None = None
        self._weights: Array = np.zeros(draws)
        self._totals: Array | None = None
        self._means: tuple[Array, Array] | None = None
        self._open: tuple[int, int, Array] | None = None

    def add(self, columns: Array, units: NDArray[np.intp] | None = None) -> None:
        """Add the next images (rows, k). ``units`` (rows,): images of one unit follow each other; None: each its own.

        A unit may go on in the next call. Nothing depends on how the images are cut into calls.
        """
        if not len(columns):
            return
        self._n += len(columns)
        self._means = None
        totals = columns.sum(axis=0)
        self._totals = totals if self._totals is None else self._totals + totals
        if units is None:
            self._take(columns, np.ones(len(columns)))
            return
        starts = np.flatnonzero(np.diff(units, prepend=units[0] - 1))
        sums = columns if len(starts) == len(columns) else np.add.reduceat(columns, starts, axis=0)
        counts = np.diff(np.append(starts, len(columns))).astype(np.float64)
        first, last = int(units[0]), int(units[-1])
        if self._open is not None:
            unit, count, row = self._open
            if unit == first:
                sums = np.concatenate([sums[:1] + row, sums[1:]])
                counts[0] += count
            else:
                self._take(row[None], np.array([float(count)]))
        self._take(sums[:-1], counts[:-1])
        self._open = last, int(counts[-1]), sums[-1]

    def _take(self, sums: Array, counts: Array) -> None:
        """Whole units: their column sums (u, k) and how many images (u,) each has."""
        while len(sums):
            block, start = divmod(self._units, BLOCK)
            fits = min(BLOCK - start, len(sums))
            weights = _weights(self._seed, self._draws, block, start + fits)[start:]
            drawn, weighed = _drawn(weights, sums[:fits], counts[:fits])
            self._sums = drawn if self._sums is None else self._sums + drawn
            self._weights = self._weights + weighed
            self._units += fits
            sums, counts = sums[fits:], counts[fits:]

    def _closed(self) -> None:
        if self._open is not None:
            _, count, row = self._open
            self._open = None
            self._take(row[None], np.array([float(count)]))

    def means(self) -> tuple[Array, Array]:
        """Column means (k,) and their bootstrap draws (draws, k)."""
        self._closed()
        if self._totals is None or self._sums is None:
            raise ValueError("no images were added")
        if self._means is None:
            # A draw that weighs every image 0 can only happen with a handful of images; it says nothing.
            weights = np.where(self._weights > 0, self._weights, np.nan)
            self._means = self._totals / self._n, self._sums / weights[:, None]
        return self._means

    def estimate(self, statistic: Callable[[Array], Array]) -> Estimate:
        """Value and interval of ``statistic``, a function of column means (..., k) -> (...)."""
        return self.estimates(lambda m: statistic(m)[..., None], np.array([self._n]))[0]

    def estimates(self, statistic: Callable[[Array], Array], n: NDArray[np.intp]) -> list[Estimate]:
        """Values and intervals of several statistics at once, a function of column means (..., k) -> (..., g).

        ``n`` (g,) is how many images each rests on.
        """
        return estimates_of(statistic, *self.means(), n)

    def mean(self, column: int) -> Estimate:
        """Estimate of one column's mean."""
        return self.estimate(lambda m: m[..., column])

    def columns(self, of: Sequence[int]) -> list[Estimate]:
        """Estimates of the means of several columns."""
        return self.estimates(lambda m: m[..., list(of)], np.full(len(of), self._n))

    def ratio(self, over: int, under: int) -> Estimate:
        """Estimate of one column's mean over another's."""
        return self.estimate(lambda m: m[..., over] / m[..., under])


def estimates_of(statistic: Callable[[Array], Array], mean: Array, draws: Array, n: NDArray[np.intp]) -> list[Estimate]:
    """Values and intervals of several statistics, a function of column means (..., k) -> (..., g), from those of the
    images as they are (k,) and of every draw (draws, k). ``n`` (g,) is how many images each rests on.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        values, drawn = statistic(mean), statistic(draws)
    low, high = _interval(drawn)
    # The interval of a ratio may miss its own value when few images were drawn; it never should.
    with np.errstate(invalid="ignore"):
        low, high = np.minimum(low, values), np.maximum(high, values)
    return [Estimate(float(v), float(a), float(b), int(k)) for v, a, b, k in zip(values, low, high, n, strict=True)]


def _drawn(weights: NDArray[np.float32], sums: Array, counts: Array) -> tuple[Array, Array]:
    """Of units with ``sums`` (u, k) of ``counts`` (u,) images: weighted sums (draws, k), images weighed (draws,)."""
    # Draws in float32, each column in units of its largest: their ends are right to six digits, which is far more than
    # 1000 draws say. What is reported as the value is summed in float64.
    scale = np.maximum(np.abs(sums).max(axis=0), np.finfo(np.float64).tiny)
    return weights.T @ (sums / scale).astype(np.float32) * scale, weights.T.astype(np.float64) @ counts


def _weights(seed: int, draws: int, block: int, rows: int) -> NDArray[np.float32]:
    """(rows, draws) Poisson(1) counts, the same for every statistic of a block; callers must not write to it.

    One row per unit, so that a unit's weights do not depend on how many follow it.
    """
    return _counts(seed, draws, block).of(rows)


@lru_cache(maxsize=2)
def _counts(seed: int, draws: int, block: int) -> _Counts:
    return _Counts(seed, draws, block)


class _Counts:
    """The counts of a block's units, drawn as far as somebody asked and no row twice. Safe in several threads."""

    def __init__(self, seed: int, draws: int, block: int) -> None:
        self._generator = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, block]))
        self._rows, self._drawn, self._lock = np.empty((BLOCK, draws), np.float32), 0, Lock()

    def of(self, rows: int) -> NDArray[np.float32]:
        """Of the first ``rows`` units."""
        with self._lock:
            while self._drawn < rows:  # whole numbers take twice the memory of what they become
                some = self._rows[self._drawn : min(self._drawn + _AT_ONCE, rows)]
                some[:] = self._generator.poisson(1.0, some.shape)
                self._drawn += len(some)
        return self._rows[:rows]


def _interval(drawn: Array) -> tuple[Array, Array]:
    """Percentiles (g,) of draws (draws, g), those left out that are no number; NaN where none is left."""
    rows = np.ascontiguousarray(drawn.T)
    ends = np.full((2, len(rows)), np.nan)
    finite = np.isfinite(rows)
    whole = finite.all(axis=1)
    ends[:, whole] = percentiles(rows[whole])
    for g in np.flatnonzero(~whole & finite.any(axis=1)):
        ends[:, g] = percentiles(rows[g, finite[g]][None])[:, 0]
    return ends[0], ends[1]


def percentiles(rows: Array) -> Array:
    """(2, g) linearly interpolated 2.5th and 97.5th percentiles of each row (g, k), right to six digits."""
    last = rows.shape[1] - 1
    # Sorting single precision takes half the time of finding four places in double.
    ordered = np.sort(rows.astype(np.float32), axis=1)
    below, part = np.divmod(np.array(_PERCENTILES) / 100 * last, 1)
    low = ordered[:, below.astype(np.intp)].astype(np.float64)
    high = ordered[:, np.minimum(below.astype(np.intp) + 1, last)].astype(np.float64)
    result: Array = (low + part * (high - low)).T
    return result


def bootstrap(columns: Array, seed: int, draws: int = DRAWS, units: NDArray[np.integer] | None = None) -> Bootstrap:
    """A ``Bootstrap`` of the whole table (n, k); ``units`` (n,), in any order, None: each image its own."""
    result = Bootstrap(seed, draws)
    if units is not None:
        order = np.argsort(units, kind="stable")
        columns, units = columns[order], units[order]
    for start in range(0, len(columns), BLOCK):
        at = slice(start, start + BLOCK)
        result.add(columns[at], None if units is None else units[at].astype(np.intp))
    return result


def mean_estimate(values: Array, seed: int, units: NDArray[np.integer] | None = None) -> Estimate:
    """Mean of (n,) values with its interval; images of one of the ``units`` (n,) are drawn together."""
    return bootstrap(np.asarray(values, dtype=np.float64)[:, None], seed, units=units).mean(0)


def share_estimate(values: Array, units: NDArray[np.integer] | None = None) -> Estimate:
    """Share of (n,) values that are 1, with its Wilson interval: of 300 right out of 300, a bootstrap makes a point.

    ``units`` (n,): the share is over images, its interval that of as many images as there are units, which n counts.
    """
    share, n = float(np.mean(values)), len(values) if units is None else len(np.unique(units))
    return Estimate(share, *wilson(share * n, n), n)


def at_least_wilson(e: Estimate, effective: float, chance: float = 0.0) -> Estimate:
    """A weighted share's estimate, its interval no narrower than Wilson's of ``effective`` equally weighted images.

    Where nearly all images agree a bootstrap hardly varies. ``chance``: the share x was normalised to
    (x - chance) / (1 - chance).
    """
    if not (np.isfinite(e.value) and effective > 0):
        return e
    share = min(max(chance + (1 - chance) * e.value, 0.0), 1.0)
    low, high = ((end - chance) / (1 - chance) for end in wilson(share * effective, effective))
    # Draws are right to six digits: no share is more than all.
    return Estimate(e.value, max(min(e.low, low), -chance / (1 - chance)), min(max(e.high, high), 1.0), e.n)


def narrower_than_an_image(e: Estimate, effective: float) -> bool:
    """Whether a share's interval is narrower than what one of ``effective`` equally weighted images is worth.

    It then says that nearly all images agree, not how sure that is: a bootstrap of images that agree has no width, up
    to rounding, whose sign depends on the processor.
    """
    return bool((e.high - e.low) * effective < 1)


def wilson(successes: float, n: float) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927): (low, high) for ``successes`` of ``n``; (0, 1) of none."""
    if n == 0:
        return 0.0, 1.0
    share, z2 = successes / n, _Z**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * float(np.sqrt(share * (1 - share) / n + z2 / (4 * n * n)))
    # At the ends the formula is exact, its rounding is not; nor is that of a share summed from weights.
    none, all_of_them = share <= ROUNDING, share >= 1 - ROUNDING
    return (0.0 if none else middle - half), (1.0 if all_of_them else middle + half)
