"""Which penalty of a ridge regression predicts best what was left out: squared errors of many penalties at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singaudit.language.translators.statistics import Statistics, total

Array = NDArray[np.float64]

PENALTIES = np.logspace(-7, 1, 17)
"""Penalties tried, in units of n times the mean variance of a feature."""


def unit_penalty(data: Statistics) -> float:
    """n times the mean variance of a feature: what makes a penalty comparable between models and data sizes."""
    return unit_of(float(np.trace(data.ff) - data.f @ data.f / data.n), len(data.f))


def unit_of(squares: float, features: int) -> float:
    """The same from the sum of squares of centred ``features``."""
    return max(squares / features, np.finfo(np.float64).tiny)


def squared_errors(zz: float, linear: Array, quadratic: Array, values: Array, unit: float) -> Array:
    """(penalties,) sums of squared errors on what was left out, fitted in an eigenbasis with these ``values`` (r,).

    With A the features left out and Z their embeddings, both centred, and B the product of training features and
    embeddings, in that basis: ``zz`` is |Z|^2, ``linear`` (r,) the row sums of (A'Z) * B, ``quadratic`` (r, r) is
    (A'A) * (BB').
    """
    # |Z|^2 - 2 tr(B'DA'Z) + tr(B'DA'ADB) with D = diag(weights): both traces are sums over pairs of eigenvectors.
    weights = 1 / (values + PENALTIES[:, None] * unit)
    result: Array = zz - 2 * weights @ linear + np.einsum("pi,ij,pj->p", weights, quadratic, weights, optimize=True)
    return result


@dataclass(frozen=True)
class Decomposed:
    """Statistics of training images in the eigenbasis of their features' covariance."""

    mean_f: Array
    mean_z: Array
    values: Array
    """(m,) eigenvalues of the centred f'f."""
    vectors: Array
    """(m, m)."""
    fz: Array
    """(m, d) centred f'z, rotated."""
    products: Array
    """(m, m): of each pair of rows of ``fz``."""
    unit_penalty: float


def decomposed(parts: Sequence[Statistics]) -> Decomposed:
    """What every penalty's fit on ``parts`` has in common."""
    train = total(parts)
    mean_f, mean_z = train.f / train.n, train.z / train.n
    ff, fz, _ = train.centred_at(mean_f, mean_z)
    values, vectors = np.linalg.eigh(ff)
    fz = vectors.T @ fz
    return Decomposed(mean_f, mean_z, np.clip(values, 0, None), vectors, fz, fz @ fz.T, unit_penalty(train))


def held_out_errors(train: Decomposed, test: Statistics) -> Array:
    """Sum of squared errors on ``test`` for each penalty, fitted on ``train``."""
    test_ff, test_fz, test_zz = test.centred_at(train.mean_f, train.mean_z)
    test_fz = train.vectors.T @ test_fz
    test_ff = train.vectors.T @ test_ff @ train.vectors
    linear = np.einsum("ij,ij->i", train.fz, test_fz)
    return squared_errors(test_zz, linear, test_ff * train.products, train.values, train.unit_penalty)
