"""A translator fitted on all images for keeping, with its fidelity on images that its cross-fitted twins never saw."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from singaudit.geometry.null_space import NullSpace
from singaudit.language.translators.file import Measure, StoredTranslator, TranslatorFacts
from singaudit.language.translators.fit import FOLDS, Fitted, by_fold, fit, fit_ridge, fit_translator, fold_of
from singaudit.language.translators.statistics import accumulate, total
from singaudit.metrics.intervals import BLOCK, Bootstrap, Estimate
from singaudit.metrics.scores import unit

Array = NDArray[np.float64]


def fit_for_keeping(
    features: NDArray[np.floating],
    embeddings: NDArray[np.floating],
    sha256: Sequence[str],
    space: NullSpace,
    model: tuple[str, str],
    encoder: tuple[str, str],
    seed: int,
    precision: Literal["fp32", "bf16"] = "fp32",
    keys: Sequence[str] | None = None,
) -> StoredTranslator:
    """Fit T on all images (n, m) -> (n, d), both halves of it, and what the uncertainty of a single reading needs.

    ``keys`` (n,) are the hashes of the images' units, which stay together in folds and halves and are what is counted;
    None: every image is one. ``model`` is (name, sha256), ``encoder`` (name, revision), ``precision`` that of its
    embeddings. Raises ``LanguageError`` with too few images.
    """
    units = list(sha256) if keys is None else list(keys)
    order = np.lexsort((np.asarray(sha256), np.asarray(units)))
    f, z = features[order], embeddings[order]
    hashes, units = [sha256[i] for i in order], [units[i] for i in order]
    parts = accumulate(f, z, fold_of(units), FOLDS)
    whole = fit_translator(parts)
    usable = [part for part in parts if part.n > 1]
    middle = len(usable) // 2
    halves = [total(usable[:middle]), total(usable[middle:])]
    first, second = (fit_ridge(data, whole.penalty * data.n / whole.images) for data in halves)
    data = total(usable)
    ff, _, _ = data.centred_at(data.f / data.n, data.z / data.n)
    inverse = np.linalg.inv(ff + whole.penalty * np.eye(len(ff)))
    table, residual = _held_out(fit(f, z, units, space), f, z, units, seed)
    facts = TranslatorFacts(
        origin="fit", model_name=model[0], model_sha256=model[1], encoder_name=encoder[0], encoder_revision=encoder[1],
        encoder_precision=precision, feature_dim=f.shape[1], embedding_dim=z.shape[1], images=len(set(units)),
        images_digest=hashlib.sha256("\n".join(sorted(hashes)).encode()).hexdigest(), penalty=whole.penalty,
        r2=_measure(table.estimate(lambda m: 1 - m[..., 0] / m[..., 1])), cosine=_measure(table.mean(2)),
        cosine_shuffled=_measure(table.mean(3)),
    )  # fmt: skip
    # Of what repeats one image so many times, no more is known than of the image.
    leverage = inverse @ ff @ inverse * (len(units) / facts.images)
    return StoredTranslator(facts, whole, (first, second), leverage, residual, frozenset(hashes))


def _held_out(
    fitted: Fitted, features: NDArray[np.floating], embeddings: NDArray[np.floating], keys: Sequence[str], seed: int
) -> tuple[Bootstrap, Array]:
    """Squared residuals, squared deviations, cosine and cosine of shuffled pairs; and the residuals' covariance."""
    table = Bootstrap(seed)
    residual = np.zeros((embeddings.shape[1], embeddings.shape[1]))
    means = np.stack([t.mean @ t.weight + t.intercept for t in fitted.translators])
    unit_of = np.unique(np.asarray(keys), return_inverse=True)[1].astype(np.intp)
    for start in range(0, len(features), BLOCK):
        rows = slice(start, start + BLOCK)
        f, z, fold = features[rows].astype(np.float64), embeddings[rows].astype(np.float64), fitted.fold[rows]
        read = by_fold(lambda k: fitted.translators[k], fold, f)
        error, deviation = z - read, z - means[fold]
        direction = unit(read)
        table.add(np.column_stack([
            np.einsum("ij,ij->i", error, error), np.einsum("ij,ij->i", deviation, deviation),
            np.einsum("ij,ij->i", direction, z), np.einsum("ij,ij->i", direction, np.roll(z, 1, axis=0)),
        ]), unit_of[rows])  # fmt: skip
        residual += error.T @ error
    return table, residual / len(features)


def _measure(e: Estimate) -> Measure:
    return Measure(value=e.value, low=e.low, high=e.high, n=e.n)
