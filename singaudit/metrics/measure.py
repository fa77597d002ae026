"""The measurement of one audit: every image's scores and every group's numbers, in one streamed pass.

Rows are taken in the order of their content hashes, so that file order and names change nothing, a block is a random
sample of the images, and the next image of the same fold and class is a random donor.

Null components are swapped between images of one class. Across classes a swap leaves the features' distribution: the
translator reads the class from both parts together, and a mismatch of the two drowns what the null component carries
(of an embedded model whose colour is all but entirely null, 38 % of swaps across classes were read as the donor's
colour, 63 % within). Only for the class group itself donors are of any class.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singaudit.geometry.null_space import NullSpace
from singaudit.language.statistics import accumulate
from singaudit.language.translator import FOLDS, Fitted, Translator, by_fold, fold_of
from singaudit.metrics.intervals import BLOCK, Bootstrap
from singaudit.metrics.probes import fit_probes
from singaudit.metrics.scores import image_score, margins, text_angles, unit

Array = NDArray[np.float64]


@dataclass(frozen=True)
class GroupTexts:
    """A concept group as the measurement needs it."""

    name: str
    """Of the group."""
    texts: Array
    """(v, d) unit text embeddings of its values."""
    second_texts: Array
    """(v, d) the same values said in other words."""
    labels: NDArray[np.intp] | None
    """(n,) the images' own values where they are known; None: read zero-shot."""


@dataclass(frozen=True)
class Subject:
    """Everything the measurement looks at."""

    features: NDArray[np.float32]
    """(n, m)."""
    embeddings: NDArray[np.float32]
    """(n, d) unit image embeddings."""
    sha256: Sequence[str]
    """(n,)."""
    class_of: NDArray[np.intp]
    """(n,) class each image counts under."""
    class_texts: Array
    """(c, d) unit text embeddings of the classes."""
    concept_texts: Array
    """(k, d) unit text embeddings of the concepts."""
    groups: tuple[GroupTexts, ...]
    """Concept groups, the classes' own among them."""
    space: NullSpace
    """The head's split of feature space."""
    fitted: Fitted
    """The translators."""
    seed: int
    """Of the bootstrap."""


@dataclass(frozen=True)
class Block:
    """One block of images, translated."""

    rows: NDArray[np.intp]
    """(b,) positions of the images."""
    donors: NDArray[np.intp]
    """(b,) position within the block of each image's null donor, of the same fold and, where it has another, class."""
    any_donors: NDArray[np.intp]
    """(b,) the same without regard to class."""
    features: Array
    """(b, m)."""
    null: Array
    """(b, m) P_n f."""
    null_mean: Array
    """(b, m) P_n of the mean feature of the fold's training images."""
    original: Array
    """(b, d) T f."""
    zero: Array
    """(b, d) T of zero removal."""
    mean: Array
    """(b, d) T of mean removal."""
    swapped: Array
    """(b, d) T of the image with its donor's null component."""
    any_swapped: Array
    """(b, d) the same with a donor of any class."""


@dataclass(frozen=True)
class Measured:
    """Per-image values in the order of the images, and bootstraps of what is averaged over them."""

    image_score: Array
    """(n,) IS under zero removal."""
    attribute_score: Array
    """(n,) AS toward the own class under zero removal."""
    image_score_mean: Array
    """(n,) IS under mean removal."""
    attribute_score_mean: Array
    """(n,) AS toward the own class under mean removal."""
    own: list[NDArray[np.intp]]
    """Per group: (n,) own value."""
    contrast: list[Array]
    """Per group: (n,) contrast in degrees."""
    margin: list[Array]
    """Per group: (n,) margin(T f) of the own value in degrees."""
    model: Bootstrap
    """Columns as ``MODEL_COLUMNS``."""
    groups: list[Bootstrap]
    """Per group: columns as ``GROUP_COLUMNS``."""
    halves: list[tuple[Bootstrap, Bootstrap]]
    """Per group: the same for the translators refitted on either half of the images."""
    concepts: Bootstrap
    """3 columns a concept: AS under zero removal, AS under mean removal, its magnitude."""
    chance: list[float]
    """Per group: share of the most frequent own value."""


MODEL_COLUMNS = (
    "is_zero", "as_zero", "abs_zero", "is_mean", "as_mean", "abs_mean", "null_energy", "energy", "residual",
    "residual_principal", "variance", "cosine", "cosine_shuffled", "agreement",
)  # fmt: skip
GROUP_COLUMNS = (
    "margin", "margin_shuffled", "contrast", "follow", "follow_chance", "readable", "probe", "probe_principal",
    "probe_null", "margin_encoder",
)  # fmt: skip


def blocks(subject: Subject, choose: str | int = "full", limit: int | None = None) -> Iterator[Block]:
    """The images in hash order, ``BLOCK`` at a time, translated by the full translators or by half 0 or 1."""
    order = np.argsort(np.asarray(subject.sha256), kind="stable")[:limit]
    fitted, space = subject.fitted, subject.space

    def translator(k: int) -> Translator:
        return fitted.translators[k] if isinstance(choose, str) else fitted.halves[k][choose]

    null_means = space.null_part(np.stack([t.mean for t in fitted.translators]))
    for start in range(0, len(order), BLOCK):
        rows = order[start : start + BLOCK]
        f = subject.features[rows].astype(np.float64)
        fold = fitted.fold[rows]
        null, null_mean = space.null_part(f), null_means[fold]
        original = by_fold(translator, fold, f)
        moved = by_fold(translator, fold, null, linear=True)
        donors, any_donors = _donors(fold, subject.class_of[rows]), _donors(fold, np.zeros_like(fold))
        zero = original - moved
        mean = zero + by_fold(translator, fold, null_mean, linear=True)
        yield Block(
            rows, donors, any_donors, f, null, null_mean, original, zero, mean, zero + moved[donors],
            zero + moved[any_donors],
        )  # fmt: skip


def _donors(fold: NDArray[np.intp], kind: NDArray[np.intp]) -> NDArray[np.intp]:
    """For each row the next one of its fold and kind: random, because rows are in hash order.

    The last of a kind takes the kind's first; a row that is alone of its kind takes the next of its fold.
    """
    donors = np.empty(len(fold), np.intp)
    for k in np.unique(fold):
        mine = np.flatnonzero(fold == k)
        mine = mine[np.argsort(kind[mine], kind="stable")]
        following = np.roll(mine, -1)
        starts = np.flatnonzero(np.diff(kind[mine], prepend=-1))
        ends = np.append(starts[1:], len(mine)) - 1
        several = ends > starts
        following[ends[several]] = mine[starts[several]]
        donors[mine] = following
    return donors


def measure(subject: Subject) -> Measured:
    """All scores of an audit. Nothing loops over images; memory beyond per-image results is one block's."""
    n, groups = len(subject.features), subject.groups
    own = [_own_values(subject, group) for group in groups]
    shares = [_shares(subject, group, o) for o, group in zip(own, groups, strict=True)]
    probes = _Probes(subject, own)
    per_image = [np.empty(n) for _ in range(4)]
    contrast, margin = [np.empty(n) for _ in groups], [np.empty(n) for _ in groups]
    model, concepts = Bootstrap(subject.seed), Bootstrap(subject.seed)
    tables = [Bootstrap(subject.seed) for _ in groups]
    for block in blocks(subject):
        columns = _model_columns(subject, block)
        model.add(columns)
        for values, column in zip(per_image, (0, 1, 3, 4), strict=True):
            values[block.rows] = columns[:, column]
        concepts.add(_concept_columns(subject.concept_texts, block))
        correct = probes.correct(block)
        for g, group in enumerate(groups):
            table = np.column_stack(
                [
                    *_group_columns(group, subject.class_of, own[g], shares[g], block),
                    _readable(subject, group, block),
                    *correct[g],
                    _encoder_margin(subject, group, own[g], block),
                ]
            )
            tables[g].add(table)
            margin[g][block.rows], contrast[g][block.rows] = table[:, 0], table[:, 2]
    return Measured(
        per_image[0], per_image[1], per_image[2], per_image[3], own, contrast, margin, model, tables,
        _halves(subject, own, shares), concepts,
        [float(np.bincount(o).max() / n) for o in own],
    )  # fmt: skip


def _own_values(subject: Subject, group: GroupTexts) -> NDArray[np.intp]:
    """(n,) own value of each image: its label, or what the image's own embedding is closest to."""
    if group.labels is not None:
        return group.labels
    found = np.empty(len(subject.embeddings), np.intp)
    for start in range(0, len(found), BLOCK):
        rows = slice(start, start + BLOCK)
        found[rows] = np.argmax(subject.embeddings[rows].astype(np.float64) @ group.texts.T, axis=1)
    return found


def _model_columns(subject: Subject, block: Block) -> Array:
    """(b, len(MODEL_COLUMNS))."""
    fold = subject.fitted.fold[block.rows]
    own = subject.class_of[block.rows]
    z = subject.embeddings[block.rows].astype(np.float64)
    before = text_angles(block.original, subject.class_texts)
    angles = [
        np.take_along_axis(a, own[:, None], axis=1)[:, 0]
        for a in (
            before,
            text_angles(block.zero, subject.class_texts),
            text_angles(block.mean, subject.class_texts),
        )
    ]
    as_zero, as_mean = angles[0] - angles[1], angles[0] - angles[2]
    centred = block.features - np.stack([t.mean for t in subject.fitted.translators])[fold]
    mean_z = np.stack([t.mean @ t.weight + t.intercept for t in subject.fitted.translators])[fold]
    principal = by_fold(lambda k: subject.fitted.principal[k], fold, subject.space.principal_part(block.features))
    direction = unit(block.original)
    return np.column_stack([
        image_score(block.original, block.zero), as_zero, np.abs(as_zero),
        image_score(block.original, block.mean), as_mean, np.abs(as_mean),
        _squares(block.null - block.null_mean), _squares(centred),
        _squares(z - block.original), _squares(z - principal), _squares(z - mean_z),
        np.sum(direction * z, axis=1), np.sum(direction * z[block.donors], axis=1),
        np.argmin(before, axis=1) == np.argmax(z @ subject.class_texts.T, axis=1),
    ])  # fmt: skip


def _squares(rows: Array) -> Array:
    result: Array = np.einsum("ij,ij->i", rows, rows)
    return result


def _concept_columns(texts: Array, block: Block) -> Array:
    before = text_angles(block.original, texts)
    zero, mean = before - text_angles(block.zero, texts), before - text_angles(block.mean, texts)
    return np.concatenate([zero, mean, np.abs(mean)], axis=1)


def _shares(subject: Subject, group: GroupTexts, own: NDArray[np.intp]) -> Array:
    """(classes + 1, v) share of each own value within each class, and in the last row among all images."""
    classes = int(subject.class_of.max()) + 1
    counts = np.zeros((classes + 1, len(group.texts)))
    np.add.at(counts, (subject.class_of, own), 1.0)
    counts[-1] = counts[:-1].sum(axis=0)
    result: Array = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0)
    return result


def _group_columns(
    group: GroupTexts, class_of: NDArray[np.intp], own: NDArray[np.intp], shares: Array, block: Block
) -> list[Array]:
    """margin, margin of shuffled pairs, contrast, follow, follow expected of a random donor: (b,) each.

    ``shares`` (classes + 1, v) as ``_shares`` gives.
    """
    mine = own[block.rows][:, None]
    before = margins(text_angles(block.original, group.texts))
    after = margins(text_angles(block.mean, group.texts))
    margin = np.take_along_axis(before, mine, axis=1)[:, 0]
    contrast = margin - np.take_along_axis(after, mine, axis=1)[:, 0]
    across = group.name == "class"
    donors, swapped = (block.any_donors, block.any_swapped) if across else (block.donors, block.swapped)
    read = np.argmax(unit(swapped) @ group.texts.T, axis=1)
    donor_class = np.full(len(donors), -1) if across else class_of[block.rows[donors]]
    follow = (read == own[block.rows[donors]]).astype(np.float64)
    # The expectation over all permutations of own values and donors is exact and has no draw of its own.
    return [margin, before @ shares[-1], contrast, follow, shares[donor_class, read]]


def _readable(subject: Subject, group: GroupTexts, block: Block) -> Array:
    """(b,) 1 where the encoder reads the labelled value, or reads the same value with two sets of prompts."""
    z = subject.embeddings[block.rows].astype(np.float64)
    read = np.argmax(z @ group.texts.T, axis=1)
    other = group.labels[block.rows] if group.labels is not None else np.argmax(z @ group.second_texts.T, axis=1)
    return (read == other).astype(np.float64)


def _encoder_margin(subject: Subject, group: GroupTexts, own: NDArray[np.intp], block: Block) -> Array:
    """(b,) margin of the own value in the image's own embedding: what a perfect translator would show."""
    found = margins(text_angles(subject.embeddings[block.rows], group.texts))
    mine: Array = np.take_along_axis(found, own[block.rows][:, None], axis=1)[:, 0]
    return mine


def _halves(subject: Subject, own: list[NDArray[np.intp]], shares: list[Array]) -> list[tuple[Bootstrap, Bootstrap]]:
    """Per group: margins, contrast and follow with the translators of either half."""
    tables = [(Bootstrap(subject.seed), Bootstrap(subject.seed)) for _ in subject.groups]
    for half in (0, 1):
        for block in blocks(subject, half):
            for g, group in enumerate(subject.groups):
                tables[g][half].add(np.column_stack(_group_columns(group, subject.class_of, own[g], shares[g], block)))
    return tables


class _OneHot:
    """Own values of all groups as one-hot rows, made when a block is asked for."""

    def __init__(self, own: list[NDArray[np.intp]], sizes: list[int]) -> None:
        self._own, self._sizes = own, sizes
        self.shape = (len(own[0]) if own else 0, sum(sizes))

    def __getitem__(self, rows: slice) -> Array:
        parts = [np.eye(size)[own[rows]] for own, size in zip(self._own, self._sizes, strict=True)]
        return np.concatenate(parts, axis=1)


class _Probes:
    """Cross-validated linear probes of every group's value from f, P_p f and P_n f."""

    def __init__(self, subject: Subject, own: list[NDArray[np.intp]]) -> None:
        self._own, self._sizes = own, [len(group.texts) for group in subject.groups]
        self._space = subject.space
        self._fold = fold_of(subject.sha256)
        if not own:
            return
        folds = accumulate(subject.features, _OneHot(own, self._sizes), self._fold, FOLDS)
        parts = (None, subject.space.principal_part, subject.space.null_part)
        self._fitted = [fit_probes(folds, part) for part in parts]

    def correct(self, block: Block) -> list[list[Array]]:
        """Per group: (b,) 1 where the probe from f, from P_p f, from P_n f is right."""
        if not self._sizes:
            return []
        fold = self._fold[block.rows]
        principal = block.features - block.null
        result: list[list[Array]] = [[] for _ in self._sizes]
        for fitted, rows in zip(self._fitted, (block.features, principal, block.null), strict=True):
            scores = np.empty((len(rows), sum(self._sizes)))
            for k in np.unique(fold):
                weight, mean_f, mean_y = fitted[k]
                scores[fold == k] = (rows[fold == k] - mean_f) @ weight + mean_y
            start = 0
            for g, size in enumerate(self._sizes):
                read = np.argmax(scores[:, start : start + size], axis=1)
                result[g].append((read == self._own[g][block.rows]).astype(np.float64))
                start += size
        return result
