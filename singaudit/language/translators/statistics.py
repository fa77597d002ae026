"""Sufficient statistics of a linear regression, accumulated in float64 over any number of rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_BLOCK_ROWS = 4096
_BLOCK = 64
"""Equations at once, of a positive definite system."""


class Rows(Protocol):
    """A table read a block of rows at a time: an array in memory, on disk, or made on demand."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, width)."""
        ...

    def __getitem__(self, rows: slice, /) -> Any:
        """Some rows as an array."""
        ...


@dataclass(frozen=True)
class Statistics:
    """Sums over pairs (f, z) of features (m,) and embeddings (d,); adding two adds their data."""

    n: int
    """Pairs."""
    f: Array
    """(m,) sum of f."""
    z: Array
    """(d,) sum of z."""
    ff: Array
    """(m, m) sum of f f'."""
    fz: Array
    """(m, d) sum of f z'."""
    zz: float
    """Sum of |z|^2."""

    def __add__(self, other: Statistics) -> Statistics:
        return Statistics(
            self.n + other.n,
            self.f + other.f,
            self.z + other.z,
            self.ff + other.ff,
            self.fz + other.fz,
            self.zz + other.zz,
        )

    def centred_at(self, mean_f: Array, mean_z: Array) -> tuple[Array, Array, float]:
        """Sums of (f - mean_f)(f - mean_f)', (f - mean_f)(z - mean_z)' and |z - mean_z|^2."""
        # One product of two columns and two rows each, instead of three tables of the full size.
        columns = np.stack([self.f, mean_f], axis=1)
        ff = self.ff - columns @ np.stack([mean_f, self.f - self.n * mean_f])
        fz = self.fz - columns @ np.stack([mean_z, self.z - self.n * mean_z])
        zz = self.zz - 2 * float(self.z @ mean_z) + self.n * float(mean_z @ mean_z)
        return ff, fz, zz


def accumulate(features: Rows, embeddings: Rows, groups: NDArray[np.intp], count: int) -> list[Statistics]:
    """Statistics of each group 0 .. count - 1 of rows; ``features`` (n, m) and ``embeddings`` (n, d) may be on disk.

    Rows are read in blocks and converted to float64 there, so memory does not grow with n.
    """
    m, d = features.shape[1], embeddings.shape[1]
    n = np.zeros(count, np.intp)
    f, z, zz = np.zeros((count, m)), np.zeros((count, d)), np.zeros(count)
    ff, fz = np.zeros((count, m, m)), np.zeros((count, m, d))
    for start in range(0, features.shape[0], _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        block_f, block_z = (np.asarray(table[rows], dtype=np.float64) for table in (features, embeddings))
        for group in np.unique(groups[rows]):
            mine = groups[rows] == group
            a, b = (block_f, block_z) if mine.all() else (block_f[mine], block_z[mine])
            n[group] += len(a)
            f[group] += a.sum(axis=0)
            z[group] += b.sum(axis=0)
            ff[group] += a.T @ a
            fz[group] += a.T @ b
            zz[group] += np.einsum("ij,ij->", b, b)
    return [Statistics(int(n[g]), f[g], z[g], ff[g], fz[g], float(zz[g])) for g in range(count)]


def solve_ridge(ff: Array, fy: Array, penalty: float) -> Array:
    """(ff + penalty I)^-1 fy for the centred sums ``ff`` (m, m) and ``fy`` (m, k) of a ridge regression.

    By Cholesky's factor, half the work of an elimination, a block of equations at a time and with the substitution in
    the same run: nearly all of it is products of matrices, and the inverses of the blocks on the diagonal serve both.
    It takes two thirds of the time that numpy's factorisation and the substitution after it take.
    """
    lower: Array = np.array(ff)
    lower[np.diag_indices_from(lower)] += penalty
    found: Array = np.array(fy, dtype=np.float64)
    blocks = [slice(start, min(start + _BLOCK, len(found))) for start in range(0, len(found), _BLOCK)]
    inverses = []
    for block in blocks:
        done = slice(0, block.start)
        lower[block.start :, block] -= lower[block.start :, done] @ lower[block, done].T
        try:
            inverse = np.linalg.inv(np.linalg.cholesky(lower[block, block]))
        except np.linalg.LinAlgError:  # the penalty is below what rounding left of the smallest eigenvalue
            return _eliminated(ff, fy, penalty)
        lower[block.stop :, block] = lower[block.stop :, block] @ inverse.T
        found[block] = inverse @ (found[block] - lower[block, done] @ found[done])
        inverses.append(inverse)
    for block, inverse in zip(reversed(blocks), reversed(inverses), strict=True):
        found[block] = inverse.T @ (found[block] - lower[block.stop :, block].T @ found[block.stop :])
    return found


def _eliminated(ff: Array, fy: Array, penalty: float) -> Array:
    shifted: Array = np.array(ff)
    shifted[np.diag_indices_from(shifted)] += penalty
    return np.asarray(np.linalg.solve(shifted, fy), dtype=np.float64)


def total(parts: Sequence[Statistics]) -> Statistics:
    """The statistics of all parts' data together."""
    result = parts[0]
    for part in parts[1:]:
        result = result + part
    return result
