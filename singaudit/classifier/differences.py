"""How far apart two computations of the same tensors are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def largest_share(values: Sequence[Array], reference: Sequence[Array]) -> float:
    """The largest difference over all tensors, each as a share of its own range in ``reference``."""
    worst = 0.0
    for ours, stored in zip(values, reference, strict=True):
        theirs = stored.astype(np.float64)
        finite = np.isfinite(theirs)
        if ours.shape != theirs.shape or not np.isfinite(ours[finite]).all():
            return float("inf")
        if not finite.any():
            continue
        spread = float(np.ptp(theirs[finite])) or float(np.abs(theirs[finite]).max()) or 1.0
        worst = max(worst, float(np.abs(ours - theirs)[finite].max()) / spread)
    return worst
