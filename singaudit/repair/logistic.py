"""Logistic regression on features, with a ridge penalty toward a head that is there already.

Source: Kirichenko, Izmailov, Wilson, "Last layer re-training is sufficient for robustness to spurious correlations"
(arXiv 2204.02937); the penalty is toward the old head, so that without evidence nothing moves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logsumexp

Array = NDArray[np.float64]
Loss = Literal["softmax", "sigmoid"]


@dataclass(frozen=True)
class Change:
    """What is added to a head: logits become ``W f + b + features @ weight.T + bias``."""

    weight: Array
    """(c, m)."""
    bias: Array
    """(c,)."""


@dataclass(frozen=True)
class Design:
    """Images of one fit: standardised features, the old head's logits, classes and weights."""

    rows: Array
    """(n, k) features with mean 0 and standard deviation 1 under the weights, in at most n dimensions."""
    logits: Array
    """(n, c) of the old head."""
    target: Array
    """(n, c) one-hot; (n, 1) of 0 and 1 for one logit."""
    weights: Array
    """(n,), summing to 1."""
    free: NDArray[np.bool_]
    """(c,): logits whose bias may change."""
    loss: Loss


def losses(logits: Array, target: Array, loss: Loss) -> Array:
    """(n,) the cross-entropy of each image; with ``sigmoid`` summed over the logits."""
    if loss == "softmax":
        result: Array = logsumexp(logits, axis=1) - (logits * target).sum(axis=1)
        return result
    each: Array = np.logaddexp(0.0, logits) - target * logits
    summed: Array = each.sum(axis=1)
    return summed


def fit(design: Design, penalty: float, start: Array | None = None, steps: int = 300) -> Array:
    """(c, k + 1): the change of the head in the design's coordinates, its last column the bias.

    Minimises the weighted mean cross-entropy plus ``penalty / 2`` times the squared change (L-BFGS, float64). The
    objective is strictly convex: where it starts decides nothing beyond the tolerance of about 1e-5 it stops at.
    """
    c, k = design.logits.shape[1], design.rows.shape[1]
    rows, weights = design.rows, design.weights[:, None]

    def objective(flat: Array) -> tuple[float, Array]:
        change = flat.reshape(c, k + 1)
        logits = design.logits + rows @ change[:, :k].T + change[:, k]
        if design.loss == "softmax":
            # One exponential a step: logsumexp and the probabilities share it.
            logits -= logits.max(axis=1, keepdims=True)
            named = np.einsum("nc,nc->n", logits, design.target)
            powers = np.exp(logits)
            total = powers.sum(axis=1, keepdims=True)
            value = float(design.weights @ (np.log(total[:, 0]) - named))
            slope = weights * (powers / total - design.target)
        else:
            value = float((weights[:, 0] * losses(logits, design.target, "sigmoid")).sum())
            slope = weights * (expit(logits) - design.target)
        gradient = penalty * change
        gradient[:, :k] += slope.T @ rows
        gradient[:, k] += slope.sum(axis=0)
        gradient[~design.free, k] = 0.0
        return value + penalty / 2 * float((change**2).sum()), gradient.ravel()

    first = np.zeros(c * (k + 1)) if start is None else start.ravel()
    found = minimize(
        objective,
        first,
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": steps, "maxfun": 2 * steps, "ftol": 1e-10, "gtol": 1e-7, "maxcor": 20},
    )
    result: Array = found.x.reshape(c, k + 1)
    return result


@dataclass(frozen=True)
class Scale:
    """How features become the rows of a design: (features - mean) / deviation, then onto fewer axes."""

    mean: Array
    """(m,)."""
    deviation: Array
    """(m,); 1 where a feature does not vary."""
    axes: Array | None
    """(m, k) orthonormal where there are fewer images than features, else None."""

    def rows(self, features: NDArray[np.floating]) -> Array:
        """(n, k) of features (n, m)."""
        standard = (np.asarray(features, np.float64) - self.mean) / self.deviation
        return standard if self.axes is None else standard @ self.axes

    def change(self, fitted: Array) -> Change:
        """The change of the head for features as they are, from one in the design's coordinates (c, k + 1)."""
        inner = fitted[:, :-1] if self.axes is None else fitted[:, :-1] @ self.axes.T
        weight = inner / self.deviation
        return Change(weight, fitted[:, -1] - weight @ self.mean)


def scale_of(features: NDArray[np.floating], weights: Array, fixed_bias: bool = False) -> Scale:
    """The scale of a fit on features (n, m) with weights (n,).

    A ridge solution lies in the span of the images' features: with fewer images than features it is looked for there.
    ``fixed_bias``: features are not centred, because nothing could make up for it.
    """
    wide = np.asarray(features, np.float64)
    mean = weights @ wide
    deviation = np.sqrt(np.maximum(weights @ (wide - mean) ** 2, 0.0))
    floor = 1e-6 * float(deviation.max(initial=0.0))
    deviation = np.where(deviation > floor, deviation, 1.0)
    mean = np.zeros_like(mean) if fixed_bias else mean
    axes = None
    if len(wide) < wide.shape[1]:
        axes = np.linalg.svd((wide - mean) / deviation, full_matrices=False)[2].T
    return Scale(mean, deviation, axes)
