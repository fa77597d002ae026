"""Each image's nearest others in several spaces at once: exact in blocks, or hashed where there are too many."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Rows = NDArray[np.int32]
Progress = Callable[[int, int], None]
Side = tuple[Array, Array]
"""Rows (n, d) and their squared lengths (n,)."""
Which = slice | NDArray[np.intp]

_MINE, _OTHERS = 512, 8192
# Rows compared at once, 16 MiB of distances: what a processor keeps near. Fewer of mine, and all others are read from
# memory again for each few of them; more at once, and every pass over the distances is.
_TABLES, _BUCKET, _DIRECTIONS, _SAMPLE, _TRUE = 12, 4096, 128, 512, 10


class Space:
    """Rows (n, d) centred, in units of the typical distance between two of them; float32, made of those asked for.

    Typical is sqrt(2) times the median distance from the mean: what two independent rows have, outliers aside.
    ``rows`` may be on disk: nothing of their size is kept.
    """

    def __init__(self, rows: NDArray[np.floating]) -> None:
        self._rows, self._scale = rows, np.float32(1)
        self._mean = np.mean(rows, axis=0, dtype=np.float64).astype(np.float32)
        squares = np.concatenate([_squares(self[some]) for some in _in_pieces(len(rows), _OTHERS)])
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

    Returns distances (n, k), ascending, and rows (n, k). n^2 sum(d) multiplications, a copy of all rows and some 50 MiB
    besides the result.
    """
    count = len(spaces[0])
    whole = [_side(space[:]) for space in spaces]
    found, rows = np.empty((count, k), np.float32), np.empty((count, k), np.int32)
    for mine in _in_pieces(count, _MINE):
        here = [(space[mine], squares[mine]) for space, squares in whole]
        parts = []
        for others in _in_pieces(count, _OTHERS):
            there = [(space[others], squares[others]) for space, squares in whole]
            parts.append(_nearest_of(here, there, mine, others, k))
        found[mine], rows[mine] = _best_of(parts, k)
        progress(mine.stop, count)
    return found, rows


def _in_pieces(count: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


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
            there = [_side(space[mine]) for space in narrow]
            for piece in _in_pieces(len(mine), _MINE):
                here = [(space[piece], squares[piece]) for space, squares in there]
                _merge(found, rows, mine[piece], *_nearest_of(here, there, mine[piece], mine, k))
        progress(table + 1, _TABLES)
    sample = np.sort(rng.choice(count, min(_SAMPLE, count), replace=False))
    return found, rows, _recall(spaces, sample, rows)


def _projected(space: Space, rng: np.random.Generator) -> Array:
    """(n, w) the rows, in random directions where there are more than so many."""
    if space.width <= _DIRECTIONS:
        return space[:]
    onto = rng.standard_normal((space.width, _DIRECTIONS), np.float32) / np.float32(np.sqrt(_DIRECTIONS))
    found = np.empty((len(space), _DIRECTIONS), np.float32)
    for some in _in_pieces(len(space), _OTHERS):
        found[some] = space[some] @ onto
    return found


def _squares(rows: Array) -> NDArray[np.float64]:
    result: NDArray[np.float64] = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
    return result


def _side(rows: Array) -> Side:
    return rows, _squares(rows).astype(np.float32)


def _nearest_of(here: Sequence[Side], there: Sequence[Side], mine: Which, others: Which, k: int) -> tuple[Array, Rows]:
    """The at most ``k`` nearest of each of ``mine`` among ``others``, itself aside; both in rising order.

    ``here`` and ``there`` are their rows and squares in each space.
    """
    worst: Array | None = None
    for (ours, our_squares), (theirs, their_squares) in zip(here, there, strict=True):
        apart = (-2 * ours) @ theirs.T
        apart += their_squares
        apart += our_squares[:, None]
        worst = apart if worst is None else np.maximum(worst, apart, out=worst)
    if worst is None:
        raise ValueError("expected at least one space")
    mine, others = (np.arange(x.start, x.stop) if isinstance(x, slice) else x for x in (mine, others))
    at = np.minimum(np.searchsorted(others, mine), len(others) - 1)
    itself = others[at] == mine
    worst[np.flatnonzero(itself), at[itself]] = np.inf
    near = np.argpartition(worst, min(k, len(others)) - 1, axis=1)[:, :k]
    squared = np.take_along_axis(worst, near, axis=1)
    order = np.argsort(squared, axis=1, kind="stable")
    near, squared = np.take_along_axis(near, order, axis=1), np.take_along_axis(squared, order, axis=1)
    return np.sqrt(np.maximum(squared, 0)), others[near].astype(np.int32)


def _best_of(parts: Sequence[tuple[Array, Rows]], k: int) -> tuple[Array, Rows]:
    """The ``k`` nearest of those that were found among parts of the others."""
    if len(parts) == 1:
        return parts[0]
    apart, rows = (np.concatenate(part, axis=1) for part in zip(*parts, strict=True))
    order = np.argsort(apart, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(apart, order, axis=1), np.take_along_axis(rows, order, axis=1)


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
    here = [_side(space[sample]) for space in spaces]
    parts = []
    for others in _in_pieces(len(rows), _OTHERS):
        there = [_side(space[others]) for space in spaces]
        parts.append(_nearest_of(here, there, sample, others, _TRUE))
    apart, true = _best_of(parts, _TRUE)
    near = apart <= within
    hit = (true[:, :, None] == rows[sample][:, None, :]).any(axis=2)
    return float(hit[near].mean()) if near.any() else 1.0
