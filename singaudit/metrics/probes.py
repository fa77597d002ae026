"""Linear probes: which values can be decoded from f, from P_p f and from P_n f."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from singaudit.language.statistics import Statistics, total

Array = NDArray[np.float64]

# Ridge penalty in units of n times the mean feature variance: small beside real directions, large beside rounding.
_PENALTY = 1e-3


def fit_probes(
    folds: Sequence[Statistics], project: Callable[[Array], Array] | None
) -> list[tuple[Array, Array, Array]]:
    """Per fold: (weight (m, v), mean f (m,), mean y (v,)) of a ridge probe fitted on the other folds.

    ``folds`` hold statistics of features (m,) against stacked one-hot values (v,). ``project`` maps rows (n, m) to
    their part in a subspace; None takes f whole. The penalty is the same for every part of one feature space, so
    that a part is not helped or hurt by its own scale.
    """
    fitted = []
    for k in range(len(folds)):
        data = total([part for j, part in enumerate(folds) if j != k])
        mean_f, mean_y = data.f / data.n, data.z / data.n
        ff, fy, _ = data.centred_at(mean_f, mean_y)
        penalty = max(_PENALTY * float(np.trace(ff)) / len(ff), np.finfo(np.float64).tiny)
        if project is not None:
            # P is symmetric, so P ff P is two row projections, and P f'y is one of the transposed.
            ff = project(project(ff).T)
            fy = project(fy.T).T
        ff = ff + penalty * np.eye(len(ff))
        weight = np.linalg.solve(ff, fy).astype(np.float64, copy=False)
        fitted.append((weight, mean_f, mean_y))
    return fitted


def normalised_accuracy(accuracy: Array, chance: float) -> Array:
    """(accuracy - chance) / (1 - chance): 0 at chance, 1 when perfect."""
    return (accuracy - chance) / (1 - chance) if chance < 1 else np.zeros_like(accuracy)
