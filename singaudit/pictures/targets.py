"""Targets: what equivalents are led toward, which null component goes with it, which real images show it already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singaudit.geometry.null_space import NullSpace
from singaudit.language.concepts import Group
from singaudit.language.interface import Encoder
from singaudit.language.translators.statistics import accumulate
from singaudit.metrics.scores import unit
from singaudit.metrics.values import centred_texts, middle, read_scores
from singaudit.pictures.units import Units

Array = NDArray[np.float64]

SHOWN_SHARE = 0.02
"""The images nearest to a free text, this share of all, say what showing it looks like."""
_SHOWN_LEAST = 16
# On the way from the other images (0) to those (1): an image shows the text, and equivalents may start from it, from
# here. Where an attribute's values form clusters all of one lie beyond; where there are none, about 4 % of the images.
_SHOWN = 0.75
# From half way on an image is not led toward the text any more.
_ALREADY = 0.5
# Real images nearest in what the classifier sees, among which the one most like the original is started from.
_SHORTLIST = 12
# Ridge penalty of the regression of null components, in mean variances of what it regresses on.
_PENALTY = 1e-3
_BLOCK = 4096


@dataclass(frozen=True)
class Aim:
    """A concept group whose values are led into one another, or a free text that all images are led toward."""

    group: str
    """Name of the group; empty for a free text."""
    values: tuple[str, ...]
    """The group's values, or the text alone."""
    texts: Array
    """(v, d) unit text embeddings of the values."""

    @property
    def is_text(self) -> bool:
        """True for a free text."""
        return len(self.values) == 1


@dataclass(frozen=True)
class Readings:
    """How an aim is read from the images themselves by the vision-language model."""

    similarity: Array
    """(n, v) cosine of each image's embedding with each value's text."""
    value: NDArray[np.intp]
    """(n,) value each image shows; -1 where it does not show a free text."""
    typical: Array
    """(v, v) mean similarities of the images that show a value; NaN for one that none shows."""
    middle: Array
    """(v,) where values border on each other: what centred scores are compared by."""
    already: NDArray[np.bool_]
    """(n,) images that need not be led toward a free text: nearer to those that show it than to all others."""


def aim_at(toward: str, groups: Sequence[Group], texts: Sequence[Array], encoder: Encoder) -> Aim:
    """The group named ``toward``, with its values' text embeddings of ``texts``; else a free text."""
    for group, embedded in zip(groups, texts, strict=True):
        if group.name == toward and group.kind != "concept":
            return Aim(group.name, group.values, embedded)
    return Aim("", (toward,), encoder.encode_texts([toward]).astype(np.float64))


def read(embeddings: NDArray[np.floating], aim: Aim) -> Readings:
    """Read ``aim`` from unit image embeddings (n, d): the nearest value, or the images nearest to a free text."""
    similarity = np.empty((len(embeddings), len(aim.texts)))
    for start in range(0, len(similarity), _BLOCK):
        similarity[start : start + _BLOCK] = unit(embeddings[start : start + _BLOCK]) @ aim.texts.T
    already, border = np.zeros(len(similarity), np.bool_), np.zeros(len(aim.texts))
    if aim.is_text:
        share = _shown_share(similarity[:, 0])
        value, already = np.where(share >= _SHOWN, 0, -1), share >= _ALREADY
    else:
        # As everywhere else: centred, values weighing equally.
        scores = np.concatenate([_scores(embeddings[i : i + _BLOCK], aim) for i in range(0, len(similarity), _BLOCK)])
        value = read_scores(scores)
        border = middle(scores, value)
    typical = np.full((len(aim.values), len(aim.values)), np.nan)
    for v in np.unique(value[value >= 0]):
        typical[v] = similarity[value == v].mean(axis=0)
    return Readings(similarity, value, typical, border, already)


def shown_values(embeddings: NDArray[np.floating], aim: Aim, readings: Readings) -> NDArray[np.intp]:
    """(k,) the value that unit embeddings (k, d) of other images are read as, by the border of ``readings``."""
    return np.argmax(_scores(embeddings, aim) - readings.middle, axis=1)


def _scores(embeddings: NDArray[np.floating], aim: Aim) -> Array:
    return unit(np.asarray(embeddings, np.float64)) @ centred_texts(aim.texts).T


def _shown_share(similarity: Array) -> Array:
    """(n,) how far each image is on the way from the other images' mean similarity (0) to that of the nearest (1)."""
    count = min(max(_SHOWN_LEAST, round(SHOWN_SHARE * len(similarity))), max(1, len(similarity) // 2))
    order = np.argsort(-similarity, kind="stable")
    near, rest = similarity[order[:count]], similarity[order[count:]]
    base = float(rest.mean()) if len(rest) else float(near.mean())
    gap = float(near.mean()) - base
    share = (similarity - base) / gap if gap > 0 else np.zeros(len(similarity))
    # Those that measure what is near are near, whatever their spread.
    share[order[:count]] = np.maximum(share[order[:count]], 1.0)
    return np.asarray(share, np.float64)


def wished_values(readings: Readings, rows: Sequence[int]) -> NDArray[np.intp]:
    """(k,) the value each image ``rows`` is led toward: a free text's only one, or another value than its own, in turn.

    -1 where no image shows any other value, and for an image that shows a free text already.
    """
    shown = np.flatnonzero(~np.isnan(readings.typical[:, 0]))
    wished = np.full(len(rows), -1, np.intp)
    for turn, row in enumerate(rows):
        others = shown[shown != readings.value[row]]
        if len(others) and not readings.already[row]:
            # Past the own value, so that neighbours in the gallery do not all go the same way.
            after = np.searchsorted(others, readings.value[row])
            wished[turn] = others[(after + turn) % len(others)]
    return wished


def null_shift(features: NDArray[np.floating], similarity: Array, space: NullSpace) -> Array:
    """(v, m) how the null component changes with each similarity when what the logits see stays as it is.

    The partial coefficients of the readings in the ridge regression of P_n f on (P_p f, readings), fitted on all images
    ``features`` (n, m) with ``similarity`` (n, v). Where the null component carries nothing of the aim they are nearly
    0: there an equivalent toward it should move it nowhere.
    """
    n = len(features)
    every = np.zeros(n, np.intp)
    sums = accumulate(features, similarity, every, 1)[0]
    ff, fs, _ = sums.centred_at(sums.f / n, sums.z / n)
    centred = similarity - similarity.mean(axis=0)
    ss = centred.T @ centred
    seen, hidden = space.principal_part(fs.T), space.null_part(fs.T)
    both = space.principal_part(space.principal_part(ff).T)
    cross = space.null_part(space.principal_part(ff.T).T)
    both[np.diag_indices_from(both)] += max(_PENALTY * float(np.trace(both)) / max(space.rank, 1), 1e-300)
    explained = np.linalg.solve(both, seen.T)
    rest = ss - seen @ explained
    rest[np.diag_indices_from(rest)] += max(_PENALTY * float(np.trace(ss)) / len(ss), 1e-300)
    result: Array = np.linalg.solve(rest, hidden - explained.T @ cross)
    return space.null_part(result)


def wished_null(
    features: NDArray[np.floating],
    readings: Readings,
    rows: NDArray[np.intp],
    values: NDArray[np.intp],
    shift: Array,
    space: NullSpace,
) -> Array:
    """(k, m) null component each image ``rows`` would have if it read like the images that show its wished value."""
    change = readings.typical[values] - readings.similarity[rows]
    return space.null_part(features[rows]) + change @ shift


def starting_images(
    rows: NDArray[np.intp], values: NDArray[np.intp], readings: Readings, features: NDArray[np.floating],
    logits: NDArray[np.floating], embeddings: NDArray[np.floating], null: Array, aim: Aim, space: NullSpace,
    units: Units, count: int,
) -> NDArray[np.intp]:  # fmt: skip
    """(k, count) real images to start from for each image of ``rows``, best first; -1 where there are no more.

    Among the images that show the wished value (the 4,096 of them with the nearest logits), those nearest to the
    original's logits (standard deviations) and to the wished null component ``null`` (k, m) (typical null norms) are
    taken; of these, first those that to the vision-language model look most like the original in all that the aim's
    texts do not say.
    """
    chosen = np.full((len(rows), count), -1, np.intp)
    for k, (row, value) in enumerate(zip(rows, values, strict=True)):
        candidates = np.flatnonzero((readings.value == value) & (np.arange(len(features)) != row))
        if value < 0 or not len(candidates):
            continue
        apart = np.empty(len(candidates))
        for start in range(0, len(candidates), _BLOCK):
            some = slice(start, start + _BLOCK)
            difference = (np.asarray(logits[candidates[some]], dtype=np.float64) - logits[row]) / units.spread
            apart[some] = np.mean(difference**2, axis=1)
        few = np.argsort(apart, kind="stable")[:_BLOCK]
        moved = (space.null_part(features[candidates[few]]) - null[k]) / units.typical_null
        cost = apart[few] + np.sum(moved**2, axis=1)
        near = candidates[few[np.argsort(cost, kind="stable")[: max(_SHORTLIST, count)]]]
        elsewhere = _without(unit(embeddings[np.append(near, row)]), aim.texts)
        alike = np.sum(np.square(elsewhere[:-1] - elsewhere[-1]), axis=1)
        ordered = near[np.argsort(alike, kind="stable")][:count]
        chosen[k, : len(ordered)] = ordered
    return chosen


def _without(embeddings: Array, texts: Array) -> Array:
    """Embeddings (n, d) with the directions that tell the texts apart taken out (of a single text, its own)."""
    directions = texts if len(texts) == 1 else texts - texts.mean(axis=0)
    _, s, vt = np.linalg.svd(directions, full_matrices=False)
    basis = vt[s > s.max(initial=0.0) * 1e-6]
    result: Array = embeddings - (embeddings @ basis.T) @ basis
    return result
