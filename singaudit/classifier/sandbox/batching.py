"""Batches in pieces of the size a session takes, run side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray


def pieces(
    rows: NDArray[Any], size: int | None, least: int = 1, most: int | None = None
) -> Iterator[tuple[NDArray[Any], int]]:
    """(piece, how many of its rows count): of exactly ``size`` rows where given, else of ``least`` to ``most``.

    A piece that is too short is filled up with its last row.
    """
    step = size or most or max(1, len(rows))
    for start in range(0, len(rows), step):
        piece = rows[start : start + step]
        count = len(piece)
        missing = (size or least) - count
        if missing > 0:
            piece = np.concatenate([piece, np.repeat(piece[-1:], missing, axis=0)])
        yield np.ascontiguousarray(piece), count


def mapped(call: Callable[[Any], Any], items: Sequence[Any], workers: int) -> Iterable[Any]:
    """``call`` on every item, in their order, on up to ``workers`` threads."""
    if min(workers, len(items)) < 2:
        return [call(item) for item in items]
    with ThreadPoolExecutor(min(workers, len(items)), thread_name_prefix="classifier") as pool:
        return list(pool.map(call, items))
