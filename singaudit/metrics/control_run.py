"""Run the controls: the audit's scores with something meaningless in the null space's or the translator's place.

Everything is computed from translated vectors: a random subspace with basis B enters through f B (n, k) and
B' W (k, d), so that a draw costs two thin products, and its moves of both lengths come from one projection. In
float32: angles between embeddings are then right within 1e-3 degrees, far below the spread of any control.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singaudit.language.translator import fold_of
from singaudit.metrics.controls import Against, compare, random_subspace
from singaudit.metrics.measure import Measured
from singaudit.metrics.subject import Block, Subject, blocks
from singaudit.metrics.threads import threads_for
from singaudit.metrics.values import Layout, arrange

Single = NDArray[np.float32]

DRAWS = 99
# Enough for the draws' spread to dominate the images' noise; the observed score is taken on the same images.
MAX_IMAGES = 256
# Pairs that a shuffled translator is fitted on.
_MAX_SHUFFLED = 4096

HAAR, MATCHED, DIRECTIONS, SHUFFLED = (
    "random subspaces of the same dimension",
    "random subspaces, moves of the same length",
    "random directions, moves of the same length",
    "shuffled translator",
)
_REMOVAL = ("image_score_deg", "attribute_score_deg", "signed_attribute_score_deg", "ratio")
MODEL_SCORES = (*_REMOVAL, *(f"mean_removal.{name}" for name in _REMOVAL))
GROUP_SCORES = ("margin_deg", "contrast_deg", "carried_share", "null_follow")


@dataclass(frozen=True)
class Family:
    """One kind of control: what scores are when something meaningless takes the place of what was measured."""

    name: str
    """One of ``HAAR``, ``MATCHED``, ``DIRECTIONS``, ``SHUFFLED``."""
    draws: int
    """How many."""
    images: int
    """Images used, the same for observed scores and draws."""
    scores: dict[str, Against]
    """By names of ``MODEL_SCORES``; those left out do not exist for this control."""
    groups: list[dict[str, Against]]
    """Per concept group by names of ``GROUP_SCORES``; empty where the group has no numbers."""


@dataclass(frozen=True)
class _Moved:
    """Translated features (n, d) and their equivalents."""

    original: Single
    zero: Single
    mean: Single
    swapped: Single | None
    any_swapped: Single | None


def run_controls(
    subject: Subject, measured: Measured, progress: Callable[[int], None] = lambda n: None
) -> list[Family]:  # fmt: skip
    """Every score against ``DRAWS`` draws of each family; empty when there is no null space to compare with.

    Random subspaces have the null space's dimension; moves are taken as they fall, and scaled image by image to the
    length of the move in the null space. A shuffled translator is fitted on images paired with others' embeddings.
    """
    if subject.space.null_dim == 0:
        return []
    with threads_for(MAX_IMAGES, *subject.fitted.translators[0].weight.shape):
        return _run(subject, measured, progress)


def _run(subject: Subject, measured: Measured, progress: Callable[[int], None]) -> list[Family]:
    block = next(blocks(subject, limit=MAX_IMAGES))
    judged = [g for g, v in enumerate(measured.groups) if v is not None]
    layout = arrange([subject.groups[g] for g in judged], [measured.values[g] for g in judged]) if judged else None
    score = _Scores(subject, block, layout)
    translated = (block.original, block.zero, block.mean, block.swapped, block.any_swapped)
    observed = score(_Moved(*(x.astype(np.float32) for x in translated)))
    subspaces, shuffles = _Subspaces(subject, block), _Shuffles(subject, block)
    drawn: dict[str, list[NDArray[np.float64]]] = {name: [] for name in (HAAR, MATCHED, DIRECTIONS, SHUFFLED)}
    for draw in range(DRAWS):
        for name, moved in (*subspaces.draw(), (SHUFFLED, shuffles.draw())):
            drawn[name].append(score(moved))
        progress(draw + 1)
    return [
        _family(name, observed, np.stack(draws), judged, len(measured.groups), len(block.rows), subject.seed)
        for name, draws in drawn.items()
    ]


def _family(
    name: str, observed: NDArray[np.float64], draws: NDArray[np.float64], judged: list[int], groups: int, images: int,
    seed: int,
) -> Family:  # fmt: skip
    placed = [
        against if np.isfinite([against.observed, against.mean, against.low, against.high]).all() else None
        for against in compare(observed, draws, seed)
    ]
    scores = {key: a for key, a in zip(MODEL_SCORES, placed, strict=False) if a is not None}
    per_group: list[dict[str, Against]] = [{} for _ in range(groups)]
    for position, g in enumerate(judged):
        for s, key in enumerate(GROUP_SCORES):
            against = placed[len(MODEL_SCORES) + s * len(judged) + position]
            # A margin has no move in it: only another translator can give another one.
            if against is not None and (key != "margin_deg" or name == SHUFFLED):
                per_group[g][key] = against
    return Family(name, len(draws), images, scores, per_group)


class _Scores:
    """All scores of moved features as one vector: ``MODEL_SCORES``, then each of ``GROUP_SCORES`` for every group."""

    def __init__(self, subject: Subject, block: Block, layout: Layout | None) -> None:
        self._class_texts = subject.class_texts[subject.class_of[block.rows]].astype(np.float32)
        self._layout = layout
        self._images = len(block.rows)
        if layout is not None:
            across = layout.across[layout.starts]
            self._own = layout.own[block.rows]
            self._donated = np.where(across, self._own[block.any_donors], self._own[block.donors])
            self._donor_weight = layout.weight(self._donated)
            self._coefficients = layout.mean_margins(self._own).astype(np.float32)
            self._texts = np.ascontiguousarray(layout.texts.T, dtype=np.float32)
        self._before: tuple[Single, NDArray[np.float64], Single] | None = None

    def __call__(self, moved: _Moved) -> NDArray[np.float64]:
        u = _unit(moved.original)
        before = _angles(np.sum(u * self._class_texts, axis=1))
        scores: list[float] = []
        for equivalent in (moved.zero, moved.mean):
            v = _unit(equivalent)
            change = (before - _angles(np.sum(v * self._class_texts, axis=1))).astype(np.float64)
            apart, together = np.linalg.norm(u - v, axis=1), np.linalg.norm(u + v, axis=1)
            angle, size = (
                float(np.degrees(2 * np.arctan2(apart, together)).mean(dtype=np.float64)),
                np.abs(change).mean(),
            )
            scores += [angle, size, change.mean(), angle / size if size > 0 else np.nan]
        return np.concatenate([scores, *self._group_scores(moved, u)]) if self._layout else np.array(scores)

    def _group_scores(self, moved: _Moved, u: Single) -> Iterator[NDArray[np.float64]]:
        assert self._layout is not None
        margin, border = self._start(u, moved.original)
        contrast = margin - self._margins_of(_unit(moved.mean))
        yield margin
        yield contrast
        with np.errstate(divide="ignore", invalid="ignore"):
            yield contrast / margin
            if moved.swapped is None or moved.any_swapped is None:
                yield np.full_like(margin, np.nan)
            else:
                swapped = _unit(moved.swapped), _unit(moved.any_swapped)
                scores = self._layout.read(*swapped, self._texts, border)
                follow = self._donor_weight * self._layout.reads(scores, self._donated)
                yield follow.sum(axis=0) / self._donor_weight.sum(axis=0)

    def _start(self, u: Single, original: Single) -> tuple[NDArray[np.float64], Single]:
        """Margins and borders before any move, remembered: only shuffled translators change what draws begin with."""
        assert self._layout is not None
        if self._before is None or self._before[0] is not original:
            self._before = original, self._margins_of(u), self._layout.border(u, self._texts, self._own)
        return self._before[1:]

    def _margins_of(self, u: Single) -> NDArray[np.float64]:
        """(G,) weighted mean margin of the own values."""
        assert self._layout is not None
        cosine = u @ self._texts
        np.clip(cosine, -1, 1, out=cosine)
        by_value = np.degrees(np.einsum("ik,ik->k", np.arccos(cosine, out=cosine), self._coefficients))
        result: NDArray[np.float64] = self._layout.per_group(by_value.astype(np.float64)[None])[0]
        return result


def _unit(rows: Single) -> Single:
    norm = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    return (rows / np.where(norm > 0, norm, np.float32(1))[:, None]).astype(np.float32, copy=False)


def _angles(cosine: Single) -> Single:
    return np.degrees(np.arccos(np.clip(cosine, -1, 1))).astype(np.float32, copy=False)


class _Subspaces:
    """Draws of random subspaces and directions, with moves of any length."""

    def __init__(self, subject: Subject, block: Block) -> None:
        self._generator = np.random.default_rng([subject.seed, 1])
        self._dim, self._of = subject.space.null_dim, subject.space.feature_dim
        self._fold, self._donors, self._any = block.fold, block.donors, block.any_donors
        translators = subject.fitted.translators
        self._weights = [t.weight.astype(np.float32) for t in translators]
        self._features = block.features.astype(np.float32)
        self._means = np.stack([t.mean for t in translators]).astype(np.float32)
        self._original = block.original.astype(np.float32)
        self._whole = self._translate(self._features), self._per_fold(self._means)
        null, mean = block.null.astype(np.float32), block.null_mean.astype(np.float32)
        self._lengths = [
            np.linalg.norm(x, axis=1) for x in (null, null - mean, null[self._donors] - null, null[self._any] - null)
        ]

    def _translate(self, rows: Single) -> Single:
        """Rows (n, m) through the linear part of each image's translator -> (n, d)."""
        result = np.empty((len(rows), self._weights[0].shape[1]), np.float32)
        for k, weight in enumerate(self._weights):
            result[self._fold == k] = rows[self._fold == k] @ weight
        return result

    def _per_fold(self, rows: Single) -> Single:
        """Row k (m,) through translator k -> (n, d), that of each image's fold."""
        return np.stack([row @ weight for row, weight in zip(rows, self._weights, strict=True)])[self._fold]

    def draw(self) -> Iterator[tuple[str, _Moved]]:
        """One random subspace as it falls, the same with matched lengths, and one random direction per image."""
        basis, complement = random_subspace(self._dim, self._of, self._generator)
        inside, mean_inside = self._features @ basis, self._means @ basis
        thin = [basis.T @ weight for weight in self._weights]
        moved = np.empty_like(self._original)
        for k, weight in enumerate(thin):
            moved[self._fold == k] = inside[self._fold == k] @ weight
        mean_moved = np.stack([row @ weight for row, weight in zip(mean_inside, thin, strict=True)])[self._fold]
        if complement:
            moved, mean_moved = self._whole[0] - moved, self._whole[1] - mean_moved
        means = self._means[self._fold], mean_inside[self._fold]
        zero = moved, self._inside_length(self._features, inside, complement)
        mean = moved - mean_moved, self._inside_length(self._features - means[0], inside - means[1], complement)
        swaps = [
            (moved[d] - moved, self._inside_length(self._features[d] - self._features, inside[d] - inside, complement))
            for d in (self._donors, self._any)
        ]
        plain = [zero[0], mean[0], -swaps[0][0], -swaps[1][0]]
        yield HAAR, _Moved(self._original, *(self._original - move for move in plain))
        matched = [
            move * (wanted / np.where(length > 0, length, np.float32(1)))[:, None]
            for move, (_, length), wanted in zip(plain, (zero, mean, *swaps), self._lengths, strict=True)
        ]
        yield MATCHED, _Moved(self._original, *(self._original - move for move in matched))
        noise = self._generator.standard_normal(self._features.shape, dtype=np.float32)
        direction = self._translate(_unit(noise))
        zero_end, mean_end = (self._original - direction * length[:, None] for length in self._lengths[:2])
        yield DIRECTIONS, _Moved(self._original, zero_end, mean_end, None, None)

    def _inside_length(self, whole: Single, inside: Single, complement: bool) -> Single:
        """Lengths of the parts of ``whole`` (n, m) inside the subspace, from coordinates (n, k) in its basis."""
        square = np.einsum("ij,ij->i", inside, inside)
        if complement:
            square = np.einsum("ij,ij->i", whole, whole) - square
        length: Single = np.sqrt(np.maximum(square, 0))
        return length


class _Shuffles:
    """Draws of translators fitted on images paired with other images' embeddings, with the audit's own penalties."""

    def __init__(self, subject: Subject, block: Block) -> None:
        self._generator = np.random.default_rng([subject.seed, 4])
        fitted = subject.fitted
        if subject.probe is not None:
            features, z, fold = *subject.probe, np.full(len(subject.probe[0]), -1, np.intp)
        else:
            features, z, fold = subject.features, subject.embeddings, fold_of(subject.sha256)
        rows = np.sort(self._generator.permutation(len(features))[:_MAX_SHUFFLED])
        self._z = np.asarray(z[rows], dtype=np.float32)
        self._fold = fold[rows]
        f = np.asarray(features[rows], dtype=np.float32)
        self._donors, self._any = block.donors, block.any_donors
        # Per translator: which pairs it rests on, their mean, its images, and for these (f - mean) A^-1, (P_n f) A^-1,
        # (P_n mean) A^-1.
        self._parts: list[tuple[NDArray[np.bool_], Single, NDArray[np.bool_], Single, Single, Single]] = []
        self._training = f
        for k, translator in enumerate(fitted.translators):
            used = self._fold != k
            own = block.fold == k
            mean = f[used].mean(axis=0, dtype=np.float64)
            centred = f[used] - mean
            gram = (centred.T @ centred).astype(np.float64)
            gram[np.diag_indices_from(gram)] += translator.penalty * used.sum() / translator.images
            stacked = np.concatenate([block.features[own] - mean, block.null[own], block.null_mean[own]])
            solved = np.linalg.solve(gram, stacked.T).T.astype(np.float32)
            whole, null, null_mean = np.split(solved, 3)
            self._parts.append((used, mean.astype(np.float32), own, whole, null, null_mean))

    def draw(self) -> _Moved:
        """Translated features and equivalents by translators of one permutation."""
        z = self._z[self._generator.permutation(len(self._z))]
        folds = np.unique(self._fold)
        centred = z - z.mean(axis=0)
        products = {k: self._training[self._fold == k].T @ centred[self._fold == k] for k in folds}
        whole = sum(products.values())
        n, d = len(self._donors), z.shape[1]
        original, moved, mean = (np.empty((n, d), np.float32) for _ in range(3))
        for k, (used, mean_f, own, f, null, null_mean) in enumerate(self._parts):
            weight = whole - products[k] if k in products else whole
            average = z[used].mean(axis=0)
            # The rows' mean is already out of f on one side; F'Z needs it out as well.
            weight = weight - np.outer(mean_f, centred[used].sum(axis=0))
            original[own] = average + f @ weight
            moved[own] = null @ weight
            mean[own] = null_mean @ weight
        zero = original - moved
        return _Moved(original, zero, zero + mean, zero + moved[self._donors], zero + moved[self._any])
