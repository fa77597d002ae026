"""Linear probes: which values can be decoded from f, from P_p f and from P_n f."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singaudit.language.translators.statistics import Statistics, solve_ridge, total

Array = NDArray[np.float64]

# Ridge penalty in units of n times the mean feature variance: small beside real directions, large beside rounding.
_PENALTY = 1e-3


@dataclass(frozen=True)
class Probe:
    """Reads values from features: the largest of f @ weight + offset within a group."""

    weight: Array
    """(m, K)."""
    offset: Array
    """(K,); minus infinity for a value that the training images do not show."""

    def __call__(self, rows: Array) -> Array:
        """Scores (n, K) of rows (n, m)."""
        return rows @ self.weight + self.offset


def fit_probes(folds: Sequence[Statistics], project: Callable[[Array], Array] | None) -> list[Probe]:
    """Per fold: a ridge probe fitted on the other folds, blind to how often a value occurs.

    ``folds`` hold statistics of features (m,) against stacked one-hot values (K,). ``project`` maps rows (n, m) to
    their part in a subspace; None takes f whole. The penalty is the same for every part of one feature space, so
    that a part is not helped or hurt by its own scale.

    Least squares on one-hot values would never name a rare one. With coefficients B_v, share pi_v and mean mu_v of a
    value, (f - mu)'B_v / pi_v - (mu_v - mu)'B_v / (2 pi_v) is the linear discriminant whose borders run half way
    between the values' means (Hastie, Tibshirani, Friedman, Elements of Statistical Learning, section 4.3, equal
    priors).
    """
    fitted = []
    for k in range(len(folds)):
        data = total([part for j, part in enumerate(folds) if j != k])
        mean_f, share = data.f / data.n, data.z / data.n
        ff, fy, _ = data.centred_at(mean_f, share)
        penalty = max(_PENALTY * float(np.trace(ff)) / len(ff), np.finfo(np.float64).tiny)
        if project is not None:
            # P is symmetric, so P ff P is two row projections, and P f'y is one of the transposed.
            ff = project(project(ff).T)
            fy = project(fy.T).T
        shown = share > 0
        scale = np.where(shown, share, 1.0)
        weight = solve_ridge(ff, fy, penalty) / scale
        centres = data.fz / (data.n * scale) - mean_f[:, None]
        half = np.einsum("ij,ij->j", centres, weight) / 2
        fitted.append(Probe(weight, np.where(shown, -mean_f @ weight - half, -np.inf)))
    return fitted


def normalised_accuracy(accuracy: Array, chance: float | Array) -> Array:
    """(accuracy - chance) / (1 - chance): 0 at chance, 1 when perfect."""
    result: Array = (accuracy - chance) / (1 - chance)
    return result
