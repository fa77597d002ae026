"""Feature variation that is not exactly null but moves no logit by more than a stated share of its spread."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from singaudit.geometry.threads import threads_for

Array = NDArray[np.float64]

NEAR_NULL_FRACTION = 0.01
"""Along a near-null direction every logit moves by less than this share of its spread."""


def near_null_dim(weight: Array, covariance: Array | None, fraction: float) -> tuple[int, float]:
    """Dimensions of whitened feature variation along which every logit moves by less than ``fraction``.

    With C the feature covariance (m, m) and D the diagonal of the logits' standard deviations, a unit step along
    a right singular vector of ``D^-1 W C^(1/2)`` moves the vector of standardised logits by its singular value,
    hence every single logit by no more. Returns (dimension, share of the features' whitened dimensions); the
    exact null space is included. ``covariance`` None: features vary alike in every direction.
    """
    with threads_for(weight.shape[1]):
        return _near_null_dim(weight, covariance, fraction)


def _near_null_dim(weight: Array, covariance: Array | None, fraction: float) -> tuple[int, float]:
    c, m = weight.shape
    if covariance is None:
        support, gram = m, _gram(weight)
    elif c > m:
        values, vectors = np.linalg.eigh(covariance)
        keep = values > _rounding(values)
        support, gram = int(np.count_nonzero(keep)), _gram(weight @ (vectors[:, keep] * np.sqrt(values[keep])))
    else:  # W C W' is the smaller Gram matrix already, and no vectors of C are wanted
        values = np.linalg.eigvalsh(covariance)
        support = int(np.count_nonzero(values > _rounding(values)))
        gram = weight @ covariance @ weight.T
        varies = np.diag(gram) > _rounding(values) * np.sum(weight**2, axis=1)
        spread = np.sqrt(np.diag(gram)[varies])
        gram = gram[np.ix_(varies, varies)] / np.outer(spread, spread)
    if support == 0:
        return 0, 0.0
    # From eigenvalues, several times as fast as singular values. Squaring costs nothing here: of rows of length 1 they
    # are exact to about n c eps, far below the square of any fraction worth asking about.
    seen = int(np.count_nonzero(np.linalg.eigvalsh(gram) >= fraction**2)) if gram.size else 0
    return support - seen, (support - seen) / support


def _rounding(values: NDArray[np.floating]) -> float:
    """The variance at or below which a covariance with the rising eigenvalues ``values`` (m,) holds rounding alone."""
    return float(max(values[-1], 0.0) * len(values) * np.finfo(np.float64).eps)


def _gram(moved: Array) -> Array:
    """The smaller Gram matrix of ``moved`` with rows scaled to length 1; rows of zeros are left out."""
    spread = np.sqrt(np.sum(moved**2, axis=1))
    moved = moved[spread > 0] / spread[spread > 0, None]
    return moved @ moved.T if len(moved) <= moved.shape[1] else moved.T @ moved
