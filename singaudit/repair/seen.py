"""The coordinates that hold all of the features that the logits depend on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SeenPart:
    """``coordinates = basis.T @ f`` and ``logits = weight @ coordinates + bias``."""

    basis: Array
    """(m, r), orthonormal columns that span what the head's rows span."""
    weight: Array
    """(c, r)."""
    bias: Array
    """(c,)."""
    lost: float
    """Largest singular value that was left out, as a share of the largest of all."""


def seen_part(weight: Array, bias: Array, rank: int) -> SeenPart:
    """The seen part of a head (c, m), (c,) of rank r; see ``geometry.null_space`` for the rank.

    Columns of the basis are the right singular vectors, the largest singular value first, each with its entry of
    largest magnitude positive, so that the same head gives the same coordinates everywhere. ``rank`` is at least 1.
    """
    _, values, right = np.linalg.svd(np.asarray(weight, np.float64), full_matrices=False)
    basis = right[:rank].T
    signs = np.sign(basis[np.abs(basis).argmax(axis=0), np.arange(rank)])
    basis = np.ascontiguousarray(basis * np.where(signs == 0, 1.0, signs))
    lost = float(values[rank] / values[0]) if rank < len(values) and values[0] > 0 else 0.0
    return SeenPart(basis, weight @ basis, np.asarray(bias, np.float64), lost)
