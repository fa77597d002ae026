"""Each image's nearest others in several spaces at once: exact in blocks, or hashed where there are too many."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Rows = NDArray[np.int32]
Progress = Callable[[int, int], None]

_BLOCK_BYTES = 16 * 2**20
# What a processor keeps near: passes over a block of that size take a third less time than over a large one.
_TABLES, _BUCKET, _DIRECTIONS, _SAMPLE, _TRUE = 12, 4096, 128, 512, 10
_ROWS = 8192
# Read at once of rows that may be on disk.


class Space:
    """Rows (n, d) centred, in units of the typical distance between two of them; float32, made of those asked for.

    Typical is sqrt(2) times the median distance from the mean: what two independent rows have, outliers aside.
    ``rows`` may be on disk: nothing of their size is kept.
    """

    def __init__(self, rows: NDArray[np.floating]) -> None:
        self._rows, self._scale = rows, np.float32(1)
        self._mean = np.mean(rows, axis=0, dtype=np.float64).astype(np.float32)
        squares = np.concatenate([_squares(self[start : start + _ROWS]) for start in range(0, len(rows), _ROWS)])
        typical = np.sqrt(2 * np.median(squares))
        self._scale = np.float32(typical) if typical > 0 else np.float32(1)
        self.width: int = rows.shape[1]
        """d."""

    def __len__(self) -> int:
        """n."""
        return len(self._rows)

    def __getitem__(self, some: slice | NDArray[np.integer]) -> Array:
        """Some rows."""
        result: Array = (self._rows[some].astype(np.float32) - self._mean) / self._scale
        return result


def distances(spaces: Sequence[Space], first: NDArray[np.integer], second: NDArray[np.integer]) -> Array:
    """(p,) the largest of the distances in all ``spaces`` between rows ``first`` and ``second`` (p,)."""
    found = np.zeros(len(first), np.float32)
    step = 4096
    for start in range(0, len(first), step):
        at = slice(start, start + step)
        for space in spaces:
            apart = np.sqrt(_squares(space[first[at]] - space[second[at]])).astype(np.float32)
            np.maximum(found[at], apart, out=found[at])
    return found


def nearest(spaces: Sequence[Space], k: int, progress: Progress = lambda done, total: None) -> tuple[Array, Rows]:
    """The ``k`` nearest others of every row by the largest distance over ``spaces`` of (n, d) each, exactly.

    Returns distances (n, k), ascending, and rows (n, k). n^2 sum(d) multiplications, a copy of all rows and 16 MiB
    besides the result.
    """
    count = len(spaces[0])
    whole = [space[:] for space in spaces]
    found, rows = np.empty((count, k), np.float32), np.empty((count, k), np.int32)
    step = max(1, _BLOCK_BYTES // (8 * count))
    everyone = np.arange(count)
    for start in range(0, count, step):
        mine = everyone[start : start + step]
        found[mine], rows[mine] = _nearest_of([space[mine] for space in whole], whole, mine, everyone, k)
        progress(int(mine[-1]) + 1, count)
    return found, rows


def nearest_hashed(
    spaces: Sequence[Space], k: int, progress: Progress = lambda done, total: None
) -> tuple[Array, Rows, float]:
    """As ``nearest``, looking only where random projections put rows side by side, and the recall of it.

    Rows are taken in 128 random directions of each space, which keep a distance within 6 % of itself (one standard
    deviation: Johnson and Lindenstrauss 1984); images that lie smoothly do so there too. Each of 12 tables halves them
    by the median of one random direction after another until at most 4,096 are left, all of which are compared: n 4,096
    times 256 multiplications a table, and never a copy of all rows. Recall is the share of the true nearest within half
    the typical distance, at most 10 of each of 512 rows, that were found; 1 where there are none.
    """
    count, rng = len(spaces[0]), np.random.default_rng(0)
    narrow = [_projected(space, rng) for space in spaces]
    found = np.full((count, k), np.inf, np.float32)
    rows = np.full((count, k), -1, np.int32)
    for table in range(_TABLES):
        for mine in _buckets(narrow, rng):
            own = min(k, len(mine) - 1)
            there = [space[mine] for space in narrow]
            apart, others = _nearest_of(there, there, mine, mine, own)
            _merge(found, rows, mine, apart, others)
        progress(table + 1, _TABLES)
    sample = np.sort(rng.choice(count, min(_SAMPLE, count), replace=False))
    return found, rows, _recall(spaces, sample, rows)


def _projected(space: Space, rng: np.random.Generator) -> Array:
    """(n, w) the rows, in random directions where there are more than so many."""
    if space.width <= _DIRECTIONS:
        return space[:]
    onto = rng.standard_normal((space.width, _DIRECTIONS), np.float32) / np.float32(np.sqrt(_DIRECTIONS))
    found = np.empty((len(space), _DIRECTIONS), np.float32)
    for start in range(0, len(space), _ROWS):
        found[start : start + _ROWS] = space[start : start + _ROWS] @ onto
    return found


def _squares(rows: Array) -> NDArray[np.float64]:
    result: NDArray[np.float64] = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
    return result


def _nearest_of(
    here: Sequence[Array], there: Sequence[Array], mine: NDArray[np.integer], others: NDArray[np.integer], k: int
) -> tuple[Array, Rows]:
    """The ``k`` nearest of each of ``mine`` among ``others``, itself aside; ``here`` and ``there`` are their rows."""
    worst: Array | None = None
    for ours, theirs in zip(here, there, strict=True):
        apart = ours @ theirs.T
        apart *= -2
        apart += _squares(theirs).astype(np.float32)
        apart += _squares(ours).astype(np.float32)[:, None]
        worst = apart if worst is None else np.maximum(worst, apart, out=worst)
    if worst is None:
        raise ValueError("expected at least one space")
    # Both are in rising order, so that a search finds where an image meets itself.
    at = np.minimum(np.searchsorted(others, mine), len(others) - 1)
    itself = others[at] == mine
    worst[np.flatnonzero(itself), at[itself]] = np.inf
    near = np.argpartition(worst, k - 1, axis=1)[:, :k]
    squared = np.take_along_axis(worst, near, axis=1)
    order = np.argsort(squared, axis=1, kind="stable")
    near, squared = np.take_along_axis(near, order, axis=1), np.take_along_axis(squared, order, axis=1)
    return np.sqrt(np.maximum(squared, 0)), others[near].astype(np.int32)


def _buckets(spaces: Sequence[Array], rng: np.random.Generator) -> list[NDArray[np.intp]]:
    """All rows, each bucket's in rising order; the n-th halving of whatever bucket is along the n-th direction."""
    count, done = len(spaces[0]), [np.arange(len(spaces[0]))]
    halvings = max(0, int(np.ceil(np.log2(count / _BUCKET))))
    along = sum(space @ rng.standard_normal((space.shape[1], halvings), np.float32) for space in spaces)
    for halving in np.transpose(along):
        halves = []
        for mine in done:
            order = np.argpartition(halving[mine], len(mine) // 2)
            halves += [mine[np.sort(order[: len(mine) // 2])], mine[np.sort(order[len(mine) // 2 :])]]
        done = halves
    return done


def _merge(found: Array, rows: Rows, mine: NDArray[np.intp], apart: Array, others: Rows) -> None:
    """Put what a bucket showed among the nearest of ``mine``, each other row once."""
    k = found.shape[1]
    both = np.concatenate([found[mine], apart], axis=1)
    names = np.concatenate([rows[mine], others], axis=1)
    by_name = np.argsort(names, axis=1, kind="stable")
    same = np.take_along_axis(names, by_name, axis=1)
    again = np.zeros_like(same, bool)
    again[:, 1:] = same[:, 1:] == same[:, :-1]
    values = np.where(again, np.inf, np.take_along_axis(both, by_name, axis=1))
    order = np.argsort(values, axis=1, kind="stable")[:, :k]
    found[mine] = np.take_along_axis(values, order, axis=1)
    rows[mine] = np.where(np.isfinite(found[mine]), np.take_along_axis(same, order, axis=1), -1)


def _recall(spaces: Sequence[Space], sample: NDArray[np.intp], rows: Rows, within: float = 0.5) -> float:
    here = [space[sample] for space in spaces]
    parts = []
    for start in range(0, len(rows), _ROWS):
        others = np.arange(start, min(start + _ROWS, len(rows)))
        there = [space[others] for space in spaces]
        parts.append(_nearest_of(here, there, sample, others, min(_TRUE, len(others))))
    apart, true = (np.concatenate(part, axis=1) for part in zip(*parts, strict=True))
    order = np.argsort(apart, axis=1, kind="stable")[:, :_TRUE]
    apart, true = np.take_along_axis(apart, order, axis=1), np.take_along_axis(true, order, axis=1)
    near = apart <= within
    hit = (true[:, :, None] == rows[sample][:, None, :]).any(axis=2)
    return float(hit[near].mean()) if near.any() else 1.0
