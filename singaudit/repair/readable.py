"""What a linear probe still reads of a group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from singaudit.metrics.intervals import Estimate, share_estimate
from singaudit.repair.logistic import Design, fit, scale_of
from singaudit.repair.refit import target_of
from singaudit.repair.split import weights_of

_PENALTY = 1e-4
"""Small beside any direction that tells values apart, large enough that the fit ends where values part perfectly."""
_STEPS = 100
"""Of L-BFGS: where values part perfectly the last of them change no answer."""


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
