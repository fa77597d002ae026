"""What one image's equivalent loses and gains in words, with the translator's own uncertainty, and in few words.

Beside a single image stands no sample of images. What is uncertain is the translator: words are picked with the one
fitted on half of its images and confirmed with the other half's, by intervals from ridge regression's sampling
variance. Beyond it, a word must differ from what taking out other images' null components does on average.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singaudit.geometry.null_space import NullSpace
from singaudit.language.translators.file import StoredTranslator
from singaudit.language.translators.fit import Translator
from singaudit.metrics.changes import Changes, JudgedChanges, judge_changes
from singaudit.metrics.scores import text_angles, unit
from singaudit.metrics.words import NEGLIGIBLE_SHARE, centred, spreads

Array = NDArray[np.float64]

MAX_ATOMS = 8
"""Concepts in a sparse decomposition."""
_LEAST_GAIN = 0.01
# A further concept must explain at least this share of the direction.
_DRAWS = 99


@dataclass(frozen=True)
class Decomposition:
    """A direction as a sparse non-negative combination of concepts, gained or lost."""

    atoms: list[tuple[int, int, float]]
    """(concept, 1 gained or -1 lost, weight), largest weight first; the direction has length 1."""
    explained: float
    """Share of the direction's squared length, 0 to 1."""
    control: Array
    """(99,) the same share for translated random null directions."""


def judge_image(
    features: Array,
    equivalent: Array,
    stored: StoredTranslator,
    texts: Array,
    starts: NDArray[np.intp],
    others: Array,
) -> JudgedChanges | None:
    """Judge each concept's centred change from ``features`` (m,) to ``equivalent`` (m,); None without uncertainty.

    ``others`` (q, m) are equivalents of the same features with other images' null components taken out; q may be 0.
    """
    if stored.halves is None or stored.leverage is None or stored.residual is None:
        return None
    means, errors, controls, spread = [], [], [], []
    for half in stored.halves:
        change = _change(half, features[None], equivalent[None], texts, starts)[0]
        means.append(change)
        errors.append(_error(half, stored, features, equivalent, texts, starts))
        against = _change(half, np.broadcast_to(features, others.shape), others, texts, starts)
        controls.append(against.mean(axis=0) if len(against) else np.zeros_like(change))
        spread.append(against.var(axis=0, ddof=1) / len(against) if len(against) > 1 else np.zeros_like(change))
    mean, variance = np.stack(means), np.stack(errors) ** 2
    n = np.full(mean.shape, float(stored.facts.images // 2))
    changes = Changes(mean, variance * n, mean - np.stack(controls), (variance + np.stack(spread)) * n, n)
    return judge_changes([changes], NEGLIGIBLE_SHARE * spreads(texts, starts))[0]


def _change(
    translator: Translator, features: Array, equivalents: Array, texts: Array, starts: NDArray[np.intp]
) -> Array:
    """(q, k) AS from ``features`` to ``equivalents`` (q, m) less the mean of the concept's group, degrees."""
    before, after = text_angles(translator(features), texts), text_angles(translator(equivalents), texts)
    return centred(before - after, starts)


def _error(
    half: Translator,
    stored: StoredTranslator,
    features: Array,
    equivalent: Array,
    texts: Array,
    starts: NDArray[np.intp],
) -> Array:
    """(k,) standard error of the change over samples of images the half could have been fitted on (delta method).

    Cov(T x, T y) = (x' L y + 1 / n) S, with L the leverage and S the residual covariance: half the images, twice both.
    """
    assert stored.leverage is not None
    assert stored.residual is not None
    x = np.stack([features, equivalent]) - stored.translator.mean
    of_inputs = 2 * (x @ stored.leverage @ x.T + 1 / max(stored.facts.images, 1))
    slopes = [
        centred(sign * _slope(half(f[None])[0], texts).T, starts) for sign, f in ((1, features), (-1, equivalent))
    ]
    variance = np.zeros(len(texts))
    for i in (0, 1):
        for j in (0, 1):
            variance += of_inputs[i, j] * np.einsum("dk,de,ek->k", slopes[i], stored.residual, slopes[j])
    return np.sqrt(np.maximum(variance, 0.0))


def _slope(z: Array, texts: Array) -> Array:
    """(k, d) gradient of angle(z, text) in degrees with respect to z."""
    length = float(np.linalg.norm(z))
    u = z / max(length, np.finfo(np.float64).tiny)
    cosine = np.clip(texts @ u, -1.0, 1.0)
    sine = np.sqrt(np.maximum(1 - cosine**2, 1e-12))
    result: Array = np.degrees(-(texts - cosine[:, None] * u) / (sine[:, None] * length))
    return result


def decompose(
    direction: Array, texts: Array, translator: Translator, space: NullSpace, seed: int
) -> Decomposition | None:
    """``direction`` (d,) = T f~ - T f in few concepts; None where it is 0.

    The dictionary is the texts less their mean (the gap between images and texts is no meaning), at unit length, with
    either sign: a concept is gained or lost. Concepts enter one at a time, the best first, and all weights are fitted
    again by non-negative least squares (non-negative orthogonal matching pursuit).
    """
    if not np.linalg.norm(direction) > 0:
        return None
    words = unit(texts - texts.mean(axis=0))
    atoms, explained = _pursue(unit(direction[None])[0], words)
    generator = np.random.default_rng([seed, 2])
    moves = unit(space.null_part(generator.standard_normal((_DRAWS, space.feature_dim))) @ translator.weight)
    control = np.array([_pursue(move, words)[1] for move in moves])
    return Decomposition(atoms, explained, control)


def _pursue(target: Array, words: Array) -> tuple[list[tuple[int, int, float]], float]:
    from scipy.optimize import nnls

    dictionary = np.concatenate([words, -words])
    chosen: list[int] = []
    weights, explained, left = np.zeros(0), 0.0, target
    while len(chosen) < MAX_ATOMS:
        fit = dictionary @ left
        best = int(np.argmax(fit))
        if fit[best] <= 0 or best in chosen:
            break
        trial = [*chosen, best]
        found, _ = nnls(dictionary[trial].T, target)
        remaining = target - found @ dictionary[trial]
        gain = 1 - float(remaining @ remaining) - explained
        if gain < _LEAST_GAIN:
            break
        chosen, weights, left, explained = trial, found, remaining, explained + gain
    k = len(words)
    atoms = [(i % k, 1 if i < k else -1, float(w)) for i, w in zip(chosen, weights, strict=True) if w > 0]
    return sorted(atoms, key=lambda a: -a[2]), explained
