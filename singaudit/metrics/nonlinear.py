"""Probes that find what no linear probe can: values that differ in how features spread, not in where they lie.

An exclusive or of two directions, a radius, a sign lost: the values' means agree and their second moments do not. So
the quadratic probe compares second moments: of whitened features w, each value's mean of w w' less that of all values,
of which the leading eigenvectors and the trace are kept (the rest is noise). A row goes to the value whose difference
its own w w' is most like; under Gaussian noise this is the linear discriminant of the products of coordinates.

What is not found means nothing where nothing could have been found: so a linear and an exclusive-or code of known
strength are planted in the null part of the same images, and must be found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singaudit.language.translators.fit import FOLDS
from singaudit.metrics.intervals import wilson
from singaudit.metrics.rotated import Rotated
from singaudit.metrics.values import Layout

Array = NDArray[np.float64]

WIDTH = 64
"""Leading principal components of a part that second moments are compared in."""
LEADING = 4
"""Eigenvectors kept of each value's difference."""
MAX_ROWS = 8192
"""Images looked at, the first in hash order: more would not change what is found."""
LINEAR_STRENGTH, NONLINEAR_STRENGTH = 1.0, 2.0
"""Of planted codes: half the distance of two values along a random direction, in its standard deviations."""
_SHRINK = 0.1
# Of the whitened variance, in mean variances: directions that hardly vary are not blown up.
_DISTINCT = 1e-6
# Of the largest eigenvalue: below it rounding would turn the vectors that follow from the rows' products.


@dataclass(frozen=True)
class Planted:
    """Whether codes that were planted in the null part of these images are found."""

    linear: float
    """Lower bound of the linear probe's normalised accuracy for two values 2 standard deviations apart."""
    nonlinear: float
    """The same of the quadratic probe for an exclusive or of two directions, each 4 standard deviations apart."""


def quadratic_hits(
    rotated: Rotated, layout: Layout, groups: NDArray[np.intp], fold: NDArray[np.intp], rows: NDArray[np.intp]
) -> NDArray[np.float32]:
    """(3, n, G): 1 where the quadratic probe of f, of P_p f, of P_n f is right where it was not fitted.

    For the ``groups`` and the images ``rows`` alone; elsewhere 0.
    """
    hits = np.zeros((3, *layout.own.shape), np.float32)
    if not len(groups):
        return hits
    x = np.concatenate([part for _, part in rotated.rows(rows)])
    own = layout.own[np.ix_(rows, groups)]
    own = np.where(own < 0, -1, own - layout.starts[groups])
    for p, part in enumerate(rotated.parts()):
        if part.stop > part.start:
            hits[p, rows[:, None], groups] = _cross_fitted(x[:, part], own, layout.sizes[groups], fold[rows])
    return hits


def _cross_fitted(
    x: Array, own: NDArray[np.int32], values: NDArray[np.intp], fold: NDArray[np.intp]
) -> NDArray[np.float32]:
    """(n, G) 1 where rows (n, k) are read right; ``own`` (n, G) from 0, -1 where unknown, of so many ``values`` (G,).

    What whitens rows comes from all rows of the other folds, whatever is known of them: once for all groups.
    """
    right = np.zeros(own.shape, np.float32)
    for k in range(FOLDS):
        others = fold != k
        if others.all() or not others.any():
            continue
        mean, root = _whitening(x[others])
        white = _clipped((x - mean) @ root)
        for g, count in enumerate(values):
            known = own[:, g] >= 0
            test, train = np.flatnonzero(~others & known), np.flatnonzero(others & known)
            if len(test) and count < len(train):
                scores = _scores(white[train], own[train, g], int(count), white[test])
                right[test, g] = np.argmax(scores, axis=1) == own[test, g]
    return right


def _whitening(x: Array) -> tuple[Array, Array]:
    """(mean (k,), (k, w)): what whitens the leading principal components."""
    mean = x.mean(axis=0)
    centred = x - mean
    values, vectors = _leading(centred)
    usual = np.einsum("ij,ij->", centred, centred) / centred.size
    return mean, vectors / np.sqrt(np.maximum(values, 0) + _SHRINK * max(float(usual), 1e-300))


def _leading(x: Array) -> tuple[Array, Array]:
    """((w,), (k, w)) the largest eigenvalues of the covariance of centred rows (n, k), falling, and their vectors."""
    leading = slice(-1, -min(WIDTH, x.shape[1]) - 1, -1)
    if WIDTH < len(x) < x.shape[1]:
        # The products of the rows have the same eigenvalues but for zeros, and cost less to decompose.
        values, left = np.linalg.eigh(x @ x.T / len(x))
        if values[-WIDTH] > _DISTINCT * values[-1]:
            vectors = x.T @ left[:, leading]
            return values[leading], vectors / np.linalg.norm(vectors, axis=0)
    values, vectors = np.linalg.eigh(x.T @ x / len(x))
    return values[leading], vectors[:, leading]


def _clipped(w: Array) -> Array:
    """Rows no longer than 3 times the usual length: squares of a few outliers would outweigh all else."""
    length = np.linalg.norm(w, axis=1)
    limit = 3 * np.sqrt(w.shape[1])
    return w * np.minimum(1.0, limit / np.maximum(length, 1e-300))[:, None]


def _scores(train: Array, own: NDArray[np.int32], values: int, test: Array) -> Array:
    """(t, v) how like each value's second moments those of the ``test`` rows are, fitted on the ``train`` rows."""
    width = train.shape[1]
    shown = [v for v in range(values) if np.count_nonzero(own == v) > 1]
    scores = np.full((len(test), values), -np.inf)
    rows = [train[own == v] for v in shown]
    means = np.stack([mine.mean(axis=0) for mine in rows])
    # About each value's own mean: where values differ in their means a linear probe has found them.
    moments = np.stack([(mine - mean).T @ (mine - mean) / len(mine) for mine, mean in zip(rows, means, strict=True)])
    everyone = moments.mean(axis=0)
    test = test - means.mean(axis=0)
    square = np.einsum("ij,ij->i", test, test) - np.trace(everyone)
    differences = moments - everyone
    levels = np.trace(differences, axis1=1, axis2=2) / width
    strengths, every = np.linalg.eigh(differences - levels[:, None, None] * np.eye(width))
    for v, level, strength, axes in zip(shown, levels, strengths, every, strict=True):
        kept = np.argsort(-np.abs(strength))[:LEADING]
        strength, axes = strength[kept], axes[:, kept]
        along = (test @ axes) ** 2 - np.einsum("ik,ik->k", axes, everyone @ axes)
        size = level**2 * width + strength @ strength + 2 * level * strength.sum()
        scores[:, v] = level * square + along @ strength - size / 2
    return scores


def plant_controls(
    rotated: Rotated, fold: NDArray[np.intp], unit_of: NDArray[np.intp], rows: NDArray[np.intp], seed: int
) -> Planted:
    """Plant two codes in the null part of the images ``rows`` and look for them. ``unit_of`` (n,) images of a scene
    have one value.
    """
    part = rotated.parts()[2]
    if part.stop == part.start:
        return Planted(0.0, 0.0)
    x = np.concatenate([block[:, part] for _, block in rotated.rows(rows)])
    rng = np.random.default_rng([seed, 8])
    units, place = np.unique(unit_of[rows], return_inverse=True)
    one, other = rng.integers(2, size=(2, len(units)))[:, place]
    axes = np.linalg.qr(rng.normal(size=(x.shape[1], min(2, x.shape[1]))))[0].T
    spread = (x @ axes.T).std(axis=0)
    linear = x + LINEAR_STRENGTH * np.outer((2 * one - 1) * spread[0], axes[0])
    found = [_linear(linear, one, fold[rows])]
    if len(axes) > 1:
        codes = NONLINEAR_STRENGTH * np.stack([(2 * one - 1) * spread[0], (2 * other - 1) * spread[1]], axis=1)
        right = _cross_fitted(x + codes @ axes, (one ^ other).astype(np.int32)[:, None], np.array([2]), fold[rows])
        found.append(right[:, 0].astype(np.float64))
    return Planted(*_lower(found, len(units)))


def _lower(found: Sequence[NDArray[np.floating]], units: int) -> list[float]:
    """Lower bounds of normalised accuracies, of two values, as of so many units."""
    bounds = [2 * wilson(float(right.mean()) * units, units)[0] - 1 for right in found]
    return [*bounds, 0.0][:2]


def _linear(x: Array, own: NDArray[np.intp], fold: NDArray[np.intp]) -> NDArray[np.float64]:
    """(n,) 1 where a ridge discriminant of two values is right where it was not fitted."""
    sign = 2.0 * own - 1
    right = np.zeros((2, len(x)))
    for i, penalty in enumerate((1e-2, 1.0)):
        for k in range(FOLDS):
            train, test = fold != k, fold == k
            mean = (x[train & (own == 0)].mean(axis=0) + x[train & (own == 1)].mean(axis=0)) / 2
            f = x[train] - mean
            scatter = f.T @ f
            scatter[np.diag_indices_from(scatter)] += penalty * np.trace(scatter) / len(scatter)
            right[i, test] = (x[test] - mean) @ np.linalg.solve(scatter, f.T @ sign[train]) * sign[test] > 0
    return np.asarray(right[int(right[1].mean() > right[0].mean())])
