"""The measurement of one audit: every image's scores and every group's numbers, streamed over blocks of images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from singaudit.geometry.threads import threads_for
from singaudit.language.translators.fit import by_fold
from singaudit.metrics.groups import MeasuredGroup, measure_groups, plant
from singaudit.metrics.intervals import Bootstrap, Estimate
from singaudit.metrics.label_cells import label_cells
from singaudit.metrics.nonlinear import Planted
from singaudit.metrics.readability import TextTests
from singaudit.metrics.rotated import Rotated
from singaudit.metrics.scores import image_score, text_angles, unit
from singaudit.metrics.subject import Block, Subject, blocks
from singaudit.metrics.values import read_values

Array = NDArray[np.float64]

MODEL_COLUMNS = (
    "is_zero", "as_zero", "abs_zero", "is_mean", "as_mean", "abs_mean", "null_energy", "energy", "residual",
    "residual_principal", "variance", "cosine", "cosine_shuffled", "agreement",
)  # fmt: skip
_PER_IMAGE = ("is_zero", "as_zero", "is_mean", "as_mean")
# Columns that are kept image by image, in the order of ``Measured``'s fields.


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
    planted: Planted
    """Codes planted in the null part of these images, and whether they are found there."""
    groups: tuple[MeasuredGroup, ...]
    """The concept groups with all that was measured of them, in the subject's order."""

    def group(self, name: str) -> MeasuredGroup:
        """The group of that name; no two have the same. Raises ``KeyError`` where there is none."""
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, MeasuredGroup]:
        return {group.of.name: group for group in self.groups}

    @property
    def r2(self) -> Estimate:
        """The translator's R2 on images it was not fitted on."""
        residual, variance = MODEL_COLUMNS.index("residual"), MODEL_COLUMNS.index("variance")
        return self.model.estimate(lambda c: 1 - c[..., residual] / c[..., variance])


def measure(subject: Subject) -> Measured:
    """All scores of an audit. Nothing loops over images; memory beyond per-image results is one block's."""
    with threads_for(*subject.features.shape[::-1]):
        return _measure(subject)


def _measure(subject: Subject) -> Measured:
    per_image = [np.empty(len(subject.features)) for _ in _PER_IMAGE]
    model, concepts = Bootstrap(subject.seed), Bootstrap(subject.seed)
    for block in blocks(subject):
        columns = _model_columns(subject, block)
        model.add(columns, block.units)
        for stored, name in zip(per_image, _PER_IMAGE, strict=True):
            stored[block.rows] = columns[:, MODEL_COLUMNS.index(name)]
        concepts.add(_concept_columns(subject.concept_texts, block), block.units)
    groups = [MeasuredGroup(group, read_values(subject, group)) for group in subject.groups]
    if subject.labels is not None:
        attributes = [group.values.own for group in groups if group.of.kind == "group"]
        subject = replace(subject, cells=label_cells(subject.labels, attributes))
    tests = TextTests(subject)
    groups = [replace(group, text_test=tests.of(group.of, group.values)) for group in groups]
    is_zero, as_zero, is_mean, as_mean = per_image
    rotated = Rotated(subject.features, subject.space)
    measured = tuple(measure_groups(subject, rotated, groups))
    return Measured(is_zero, as_zero, is_mean, as_mean, model, concepts, plant(subject, rotated), measured)


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
    columns = {
        "is_zero": image_score(block.original, block.zero),
        "as_zero": as_zero,
        "abs_zero": np.abs(as_zero),
        "is_mean": image_score(block.original, block.mean),
        "as_mean": as_mean,
        "abs_mean": np.abs(as_mean),
        "null_energy": _squares(block.null - block.null_mean),
        "energy": _squares(centred),
        "residual": _squares(z - block.original),
        "residual_principal": _squares(z - principal),
        "variance": _squares(z - mean_z),
        "cosine": np.sum(direction * z, axis=1),
        "cosine_shuffled": np.sum(direction * z[block.others], axis=1),
        "agreement": np.argmin(before, axis=1) == np.argmax(z @ subject.class_texts.T, axis=1),
    }
    return np.column_stack([columns[name] for name in MODEL_COLUMNS])


def _squares(rows: Array) -> Array:
    result: Array = np.einsum("ij,ij->i", rows, rows)
    return result


def _concept_columns(texts: Array, block: Block) -> Array:
    before = text_angles(block.original, texts)
    zero, mean = before - text_angles(block.zero, texts), before - text_angles(block.mean, texts)
    return np.concatenate([zero, mean, np.abs(mean)], axis=1)
