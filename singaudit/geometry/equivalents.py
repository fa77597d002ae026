"""Equivalent features: other features with the same logits, by construction.

Source: arXiv 2603.14610, section 3 (zero removal); the others keep features on the data's own distribution.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from singaudit.geometry.null_space import NullSpace

Array = NDArray[np.float64]


def remove_null(features: NDArray[np.floating], space: NullSpace) -> Array:
    """f~ = f - P_n f for rows of ``features`` (n, m): the paper's zero removal. float64."""
    return space.principal_part(features)


def remove_null_to_mean(features: NDArray[np.floating], mean: Array, space: NullSpace) -> Array:
    """f~ = f - P_n (f - mean): the null component becomes the data's average one. float64 (n, m)."""
    f = np.asarray(features, dtype=np.float64)
    return f - space.null_part(f - mean)


def swap_null(features: NDArray[np.floating], donors: NDArray[np.intp], space: NullSpace) -> Array:
    """f~_i = P_p f_i + P_n f_donors[i]: image i with another image's null component. float64 (n, m)."""
    null = space.null_part(features)
    return np.asarray(features, dtype=np.float64) - null + null[donors]
