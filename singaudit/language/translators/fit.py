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
from singaudit.language.translators.statistics import Statistics, accumulate, solve_ridge, total

Array = NDArray[np.float64]

FOLDS = 5
MIN_FIT_IMAGES = 50
"""With fewer images no translator is fitted for an audit: cross-validation would have next to nothing to hold out."""
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
    """Units, images that show different scenes, used for fitting."""
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
    weight = solve_ridge(ff, fz, penalty)
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
        train = _decomposed([part for i, part in enumerate(usable) if i != left_out])
        errors += _held_out_errors(train, usable[left_out])
    return _at_best(usable, errors)


def _cross_fitted(parts: Sequence[Statistics]) -> list[Translator]:
    """``fit_translator`` on the other parts, for each part.

    Choosing the penalty of the translator without part k leaves out another part j, and that of the one without j
    leaves out k: both fit on what remains without either, which is decomposed once. Each part is left out with the
    next and with the previous one, not with all: two parts tell one penalty from the next as well as four do, in half
    the time.
    """
    if len(parts) < 3 or any(part.n < 2 for part in parts):
        return [fit_translator(_without(parts, k)) for k in range(len(parts))]
    errors = np.zeros((len(parts), len(_PENALTIES)))
    for k in range(len(parts)):
        j = (k + 1) % len(parts)
        train = _decomposed(_without(parts, k, j))
        errors[k] += _held_out_errors(train, parts[j])
        errors[j] += _held_out_errors(train, parts[k])
    return [_at_best(_without(parts, k), errors[k]) for k in range(len(parts))]


def _without(parts: Sequence[Statistics], *left_out: int) -> list[Statistics]:
    return [part for i, part in enumerate(parts) if i not in left_out]


def _at_best(parts: Sequence[Statistics], errors: Array) -> Translator:
    """Fitted on all ``parts`` at the penalty with the smallest error."""
    everything = total(parts)
    # Penalties that are all small beside the data err alike: the largest of them, whatever the last bit says.
    best = int(np.flatnonzero(errors <= errors.min() * (1 + 1e-9))[-1])
    return fit_ridge(everything, float(_PENALTIES[best]) * _unit_penalty(everything))


def _unit_penalty(data: Statistics) -> float:
    """n times the mean variance of a feature: what makes a penalty comparable between models and data sizes."""
    variance = float(np.trace(data.ff) - data.f @ data.f / data.n) / len(data.f)
    return max(variance, np.finfo(np.float64).tiny)


@dataclass(frozen=True)
class _Decomposed:
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


def _decomposed(parts: Sequence[Statistics]) -> _Decomposed:
    train = total(parts)
    mean_f, mean_z = train.f / train.n, train.z / train.n
    ff, fz, _ = train.centred_at(mean_f, mean_z)
    values, vectors = np.linalg.eigh(ff)
    fz = vectors.T @ fz
    return _Decomposed(mean_f, mean_z, np.clip(values, 0, None), vectors, fz, fz @ fz.T, _unit_penalty(train))


def _held_out_errors(train: _Decomposed, test: Statistics) -> Array:
    """Sum of squared errors on ``test`` for each penalty, fitted on ``train``."""
    test_ff, test_fz, test_zz = test.centred_at(train.mean_f, train.mean_z)
    test_fz = train.vectors.T @ test_fz
    test_ff = train.vectors.T @ test_ff @ train.vectors
    # |z|^2 - 2 tr(B'F'Z) + tr(B'F'F B) with B = diag(w) F'Z: both traces are sums over pairs of eigenvectors.
    linear = np.einsum("ij,ij->i", train.fz, test_fz)
    quadratic = test_ff * train.products
    weights = 1 / (train.values + _PENALTIES[:, None] * train.unit_penalty)
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
    images. Hashes are those of units: images with one hash are in one fold and count once. Raises ``LanguageError``
    when there are too few.
    """
    own_fold = fold_of(sha256)
    if probe is not None:
        parts = accumulate(probe[0], probe[1], fold_of(probe[2]), FOLDS)
        zero = np.zeros(len(features), np.intp)
        return _finish([parts], [fit_translator(parts)], zero, len(set(probe[2])), True, space)
    parts = accumulate(features, embeddings, own_fold, FOLDS)
    others = [_without(parts, k) for k in range(FOLDS)]
    return _finish(others, _cross_fitted(parts), own_fold, len(set(sha256)), False, space)


def _finish(
    training: list[list[Statistics]],
    translators: list[Translator],
    fold: NDArray[np.intp],
    images: int,
    on_probe: bool,
    space: NullSpace,
) -> Fitted:
    halves, principal = [], []
    for parts, translator in zip(training, translators, strict=True):
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
    given: Translator,
    features: NDArray[np.floating],
    embeddings: NDArray[np.floating],
    sha256: Sequence[str],
    space: NullSpace,
) -> Fitted:
    """An audit by a translator that was ``given``: it scores every image.

    What it is compared with, its halves and the translators of the principal part, are fitted on the audited images,
    as is its mean feature where it has none (NaN). Raises ``LanguageError`` when there are too few.
    """
    own = fit(features, embeddings, sha256, space)
    known = bool(np.isfinite(given.mean).all())
    translators = tuple(given if known else replace(given, mean=t.mean) for t in own.translators)
    return Fitted(translators, own.halves, own.principal, own.fold, given.images, False, True)
