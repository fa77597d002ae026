"""Each image's nearest others in several spaces at once: exact in blocks, or hashed where there are too many.

Hashed, each image is compared with some thousand others, however many there are: first with those that lie by the same
few of many images taken at random, in random directions of each space; then with the neighbours of its neighbours, of
whom most are its own (Dong, Moses, Li 2011), in those directions and, where anything is near, in the spaces themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Rows = NDArray[np.int32]
Progress = Callable[[int, int], None]
Side = tuple[Array, Array]
"""Rows (n, d) and their squared lengths (n,)."""
Which = slice | NDArray[np.integer]

_MINE, _OTHERS = 512, 8192
# Rows compared at once, 16 MiB of distances: what a processor keeps near. Fewer of mine, and all others are read from
# memory again for each few of them; more at once, and every pass over the distances is.
_DIRECTIONS, _CELL, _PROBED, _BUCKET = 128, 500, 4, 4096
# Random directions; images to each one taken at random, of which every image lies by so many; most compared at once.
_FIRST, _TOGETHER, _WIDE, _CANDIDATES, _EACH, _SURE = 64, 256, 64, 16_384, 512, 1 << 20
# Neighbours kept of the first look; images whose neighbours' neighbours are looked at together, that many of each and
# no more altogether, nor for each of few images, the frequent ones first; an image's own nearest always.
_MARGIN = 1.3
# By how much random directions may lengthen a distance, in more than four standard deviations.
_SAMPLE, _TRUE = 512, 10


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
        result: Array = self._rows[some].astype(np.float32, copy=False) - self._mean
        result /= self._scale
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
    spaces: Sequence[Space], k: int, within: float, progress: Progress = lambda done, total: None
) -> tuple[Array, Rows, float]:
    """As ``nearest``, looking at some thousand others of each row alone, and the recall of it.

    128 random directions of each space keep a distance within 6 % of itself (one standard deviation: Johnson and
    Lindenstrauss 1984). In these, rows are compared that lie by the same of n / 500 rows taken at random, each by 4 of
    them; then with their neighbours' neighbours; and rows that have another ``within`` that distance with these once
    more in the spaces themselves: only their distances are exact. Never a copy of all rows, and the time for each row
    hardly grows: by 2 n / 500 times 256 multiplications. Recall is the share of the true nearest within half the
    typical distance, at most 10 of each of 512 rows, that were found; 1 where there are none.
    """
    count, rng = len(spaces[0]), np.random.default_rng(0)
    narrow = [_projected(space, rng) for space in spaces]
    found = np.full((count, k), np.inf, np.float32)
    rows = np.full((count, k), -1, np.int32)
    cells = _cells(narrow, rng)
    done, whole = 0, count * (cells.shape[1] + 2)

    def told(more: int) -> None:
        nonlocal done
        done += more
        progress(done, whole)

    first = slice(min(_FIRST, k))
    for mine in _crowds(narrow, cells, rng):
        there = [_side(space[mine]) for space in narrow]
        for piece in _in_pieces(len(mine), _MINE):
            here = [(space[piece], squares[piece]) for space, squares in there]
            met = _nearest_of(here, there, mine[piece], mine, first.stop)
            _merge(found[:, first], rows[:, first], mine[piece], *met)
        told(len(mine))
    together = _together(cells)
    _among_neighbours(narrow, found, rows, together, told)
    del narrow
    near = found[:, 0] <= _MARGIN * within
    _among_neighbours(spaces, found, rows, [mine[near[mine]] for mine in together], told)
    told(whole - done)
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


def _apart(here: Sequence[Side], there: Sequence[Side]) -> Array:
    """(a, b) squares of the largest distances over spaces."""
    worst: Array | None = None
    for (ours, our_squares), (theirs, their_squares) in zip(here, there, strict=True):
        apart = (-2 * ours) @ theirs.T
        apart += their_squares
        apart += our_squares[:, None]
        worst = apart if worst is None else np.maximum(worst, apart, out=worst)
    if worst is None:
        raise ValueError("expected at least one space")
    return worst


def _nearest_of(here: Sequence[Side], there: Sequence[Side], mine: Which, others: Which, k: int) -> tuple[Array, Rows]:
    """The at most ``k`` nearest of each of ``mine`` among ``others``, itself aside; both in rising order.

    ``here`` and ``there`` are their rows and squares in each space.
    """
    worst = _apart(here, there)
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


def _cells(spaces: Sequence[Array], rng: np.random.Generator) -> Rows:
    """(n, p) which of rows taken at random each row lies by, the nearest first."""
    count = len(spaces[0])
    centres = np.sort(rng.choice(count, max(1, count // _CELL), replace=False))
    there = [_side(space[centres]) for space in spaces]
    probed = min(_PROBED, len(centres))
    found = np.empty((count, probed), np.int32)
    for some in _in_pieces(count, _MINE):
        apart = _apart([_side(space[some]) for space in spaces], there)
        near = np.argpartition(apart, probed - 1, axis=1)[:, :probed]
        order = np.argsort(np.take_along_axis(apart, near, axis=1), axis=1, kind="stable")
        found[some] = np.take_along_axis(near, order, axis=1)
    return found


def _crowds(spaces: Sequence[Array], cells: Rows, rng: np.random.Generator) -> Iterator[NDArray[np.intp]]:
    """Rows, in rising order, that lie by the same one; those of more than a bucket are parted."""
    order = np.argsort(cells, axis=None, kind="stable")
    of = cells.ravel()[order]
    for mine in np.split(order // cells.shape[1], np.flatnonzero(np.diff(of)) + 1):
        yield from _parted(spaces, mine, rng)


def _parted(spaces: Sequence[Array], mine: NDArray[np.intp], rng: np.random.Generator) -> list[NDArray[np.intp]]:
    """The rows in buckets, halved by the median of one random direction after another."""
    if len(mine) <= _BUCKET:
        return [mine]
    along = sum(space[mine] @ rng.standard_normal(space.shape[1], np.float32) for space in spaces)
    order = np.argpartition(along, len(mine) // 2)
    halves = np.sort(order[: len(mine) // 2]), np.sort(order[len(mine) // 2 :])
    return [part for half in halves for part in _parted(spaces, mine[half], rng)]


def _together(cells: Rows) -> list[NDArray[np.intp]]:
    """All rows, those together that lie by the same ones, in rising order."""
    order = np.lexsort(cells.T[::-1])
    starts = np.flatnonzero(np.diff(cells[order, 0])) + 1
    return [np.sort(whole[piece]) for whole in np.split(order, starts) for piece in _in_pieces(len(whole), _TOGETHER)]


def _among_neighbours(
    spaces: Sequence[Space] | Sequence[Array],
    found: Array,
    rows: Rows,
    together: Sequence[NDArray[np.intp]],
    told: Callable[[int], None],
) -> None:
    """Put the nearest among neighbours and their neighbours in the place of what was found of the rows ``together``."""
    count, k = rows.shape
    for mine in together:
        if not len(mine):
            continue
        own = np.unique(_known(rows[mine, :_WIDE]))
        met, times = np.unique(np.append(_known(rows[mine]), _known(rows[own, :_WIDE])), return_counts=True)
        times += _SURE * np.isin(met, own)
        at_most = min(_CANDIDATES, _EACH * len(mine))
        others = np.sort(met[np.argsort(-times, kind="stable")[:at_most]])
        if len(others) <= k:  # images that know each other alone: any others, so that there are as many as asked for
            others = np.unique(np.concatenate([others, np.linspace(0, count - 1, 2 * k + 2).astype(np.int32)]))
        here, parts = [_side(space[mine]) for space in spaces], []
        for piece in _in_pieces(len(others), _OTHERS):
            there = [_side(space[others[piece]]) for space in spaces]
            parts.append(_nearest_of(here, there, mine, others[piece], k))
        found[mine], rows[mine] = _best_of(parts, k)
        told(len(mine))


def _known(rows: Rows) -> Rows:
    """(r,) those of (n, k) that were found."""
    return rows[rows >= 0]


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
