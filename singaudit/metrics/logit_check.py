"""Exactness is checked, not assumed: how far equivalent features move the logits in the classifier's own arithmetic.

Source: arXiv 2603.14610, supplement 2 (null perturbations beside random and principal ones of equal norm).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singaudit.classifier.interface import Classifier
from singaudit.geometry.equivalents import (
    conditional_mean,
    remove_null,
    remove_null_to_mean,
    steer,
    steer_to_angle,
    swap_null,
)
from singaudit.geometry.null_space import NullSpace
from singaudit.metrics.scores import unit

Array = NDArray[np.float64]

_MAX_IMAGES = 256


@dataclass(frozen=True)
class Toward:
    """What to steer toward, and the translator that says where that is."""

    weight: Array
    """(m, d) of T f = f @ weight + intercept."""
    intercept: Array
    """(d,)."""
    texts: Array
    """(n, d): one text embedding per image."""


@dataclass(frozen=True)
class LogitChange:
    """Largest change of any logit, in units of that logit's standard deviation over the audited images."""

    removal: float
    """Zero removal of the null component."""
    mean_removal: float
    """Mean removal."""
    swap: float
    """Another image's null component."""
    conditional_mean: float
    """The null component that the principal one lets expect."""
    steering: float | None
    """A step of one typical null norm toward a text; None without a translator."""
    steering_calibrated: float | None
    """Steps to an image score of 40 degrees; None without a translator or where no image reaches it."""
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
    toward: Toward | None = None,
) -> LogitChange:
    """Run original and changed features (n, m) through the classifier's own head and compare the logits (n, c)."""
    f = features[:_MAX_IMAGES].astype(np.float64)
    spread = np.std(np.asarray(logits, dtype=np.float64), axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    mean = f.mean(axis=0)
    length = np.linalg.norm(space.null_part(f), axis=1, keepdims=True)
    noise = np.random.default_rng([seed, 2]).standard_normal(f.shape)
    reference = classifier.logits_of(f.astype(np.float32)).astype(np.float64)

    def change(other: Array) -> float:
        moved = classifier.logits_of(other.astype(np.float32)).astype(np.float64)
        return float(np.max(np.abs(moved - reference[: len(other)]) / spread))

    step, calibrated = _steered(f, space, typical_null_norm(f, mean, space), toward)
    return LogitChange(
        removal=change(remove_null(f, space)),
        mean_removal=change(remove_null_to_mean(f, mean, space)),
        swap=change(swap_null(f, np.roll(np.arange(len(f)), -1), space)),
        conditional_mean=change(conditional_mean(mean, np.atleast_2d(np.cov(f.T, bias=True)), space)(f)),
        steering=None if step is None else change(step),
        steering_calibrated=None if calibrated is None else change(calibrated),
        random_equal_norm=change(f + length * unit(noise)),
        principal_equal_norm=change(f + length * unit(space.principal_part(noise))),
        images=len(f),
    )


def typical_null_norm(features: Array, mean: Array, space: NullSpace) -> float:
    """Median of |P_n (f - mean)| over rows (n, m): the unit in which moves inside the null space are counted."""
    return float(np.median(np.linalg.norm(space.null_part(features - mean), axis=1)))


def _steered(f: Array, space: NullSpace, typical: float, toward: Toward | None) -> tuple[Array | None, Array | None]:
    if toward is None:
        return None, None
    where = toward.weight, toward.intercept, toward.texts[: len(f)], space
    found = steer_to_angle(f, *where)
    return steer(f, *where, typical), found.features if found.reached.any() else None
