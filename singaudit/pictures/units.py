"""The units in which pictures are compared: how much each logit, and the null component, vary over the audited
images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singaudit.geometry.null_space import NullSpace

Array = NDArray[np.float64]

_BLOCK = 4096

LOGIT_BOUND = 0.05
"""Largest difference of any logit that counts as the same logits, in standard deviations of that logit."""


@dataclass(frozen=True)
class Units:
    """What one unit of a difference is."""

    spread: Array
    """(c,) standard deviation of each logit over the audited images; 1 for a logit that never changes."""
    typical_null: float
    """Typical null norm: the median of |P_n (f - mean)| over the audited images."""


def units(features: NDArray[np.floating], logits: NDArray[np.floating], space: NullSpace) -> Units:
    """Units of an audit from its ``features`` (n, m) and ``logits`` (n, c), in blocks of rows."""
    spread = np.std(np.asarray(logits, dtype=np.float64), axis=0)
    mean = np.mean(features, axis=0, dtype=np.float64)
    norms = [
        np.linalg.norm(space.null_part(features[start : start + _BLOCK] - mean), axis=1)
        for start in range(0, len(features), _BLOCK)
    ]
    typical = float(np.median(np.concatenate(norms)))
    return Units(np.where(spread > 0, spread, 1.0), typical if typical > 0 else 1.0)
