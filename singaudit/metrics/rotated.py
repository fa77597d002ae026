"""Features in coordinates whose first are the principal space's and whose last the null space's: parts are slices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from singaudit.geometry.null_space import NullSpace
from singaudit.metrics.intervals import BLOCK

Array = NDArray[np.float64]


def rotation(space: NullSpace) -> tuple[Array, int]:
    """((m, m) orthonormal columns, the principal space's first, and how many these are)."""
    m, rank = space.feature_dim, space.rank
    if space.basis.shape[1] == 0:
        return np.eye(m), rank
    whole = np.linalg.qr(space.basis, mode="complete")[0]
    if space.basis_is_null:
        whole = np.concatenate([whole[:, space.null_dim :], whole[:, : space.null_dim]], axis=1)
    return whole, rank


@dataclass(frozen=True)
class Part:
    """The coordinates (n, p) of all images in one part: ``table`` itself, or ``table`` (n, m) by ``axes`` (m, p).

    What is linear in a part is made of rows of the table: by way of the axes that costs less where images are many.
    """

    table: NDArray[np.floating]
    axes: Array | None

    def rows(self, wanted: NDArray[np.intp]) -> Array:
        """Rows of the table in float64."""
        return np.asarray(self.table[wanted], np.float64)

    def onto(self, weight: Array) -> Array:
        """What rows of the table times it are the coordinates times ``weight`` (p, k)."""
        return weight if self.axes is None else self.axes @ weight

    def pulled(self, moved: Array) -> Array:
        """(p, k) of the coordinates what ``moved`` is of the table: sums of rows times weights of theirs (n, k)."""
        return moved if self.axes is None else self.axes.T @ moved


class Rotated:
    """Features in the rotation's coordinates: kept where they are few, else made a block of rows at a time."""

    def __init__(self, features: NDArray[np.floating], space: NullSpace) -> None:
        self.features, (self.basis, self.rank) = features, rotation(space)
        self.count, self.width = features.shape

    @cached_property
    def _kept(self) -> Array | None:
        return self.features.astype(np.float64) @ self.basis if self.count <= BLOCK else None

    def parts(self) -> list[slice]:
        """Coordinates of f, of P_p f and of P_n f."""
        return [slice(0, self.width), slice(0, self.rank), slice(self.rank, self.width)]

    def part(self, part: slice) -> Part:
        """One of them, of all images."""
        if self._kept is not None:
            return Part(self._kept[:, part], None)
        return Part(self.features, self.basis[:, part])

    def rows(self, wanted: NDArray[np.intp]) -> Iterator[tuple[NDArray[np.intp], Array]]:
        """(positions, rows) of the images ``wanted``, at most ``BLOCK`` at a time."""
        for some in in_blocks(wanted):
            yield some, self._kept[some] if self._kept is not None else self.features[some].astype(float) @ self.basis


def in_blocks(rows: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    """``rows``, ``BLOCK`` of them at a time."""
    return (rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK))
