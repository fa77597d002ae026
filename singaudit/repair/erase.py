"""Erasing a group from features so that no linear probe can tell its values apart: LEACE in closed form.

Source: Belrose et al., "LEACE: Perfect linear concept erasure in closed form" (arXiv 2306.03819), theorem 4.2 with the
additive part of section 4.2. It guards against linear probes, on the distribution it was fitted on; nothing is said of
nonlinear ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_SMALLEST = 1e-12
"""Share of the largest variance below which a direction is rounding of float32 features, not data."""
_RANK = 1e-8
"""Singular values of the whitened cross-covariance are correlations; those below are zero."""


@dataclass(frozen=True)
class Eraser:
    """The map ``f - left @ (right @ (f - mean))``."""

    left: Array
    """(m, q)."""
    right: Array
    """(q, m)."""
    mean: Array
    """(m,)."""

    @property
    def rank(self) -> int:
        """q: dimensions that are taken out, at most the number of values less one."""
        return self.left.shape[1]

    def __call__(self, features: NDArray[np.floating]) -> Array:
        """(n, m) features without what a linear probe reads of the group."""
        wide = np.asarray(features, np.float64)
        return wide - ((wide - self.mean) @ self.right.T) @ self.left.T

    def head(self, weight: Array, bias: Array) -> tuple[Array, Array]:
        """(c, m) and (c,) of the head that gives on features what the old one gives on erased features."""
        inner = weight @ self.left
        return weight - inner @ self.right, bias + inner @ (self.right @ self.mean)


def eraser(features: NDArray[np.floating], values: NDArray[np.intp]) -> Eraser:
    """The least change of features (n, m), in squared length, after which they are uncorrelated with ``values`` (n,).

    Values are from 0 on; images with a negative one (unknown) must be left out before. With fewer images than features
    the covariance has no inverse, and its pseudo-inverse stands in.
    """
    wide = np.asarray(features, np.float64)
    mean = wide.mean(axis=0)
    centred = wide - mean
    hot = np.zeros((len(values), int(values.max()) + 1))
    hot[np.arange(len(values)), values] = 1.0
    variances, axes = np.linalg.eigh(centred.T @ centred / len(wide))
    kept = variances > _SMALLEST * max(float(variances[-1]), np.finfo(np.float64).tiny)
    deviations, axes = np.sqrt(variances[kept]), axes[:, kept]
    across = axes.T @ (centred.T @ (hot - hot.mean(axis=0))) / len(wide) / deviations[:, None]
    spread = hot.std(axis=0)
    across /= np.where(spread > 0, spread, 1.0)
    left, strength, _ = np.linalg.svd(across, full_matrices=False)
    used = left[:, strength > _RANK]
    return Eraser(axes @ (deviations[:, None] * used), (used / deviations[:, None]).T @ axes.T, mean)
