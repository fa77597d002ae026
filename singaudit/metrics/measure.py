"""The measurement of one audit: every image's scores and every group's numbers, streamed over blocks of images."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from singaudit.language.translators.fit import by_fold
from singaudit.metrics.groups import GroupMeasure, measure_groups, plant
from singaudit.metrics.intervals import BLOCK, Bootstrap, Estimate
from singaudit.metrics.label_cells import label_cells
from singaudit.metrics.nonlinear import Planted
from singaudit.metrics.readability import TextTest, TextTests
from singaudit.metrics.scores import image_score, text_angles, unit
from singaudit.metrics.subject import Block, Subject, blocks
from singaudit.metrics.threads import threads_for
from singaudit.metrics.values import Values, read_values

Array = NDArray[np.float64]

MODEL_COLUMNS = (
    "is_zero", "as_zero", "abs_zero", "is_mean", "as_mean", "abs_mean", "null_energy", "energy", "residual",
    "residual_principal", "variance", "cosine", "cosine_shuffled", "agreement",
)  # fmt: skip


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
    model: Bootstrap
    """Columns as ``MODEL_COLUMNS``."""
    concepts: Bootstrap
    """3 columns a concept: AS under zero removal, AS under mean removal, its magnitude."""
    values: list[Values]
    """Per group: the images' own values."""
    texts: list[TextTest | None]
    """Per group: its texts against ones that mean nothing; None where labels state the values."""
    planted: Planted
    """Codes planted in the null part of these images, and whether they are found there."""
    groups: list[GroupMeasure | None]
    """Per group: its numbers; None where fewer than two values are present."""
    contrast: list[Array | None]
    """Per group: (n,) contrast in degrees; None for single concepts and where there are no numbers."""
    margin: list[Array | None]
    """Per group: (n,) margin(T f) of the own value in degrees; None likewise."""

    @property
    def r2(self) -> Estimate:
        """The translator's R2 on images it was not fitted on."""
        residual, variance = MODEL_COLUMNS.index("residual"), MODEL_COLUMNS.index("variance")
        return self.model.estimate(lambda c: 1 - c[..., residual] / c[..., variance])


def measure(subject: Subject) -> Measured:
    """All scores of an audit. Nothing loops over images; memory beyond per-image results is one block's."""
    with threads_for(min(len(subject.features), BLOCK), *subject.fitted.translators[0].weight.shape):
        return _measure(subject)


def _measure(subject: Subject) -> Measured:
    per_image = [np.empty(len(subject.features)) for _ in range(4)]
    model, concepts = Bootstrap(subject.seed), Bootstrap(subject.seed)
    for block in blocks(subject):
        columns = _model_columns(subject, block)
        model.add(columns, block.units)
        for stored, column in zip(per_image, (0, 1, 3, 4), strict=True):
            stored[block.rows] = columns[:, column]
        concepts.add(_concept_columns(subject.concept_texts, block), block.units)
    values = [read_values(subject, group) for group in subject.groups]
    if subject.labels is not None:
        attributes = [v.own for v, g in zip(values, subject.groups, strict=True) if g.kind == "group"]
        subject = replace(subject, cells=label_cells(subject.labels, attributes))
    tests = TextTests(subject)
    texts = [tests.of(group, own) for group, own in zip(subject.groups, values, strict=True)]
    groups, contrast, margin = measure_groups(subject, values)
    return Measured(
        per_image[0], per_image[1], per_image[2], per_image[3], model, concepts, values, texts,
        plant(subject), groups, contrast, margin,
    )  # fmt: skip


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
    fold = block.fold
    centred = block.features - np.stack([t.mean for t in subject.fitted.translators])[fold]
    mean_z = np.stack([t.mean @ t.weight + t.intercept for t in subject.fitted.translators])[fold]
    principal = by_fold(lambda k: subject.fitted.principal[k], fold, subject.space.principal_part(block.features))
    direction = unit(block.original)
    return np.column_stack([
        image_score(block.original, block.zero), as_zero, np.abs(as_zero),
        image_score(block.original, block.mean), as_mean, np.abs(as_mean),
        _squares(block.null - block.null_mean), _squares(centred),
        _squares(z - block.original), _squares(z - principal), _squares(z - mean_z),
        np.sum(direction * z, axis=1), np.sum(direction * z[block.others], axis=1),
        np.argmin(before, axis=1) == np.argmax(z @ subject.class_texts.T, axis=1),
    ])  # fmt: skip


def _squares(rows: Array) -> Array:
    result: Array = np.einsum("ij,ij->i", rows, rows)
    return result


def _concept_columns(texts: Array, block: Block) -> Array:
    before = text_angles(block.original, texts)
    zero, mean = before - text_angles(block.zero, texts), before - text_angles(block.mean, texts)
    return np.concatenate([zero, mean, np.abs(mean)], axis=1)
