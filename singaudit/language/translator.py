"""The translator T: a linear map from the classifier's features to the image embedding of the same image.

Source: arXiv 2603.14610, section 3; fitted here by ridge regression from streamed statistics, with the penalty
chosen by cross-validation inside the training data and with every image scored by a map that never saw it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from singaudit.errors import LanguageError
from singaudit.geometry.null_space import NullSpace
from singaudit.language.statistics import Statistics, accumulate, total

Array = NDArray[np.float64]

FOLDS = 5
# Penalties tried, in units of n times the mean variance of a feature.
_PENALTIES = np.logspace(-7, 1, 17)


@dataclass(frozen=True)
class Translator:
    """T f = f @ weight + intercept."""

    weight: Array
    """(m, d)."""
    intercept: Array
    """(d,)."""
    mean: Array
    """(m,) mean feature of the images it was fitted on."""
    penalty: float
    """Ridge penalty, as scikit-learn's Ridge calls alpha."""
    images: int
    """Images it was fitted on."""

    def __call__(self, features: NDArray[np.floating]) -> Array:
        """Features (n, m) -> translated embeddings (n, d), float64, not normalised."""
        return np.asarray(features, dtype=np.float64) @ self.weight + self.intercept


@dataclass(frozen=True)
class Fitted:
    """The translators of an audit and which image is scored by which."""

    translators: tuple[Translator, ...]
    """One per fold, fitted on the other folds; a single one when it was fitted on probe images."""
    halves: tuple[tuple[Translator, Translator], ...]
    """Per translator: refitted on either half of its data, to show how findings depend on it."""
    principal: tuple[Translator, ...]
    """Per translator: refitted on the principal part of the features alone."""
    fold: NDArray[np.intp]
    """(n,) index into ``translators`` for each audited image."""
    images: int
    """Distinct images used for fitting."""
    on_probe: bool
    """True when fitted on probe images alone."""
    from_file: bool = False
    """True when the translators that score came from a file; halves and principal ones are cross-fitted here."""


def fold_of(sha256: Sequence[str], folds: int = FOLDS) -> NDArray[np.intp]:
    """The fold of each image by its content hash, so that neither order nor renaming changes anything."""
    return np.array([int(digest[:12], 16) % folds for digest in sha256], dtype=np.intp)


def fit_ridge(data: Statistics, penalty: float, space: NullSpace | None = None) -> Translator:
    """Ridge regression with intercept of z on f at one penalty, from statistics alone.

    With ``space``, on the principal part of f: the statistics are projected, no image is touched again.
    """
    mean_f: Array = data.f / data.n
    mean_z: Array = data.z / data.n
    ff, fz, _ = data.centred_at(mean_f, mean_z)
    if space is not None:
        ff = space.principal_part(space.principal_part(ff).T)
        fz = space.principal_part(fz.T).T
    ff[np.diag_indices_from(ff)] += penalty
    weight = np.linalg.solve(ff, fz).astype(np.float64, copy=False)
    return Translator(weight, mean_z - mean_f @ weight, mean_f, penalty, data.n)


def fit_translator(parts: Sequence[Statistics]) -> Translator:
    """Ridge regression on all parts together, its penalty chosen by leaving out one part at a time.

    The sum of squared errors on a left-out part follows from its statistics, in the eigenbasis of the training
    covariance, without touching an image again. Raises ``LanguageError`` with fewer than two usable parts.
    """
    usable = [part for part in parts if part.n > 1]
    if len(usable) < 2:
        raise LanguageError(
            "expected at least 10 images to fit the translator, too few were left",
            hint="Add images with --images or --probe; about 1,000 are needed before findings can be trusted.",
        )
    errors = np.zeros(len(_PENALTIES))
    for left_out in range(len(usable)):
        train = total([part for i, part in enumerate(usable) if i != left_out])
        errors += _held_out_errors(train, usable[left_out])
    everything = total(usable)
    best = float(_PENALTIES[int(np.argmin(errors))])
    return fit_ridge(everything, best * _unit_penalty(everything))


def _unit_penalty(data: Statistics) -> float:
    """n times the mean variance of a feature: what makes a penalty comparable between models and data sizes."""
    variance = float(np.trace(data.ff) - data.f @ data.f / data.n) / len(data.f)
    return max(variance, np.finfo(np.float64).tiny)


def _held_out_errors(train: Statistics, test: Statistics) -> Array:
    """Sum of squared errors on ``test`` for each penalty, fitted on ``train``."""
    mean_f, mean_z = train.f / train.n, train.z / train.n
    ff, fz, _ = train.centred_at(mean_f, mean_z)
    values, vectors = np.linalg.eigh(ff)
    values = np.clip(values, 0, None)
    test_ff, test_fz, test_zz = test.centred_at(mean_f, mean_z)
    fz, test_fz = vectors.T @ fz, vectors.T @ test_fz
    test_ff = vectors.T @ test_ff @ vectors
    # |z|^2 - 2 tr(B'F'Z) + tr(B'F'F B) with B = diag(w) F'Z: both traces are sums over pairs of eigenvectors.
    linear = np.einsum("ij,ij->i", fz, test_fz)
    quadratic = test_ff * (fz @ fz.T)
    weights = 1 / (values + _PENALTIES[:, None] * _unit_penalty(train))
    result: Array = (
        test_zz - 2 * weights @ linear + np.einsum("pi,ij,pj->p", weights, quadratic, weights, optimize=True)
    )
    return result


def fit(
    features: NDArray[np.floating],
    embeddings: NDArray[np.floating],
    sha256: Sequence[str],
    space: NullSpace,
    probe: tuple[NDArray[np.floating], NDArray[np.floating], Sequence[str]] | None = None,
) -> Fitted:
    """Fit the translators for ``n`` audited images: cross-fitted, or on probe images alone where there are any.

    ``features`` (n, m), ``embeddings`` (n, d) and hashes are the audited images'; ``probe`` holds the same of other
    images. Raises ``LanguageError`` when there are too few.
    """
    own_fold = fold_of(sha256)
    if probe is not None:
        parts = accumulate(probe[0], probe[1], fold_of(probe[2]), FOLDS)
        zero = np.zeros(len(features), np.intp)
        return _finish([parts], zero, sum(p.n for p in parts), True, space)
    parts = accumulate(features, embeddings, own_fold, FOLDS)
    others = [[part for j, part in enumerate(parts) if j != k] for k in range(FOLDS)]
    return _finish(others, own_fold, len(features), False, space)


def _finish(
    training: list[list[Statistics]], fold: NDArray[np.intp], images: int, on_probe: bool, space: NullSpace
) -> Fitted:
    translators, halves, principal = [], [], []
    for parts in training:
        translator = fit_translator(parts)
        translators.append(translator)
        principal.append(fit_ridge(total(parts), translator.penalty, space))
        usable = [part for part in parts if part.n > 1]
        pair = [total(half) for half in (usable[: len(usable) // 2], usable[len(usable) // 2 :])]
        first, second = (fit_ridge(data, translator.penalty * data.n / translator.images) for data in pair)
        halves.append((first, second))
    return Fitted(tuple(translators), tuple(halves), tuple(principal), fold, images, on_probe)


def by_fold(
    choose: Callable[[int], Translator], fold: NDArray[np.intp], features: Array, linear: bool = False
) -> Array:
    """Rows (n, m) through ``choose(fold of the row)`` -> (n, d); ``linear`` leaves the intercept out."""
    result: Array | None = None
    for k in np.unique(fold):
        mine = fold == k
        translator = choose(int(k))
        values = features[mine] @ translator.weight
        if not linear:
            values += translator.intercept
        if result is None:
            result = np.empty((len(features), values.shape[1]))
        result[mine] = values
    if result is None:
        raise ValueError("no rows to translate")
    return result


def fit_around(
    given: Translator, features: NDArray[np.floating], embeddings: NDArray[np.floating], sha256: Sequence[str],
    space: NullSpace,
) -> Fitted:  # fmt: skip
    """An audit by a translator that was ``given``: it scores every image.

    What it is compared with, its halves and the translators of the principal part, are fitted on the audited images,
    as is its mean feature where it has none (NaN). Raises ``LanguageError`` when there are too few.
    """
    own = fit(features, embeddings, sha256, space)
    known = bool(np.isfinite(given.mean).all())
    translators = tuple(given if known else replace(given, mean=t.mean) for t in own.translators)
    return Fitted(translators, own.halves, own.principal, own.fold, given.images, False, True)
