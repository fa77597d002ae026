"""Gallery entries: the most telling images with what was retrieved for them, as small PNGs inside the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from singaudit.dataset.interface import ImageSource
from singaudit.engine.interface import Pass
from singaudit.metrics.groups import MeasuredGroup
from singaudit.metrics.measure import Measured
from singaudit.metrics.subject import Subject, text_rows
from singaudit.pictures.neighbours import Pair, retrieve, telling_images
from singaudit.report.build.thumbnails import Thumbnails
from singaudit.report.result.audit import GalleryItem, Neighbour
from singaudit.report.result.findings import FindingPart

_ITEMS = 12
_NEIGHBOURS = 3
_WORDS = 3
# A concept that moves by less than this is not worth a word.
_WORD_DEG = 1.0


def gallery_items(
    source: ImageSource, images: Pass, subject: Subject, measured: Measured, findings: Sequence[FindingPart],
    class_names: Sequence[str], logits: NDArray[np.float32], activation: str,
) -> list[GalleryItem]:  # fmt: skip
    """Choose images, retrieve their neighbours, decode both again and shrink them. Empty without a null space."""
    if subject.space.null_dim == 0:
        return []
    lead = _lead(findings, measured)
    why = (
        f"large contrast in {lead.of.name}" if lead is not None else "large image score under mean removal"
    ) + ", classes taking turns"
    pictures, columns = Thumbnails(source, images.indices), text_rows(subject.groups)
    items = []
    for pair in retrieve(subject, telling_images(subject, measured, _ITEMS, lead), _NEIGHBOURS):
        lost, gained = _words(pair, measured, findings, columns)
        items.append(
            GalleryItem(
                name=images.names[pair.row],
                class_name=class_name(subject, class_names, pair.row),
                predicted=predicted_name(class_names, logits[pair.row]),
                probability=probability(logits[pair.row], activation),
                image_score_deg=float(measured.image_score_mean[pair.row]),
                attribute_score_deg=float(measured.attribute_score_mean[pair.row]),
                why=why,
                words_lost=lost,
                words_gained=gained,
                thumbnail=pictures(pair.row),
                near_original=_near(pair.near_original, pictures, images, subject, class_names),
                near_equivalent=_near(pair.near_equivalent, pictures, images, subject, class_names),
            )
        )
    return items


def _lead(findings: Sequence[FindingPart], measured: Measured) -> MeasuredGroup | None:
    """The group with the largest carried share of those whose reading is carried; the later of equals."""
    leaking = [
        (f.carried_share.value, i)
        for i, f in enumerate(findings)
        if f.carried_share and f.finding in ("strong", "partial") and measured.group(f.group).contrast is not None
    ]
    return measured.group(findings[max(leaking)[1]].group) if leaking else None


def _words(
    pair: Pair, measured: Measured, findings: Sequence[FindingPart], columns: Mapping[str, slice]
) -> tuple[list[str], list[str]]:
    """Words the image loses (values it has) and gains (values it does not have), with their groups, strongest first.

    Only of groups in whose reading something was found to be carried: elsewhere a word would be noise. Single concepts
    are left out: being present is no value among others. ``columns`` are the groups' rows of the concept texts.
    """
    lost, gained = [], []
    for finding in findings:
        measured_group = measured.group(finding.group)
        own = int(measured_group.values.own[pair.row])
        if finding.kind == "concept" or own < 0 or finding.finding not in ("strong", "partial"):
            continue
        group, change = measured_group.of.group, pair.concept_change[columns[finding.group]]
        best = int(np.argmax(np.where(np.arange(len(change)) == own, -np.inf, change)))
        name = group.name.replace("_", " ")
        if change[own] < -_WORD_DEG:
            lost.append((-change[own], f"{name}: {group.values[own]}"))
            if change[best] > _WORD_DEG:
                gained.append((change[best], f"{name}: {group.values[best]}"))
    return [w for _, w in sorted(lost, reverse=True)[:_WORDS]], [w for _, w in sorted(gained, reverse=True)[:_WORDS]]


def class_name(subject: Subject, names: Sequence[str], row: int) -> str:
    """The class the image at position ``row`` counts under."""
    return names[int(subject.class_of[row])]


def predicted_name(names: Sequence[str], logits: NDArray[np.float32]) -> str:
    """The predicted class of logits (c,)."""
    if len(logits) > 1:
        return names[int(np.argmax(logits))]
    return names[-1] if logits[0] > 0 or len(names) == 1 else names[0]


def probability(logits: NDArray[np.float32], activation: str) -> float | None:
    """Probability of the predicted class, or None where the head's activation gives none."""
    values = logits.astype(np.float64)
    if activation == "softmax" and len(values) > 1:
        shifted = np.exp(values - values.max())
        return float(shifted.max() / shifted.sum())
    if activation == "sigmoid":
        return float(1 / (1 + np.exp(-np.abs(values).max())))
    return None


def _near(
    found: list[tuple[int, float]], pictures: Thumbnails, images: Pass, subject: Subject, names: Sequence[str]
) -> list[Neighbour]:
    return [
        Neighbour(
            name=images.names[row],
            class_name=class_name(subject, names, row),
            angle_deg=angle,
            thumbnail=pictures(row),
        )
        for row, angle in found
    ]
