"""The coordinates of the features that hold all the logits depend on, and what a linear probe still reads of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singaudit.metrics.intervals import Estimate, share_estimate
from singaudit.repair.logistic import Design, fit, scale_of
from singaudit.repair.refit import target_of
from singaudit.repair.split import weights_of

Array = NDArray[np.float64]

_PENALTY = 1e-4
"""Small beside any direction that tells values apart, large enough that the fit ends where values part perfectly."""
_STEPS = 100
"""Of L-BFGS: where values part perfectly the last of them change no answer."""


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


def probe_reading(rows: NDArray[np.floating], values: NDArray[np.intp], folds: Sequence[NDArray[np.intp]]) -> Estimate:
    """Share of images whose value a logistic probe fitted on the other folds names, with its Wilson interval.

    ``rows`` (n, k) and ``values`` (n,) from 0; values count alike in the fit, so that a rare one is read too.
    """
    values = np.unique(values, return_inverse=True)[1]
    count = int(values.max()) + 1
    hits = np.zeros(len(values))
    for held in folds:
        own = np.setdiff1d(np.arange(len(values)), held)
        weights = weights_of(values[own])
        scale = scale_of(rows[own], weights)
        design = Design(
            scale.rows(rows[own]),
            np.zeros((len(own), count)),
            target_of(values[own], count),
            weights,
            np.ones(count, bool),
            "softmax",
        )
        change = scale.change(fit(design, _PENALTY, steps=_STEPS))
        scores = np.asarray(rows[held], np.float64) @ change.weight.T + change.bias
        hits[held] = scores.argmax(axis=1) == values[held]
    return share_estimate(hits)
