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
_TABLES, _BUCKET, _SAMPLE = 12, 4096, 512


def scaled(rows: NDArray[np.floating]) -> Array:
    """(n, d) centred, in units of the typical distance between two rows; float32.

    Typical is sqrt(2) times the median distance from the mean: what two independent rows have, outliers aside.
    """
    centred = np.asarray(rows, np.float32) - np.mean(rows, axis=0, dtype=np.float64).astype(np.float32)
    typical = float(np.sqrt(2 * np.median(_squares(centred))))
    return centred / np.float32(typical) if typical > 0 else centred


def distances(spaces: Sequence[Array], first: NDArray[np.integer], second: NDArray[np.integer]) -> Array:
    """(p,) the largest of the distances in all ``spaces`` between rows ``first`` and ``second`` (p,)."""
    found = np.zeros(len(first), np.float32)
    step = 4096
    for start in range(0, len(first), step):
        at = slice(start, start + step)
        for space in spaces:
            apart = np.sqrt(_squares(space[first[at]] - space[second[at]])).astype(np.float32)
            np.maximum(found[at], apart, out=found[at])
    return found


def nearest(spaces: Sequence[Array], k: int, progress: Progress = lambda done, total: None) -> tuple[Array, Rows]:
    """The ``k`` nearest others of every row by the largest distance over ``spaces`` of (n, d) each, exactly.

    Returns distances (n, k), ascending, and rows (n, k). n^2 sum(d) multiplications, 16 MiB besides the result.
    """
    count = len(spaces[0])
    found, rows = np.empty((count, k), np.float32), np.empty((count, k), np.int32)
    step = max(1, _BLOCK_BYTES // (8 * count))
    everyone = np.arange(count)
    for start in range(0, count, step):
        mine = everyone[start : start + step]
        found[mine], rows[mine] = _nearest_of(spaces, mine, everyone, k)
        progress(int(mine[-1]) + 1, count)
    return found, rows


def nearest_hashed(
    spaces: Sequence[Array], k: int, progress: Progress = lambda done, total: None
) -> tuple[Array, Rows, float]:
    """As ``nearest``, looking only where random projections put rows side by side, and the recall of it.

    Each of 12 tables halves the rows by the median of one random direction after another until at most 4,096 are
    left, which are searched exactly: n sum(d) 4,096 multiplications a table. Recall is the share of the true nearest
    within half the typical distance, at most 10 of each of 512 rows, that were found; 1 where there are none.
    """
    count, rng = len(spaces[0]), np.random.default_rng(0)
    found = np.full((count, k), np.inf, np.float32)
    rows = np.full((count, k), -1, np.int32)
    for table in range(_TABLES):
        for mine in _buckets(spaces, rng):
            own = min(k, len(mine) - 1)
            apart, others = _nearest_of(spaces, mine, mine, own)
            _merge(found, rows, mine, apart, others)
        progress(table + 1, _TABLES)
    sample = rng.choice(count, min(_SAMPLE, count), replace=False)
    return found, rows, _recall(spaces, sample, rows)


def _squares(rows: Array) -> NDArray[np.float64]:
    result: NDArray[np.float64] = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
    return result


def _nearest_of(
    spaces: Sequence[Array], mine: NDArray[np.integer], others: NDArray[np.integer], k: int
) -> tuple[Array, Rows]:
    """The ``k`` nearest of each of ``mine`` among ``others``, itself aside."""
    whole = len(others) == len(spaces[0])
    worst: Array | None = None
    for space in spaces:
        there = space if whole else space[others]
        here = space[mine]
        apart = here @ there.T
        apart *= -2
        apart += _squares(there).astype(np.float32)
        apart += _squares(here).astype(np.float32)[:, None]
        worst = apart if worst is None else np.maximum(worst, apart, out=worst)
    if worst is None:
        raise ValueError("expected at least one space")
    worst[mine[:, None] == others if not whole else (np.arange(len(mine)), mine)] = np.inf
    near = np.argpartition(worst, k - 1, axis=1)[:, :k]
    squared = np.take_along_axis(worst, near, axis=1)
    order = np.argsort(squared, axis=1, kind="stable")
    near, squared = np.take_along_axis(near, order, axis=1), np.take_along_axis(squared, order, axis=1)
    return np.sqrt(np.maximum(squared, 0)), others[near].astype(np.int32)


def _buckets(spaces: Sequence[Array], rng: np.random.Generator) -> list[NDArray[np.intp]]:
    pending, done = [np.arange(len(spaces[0]))], []
    while pending:
        mine = pending.pop()
        if len(mine) <= _BUCKET:
            done.append(mine)
            continue
        along = sum(space[mine] @ rng.standard_normal(space.shape[1], np.float32) for space in spaces)
        half = len(mine) // 2
        order = np.argpartition(along, half)
        pending += [mine[np.sort(order[:half])], mine[np.sort(order[half:])]]
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


def _recall(spaces: Sequence[Array], sample: NDArray[np.intp], rows: Rows, within: float = 0.5) -> float:
    apart, true = _nearest_of(spaces, sample, np.arange(len(spaces[0])), 10)
    near = apart <= within
    hit = (true[:, :, None] == rows[sample][:, None, :]).any(axis=2)
    return float(hit[near].mean()) if near.any() else 1.0
