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
    if covariance is None:
        support, moved = weight.shape[1], weight
    else:
        values, vectors = np.linalg.eigh(covariance)
        keep = values > max(float(values[-1]), 0.0) * covariance.shape[0] * np.finfo(np.float64).eps
        support = int(np.count_nonzero(keep))
        moved = weight @ (vectors[:, keep] * np.sqrt(values[keep]))
    if support == 0:
        return 0, 0.0
    spread = np.sqrt(np.sum(moved**2, axis=1))
    moved = moved[spread > 0] / spread[spread > 0, None]
    near = support - _seen(moved, fraction)
    return near, near / support


def _seen(moved: Array, fraction: float) -> int:
    """How many singular values of ``moved``, whose rows have length 1, are at least ``fraction``.

    From the eigenvalues of the smaller Gram matrix, several times as fast as singular values. Squaring costs nothing
    here: eigenvalues are exact to about n c eps for c rows, far below the square of any fraction worth asking about.
    """
    gram = moved @ moved.T if len(moved) <= moved.shape[1] else moved.T @ moved
    return int(np.count_nonzero(np.linalg.eigvalsh(gram) >= fraction**2)) if moved.size else 0
