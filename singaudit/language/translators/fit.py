"""The translator T: a linear map from the classifier's features to the image embedding of the same image.

Source: arXiv 2603.14610, section 3; fitted here by ridge regression from streamed statistics, with the penalty
chosen by cross-validation inside the training data and with every image scored by a map that never saw it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from singaudit.errors import LanguageError
from singaudit.geometry.null_space import NullSpace
from singaudit.geometry.threads import threads_for, workers
from singaudit.language.translators.few import FewImages
from singaudit.language.translators.penalties import PENALTIES, decomposed, held_out_errors, unit_penalty
from singaudit.language.translators.statistics import Statistics, accumulate, solve_ridge, total
from singaudit.machine import side_by_side

Array = NDArray[np.float64]

FOLDS = 5
MIN_FIT_IMAGES = 50
"""With fewer images no translator is fitted for an audit: cross-validation would have next to nothing to hold out."""


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
    return _chosen(_Streamed(parts), range(len(parts)))


class _Parts(Protocol):
    """Data in parts, of which some are fitted on and others judge."""

    @property
    def sizes(self) -> Sequence[int]:
        """Images of each part."""
        ...

    def errors(self, parts: Sequence[int], left_out: Sequence[int]) -> list[Array]:
        """For each part ``left_out`` the sum of squared errors of each penalty, fitted on ``parts``."""
        ...

    def unit_penalty(self, parts: Sequence[int]) -> float:
        """What penalties are in units of."""
        ...

    def fitted(self, parts: Sequence[int], penalty: float, space: NullSpace | None = None) -> Translator:
        """At one penalty; with ``space``, on the principal part of the features."""
        ...


class _Streamed:
    """Any number of images, of which the statistics of each part are kept."""

    def __init__(self, parts: Sequence[Statistics]) -> None:
        self._all = parts
        self.sizes = [part.n for part in parts]

    def _of(self, parts: Sequence[int]) -> list[Statistics]:
        return [self._all[k] for k in parts]

    def errors(self, parts: Sequence[int], left_out: Sequence[int]) -> list[Array]:
        train = decomposed(self._of(parts))
        return [held_out_errors(train, self._all[k]) for k in left_out]

    def unit_penalty(self, parts: Sequence[int]) -> float:
        return unit_penalty(total(self._of(parts)))

    def fitted(self, parts: Sequence[int], penalty: float, space: NullSpace | None = None) -> Translator:
        return fit_ridge(total(self._of(parts)), penalty, space)


class _Few:
    """Fewer images than features, which are kept."""

    def __init__(self, features: NDArray[np.floating], embeddings: NDArray[np.floating], part: NDArray[np.intp]):
        self._f, self._z, self._part = np.asarray(features, np.float64), np.asarray(embeddings, np.float64), part
        self.sizes = np.bincount(part, minlength=FOLDS).tolist()
        self._images = FewImages(self._f, self._z, part)
        self.errors, self.unit_penalty = self._images.errors, self._images.unit_penalty
        self._principal: tuple[NullSpace, FewImages] | None = None

    def fitted(self, parts: Sequence[int], penalty: float, space: NullSpace | None = None) -> Translator:
        rows = np.isin(self._part, parts)
        mean, mean_z = self._f[rows].mean(axis=0), self._z[rows].mean(axis=0)
        weight = self._seen(space).weight(parts, penalty)
        return Translator(weight, mean_z - mean @ weight, mean, penalty, int(rows.sum()))

    def _seen(self, space: NullSpace | None) -> FewImages:
        if space is None:
            return self._images
        if self._principal is None or self._principal[0] is not space:
            self._principal = space, self._images.projected(space.principal_part(self._f))
        return self._principal[1]


def _in_parts(
    features: NDArray[np.floating], embeddings: NDArray[np.floating], part: NDArray[np.intp]
) -> _Streamed | _Few:
    if features.shape[0] < features.shape[1]:
        return _Few(features, embeddings, part)
    return _Streamed(accumulate(features, embeddings, part, FOLDS))


def _chosen(data: _Parts, parts: Sequence[int]) -> Translator:
    """Fitted on ``parts``, at the penalty with the smallest error where one of them at a time is left out."""
    usable = [k for k in parts if data.sizes[k] > 1]
    if len(usable) < 2:
        raise LanguageError(
            "expected at least 10 images to fit the translator, too few were left",
            hint="Add images with --images or --probe; about 1,000 are needed before findings can be trusted.",
        )
    errors = np.zeros(len(PENALTIES))
    for left_out in usable:
        errors += data.errors([k for k in usable if k != left_out], [left_out])[0]
    return _at_best(data, usable, errors)


def _cross_fitted(data: _Parts, at_a_time: int) -> list[Translator]:
    """``fit_translator`` on the other parts, for each part.

    Choosing the penalty of the translator without part k leaves out another part j, and that of the one without j
    leaves out k: both fit on what remains without either, which is decomposed once. Each part is left out with the
    next and with the previous one, not with all: two parts tell one penalty from the next as well as four do, in half
    the time. ``at_a_time`` of them are fitted side by side.
    """
    count = len(data.sizes)
    if count < 3 or min(data.sizes) < 2:
        return [_chosen(data, _without(count, k)) for k in range(count)]
    errors = np.zeros((count, len(PENALTIES)))
    pairs = [(k, (k + 1) % count) for k in range(count)]
    found = side_by_side((partial(data.errors, _without(count, k, j), [j, k]) for k, j in pairs), at_a_time)
    for (k, j), (of_j, of_k) in zip(pairs, found, strict=True):
        errors[k] += of_j
        errors[j] += of_k
    return list(side_by_side((partial(_at_best, data, _without(count, k), errors[k]) for k in range(count)), at_a_time))


def _without(count: int, *left_out: int) -> list[int]:
    return [k for k in range(count) if k not in left_out]


def _at_best(data: _Parts, parts: Sequence[int], errors: Array) -> Translator:
    """Fitted on all ``parts`` at the penalty with the smallest error."""
    # Penalties that are all small beside the data err alike: the largest of them, whatever the last bit says.
    best = int(np.flatnonzero(errors <= errors.min() * (1 + 1e-9))[-1])
    return data.fitted(parts, float(PENALTIES[best]) * data.unit_penalty(parts))


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
    with threads_for(space.feature_dim, len(features if probe is None else probe[0])):
        if probe is not None:
            data = _in_parts(probe[0], probe[1], fold_of(probe[2]))
            every, zero = list(range(FOLDS)), np.zeros(len(features), np.intp)
            return _finish(data, [every], [_chosen(data, every)], zero, len(set(probe[2])), True, space)
        data = _in_parts(features, embeddings, own_fold)
        others = [_without(FOLDS, k) for k in range(FOLDS)]
        return _finish(
            data, others, _cross_fitted(data, workers(*features.shape[::-1])), own_fold, len(set(sha256)), False, space
        )


def _finish(
    data: _Parts,
    training: list[list[int]],
    translators: list[Translator],
    fold: NDArray[np.intp],
    images: int,
    on_probe: bool,
    space: NullSpace,
) -> Fitted:
    halves, principal = [], []
    for parts, translator in zip(training, translators, strict=True):
        principal.append(data.fitted(parts, translator.penalty, space))
        usable = [k for k in parts if data.sizes[k] > 1]
        pair = []
        for half in (usable[: len(usable) // 2], usable[len(usable) // 2 :]):
            size = sum(data.sizes[k] for k in half)
            pair.append(data.fitted(half, translator.penalty * size / translator.images))
        halves.append((pair[0], pair[1]))
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
