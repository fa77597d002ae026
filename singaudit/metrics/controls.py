"""What the scores would be if the null space were any other subspace of its size.

Zero removal moves T f toward or away from every prompt, whatever the null space holds; a score means something
only beside this control.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def random_subspace(dim: int, of: int, generator: np.random.Generator) -> tuple[Array, bool]:
    """A Haar-random subspace of dimension ``dim`` in ``of`` dimensions, by a basis of it or of its complement.

    Returns (basis (of, k), whether the basis spans the complement): the complement of a Haar subspace is one too,
    and the narrower of the two is cheaper to draw and to project through.
    """
    narrow = min(dim, of - dim)
    basis = np.linalg.qr(generator.standard_normal((of, narrow)))[0] if narrow else np.zeros((of, 0))
    return basis, narrow < dim


def matched_moves(vectors: Array, norms: Array, basis: Array, complement: bool) -> Array:
    """The part of each row of ``vectors`` (n, m) inside the subspace, scaled to length ``norms`` (n,)."""
    inside = (vectors @ basis) @ basis.T
    part = vectors - inside if complement else inside
    length = np.sqrt(np.einsum("ij,ij->i", part, part))
    return part * (norms / np.where(length > 0, length, 1.0))[:, None]


@dataclass(frozen=True)
class Against:
    """An observed score against the draws of a control."""

    observed: float
    """On the images the control used."""
    mean: float
    """Of the draws."""
    low: float
    """2.5th percentile of the draws."""
    high: float
    """97.5th percentile of the draws."""
    percentile: float
    """Share of draws below the observed value, 0 to 100; ties count half."""
    effect_size: float | None
    """(observed - mean) / standard deviation of the draws; None when all draws are equal."""


def compare(observed: float, draws: Array) -> Against:
    """Place ``observed`` among ``draws`` (k,)."""
    low, high = np.percentile(draws, (2.5, 97.5))
    spread = float(draws.std(ddof=1)) if len(draws) > 1 else 0.0
    below = float(np.mean(draws < observed) + 0.5 * np.mean(draws == observed))
    mean = float(draws.mean())
    return Against(
        observed, mean, float(low), float(high), 100 * below, (observed - mean) / spread if spread > 0 else None
    )
