"""Exactness is checked, not assumed: how far equivalent features move the logits in the classifier's own arithmetic.

Source: arXiv 2603.14610, supplement 2 (null perturbations beside random and principal ones of equal norm).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singaudit.classifier.interface import Classifier
from singaudit.geometry.equivalents import remove_null, remove_null_to_mean
from singaudit.geometry.null_space import NullSpace

_MAX_IMAGES = 256


@dataclass(frozen=True)
class LogitChange:
    """Largest change of any logit, in units of that logit's standard deviation over the audited images."""

    removal: float
    """Zero removal of the null component."""
    mean_removal: float
    """Mean removal."""
    random_equal_norm: float
    """A random perturbation as long as the removed component."""
    principal_equal_norm: float
    """A perturbation inside the principal space as long as the removed component."""
    images: int
    """Images it was tried on."""


def check_logits(
    classifier: Classifier,
    space: NullSpace,
    features: NDArray[np.float32],
    logits: NDArray[np.float32],
    seed: int,
) -> LogitChange:
    """Run original and changed features (n, m) through the classifier's own head and compare the logits (n, c)."""
    f = features[:_MAX_IMAGES].astype(np.float64)
    spread = np.std(np.asarray(logits, dtype=np.float64), axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    removed = space.null_part(f)
    length = np.linalg.norm(removed, axis=1, keepdims=True)
    noise = np.random.default_rng([seed, 2]).standard_normal(f.shape)
    principal = space.principal_part(noise)
    reference = classifier.logits_of(f.astype(np.float32)).astype(np.float64)

    def change(other: NDArray[np.float64]) -> float:
        moved = classifier.logits_of(other.astype(np.float32)).astype(np.float64)
        return float(np.max(np.abs(moved - reference) / spread))

    return LogitChange(
        removal=change(remove_null(f, space)),
        mean_removal=change(remove_null_to_mean(f, f.mean(axis=0), space)),
        random_equal_norm=change(f + length * noise / np.linalg.norm(noise, axis=1, keepdims=True)),
        principal_equal_norm=change(f + length * _directions(principal)),
        images=len(f),
    )


def _directions(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: NDArray[np.float64] = rows / np.where(length > 0, length, 1.0)
    return unit
