"""Retrieved neighbours: the real images nearest to T f and to its equivalent T f~."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singaudit.language.translator import by_fold
from singaudit.metrics.measure import Measured
from singaudit.metrics.scores import text_angles, unit
from singaudit.metrics.subject import Subject

Array = NDArray[np.float64]

_BLOCK = 8192


@dataclass(frozen=True)
class Pair:
    """One image and what is nearest to it before and after its null component is replaced by the mean one."""

    row: int
    """Position of the image."""
    near_original: list[tuple[int, float]]
    """(position, angle in degrees) of the images nearest to T f, itself left out."""
    near_equivalent: list[tuple[int, float]]
    """The same for T f~."""
    concept_change: Array
    """(k,) AS of each concept in degrees: positive where f~ is closer."""


def telling_images(subject: Subject, measured: Measured, count: int, lead: int | None) -> list[int]:
    """Positions of the images to show: those with the largest contrast in the leading group, or the largest IS.

    Classes take turns, so that one class does not fill the gallery; ties and order follow the content hash.
    """
    contrast = measured.contrast[lead] if lead is not None else None
    strength = measured.image_score_mean if contrast is None else contrast
    order = np.lexsort((np.asarray(subject.sha256), -strength))
    seen: dict[int, int] = {}
    turns: list[tuple[int, int, int]] = []
    for row in order[: max(200, 20 * count)]:
        turn = seen.get(int(subject.class_of[row]), 0)
        seen[int(subject.class_of[row])] = turn + 1
        turns.append((turn, len(turns), int(row)))
    return [row for _, _, row in sorted(turns)[:count]]


def retrieve(subject: Subject, rows: list[int], neighbours: int) -> list[Pair]:
    """For each image its nearest images by the angle between translated features and image embeddings.

    Exact search in blocks. Candidates come from the image's own fold: those which its translator never saw.
    """
    if not rows:
        return []
    positions = np.asarray(rows)
    fold = subject.fitted.fold[positions]
    f = subject.features[positions].astype(np.float64)
    mean = np.stack([t.mean for t in subject.fitted.translators])[fold]
    translators = subject.fitted.translators
    before = by_fold(lambda k: translators[k], fold, f)
    after = by_fold(lambda k: translators[k], fold, f - subject.space.null_part(f - mean))
    queries = unit(np.concatenate([before, after]))
    query_fold, query_row = np.tile(fold, 2), np.tile(positions, 2)
    best = [(np.empty(0), np.empty(0, np.intp)) for _ in queries]
    for start in range(0, len(subject.embeddings), _BLOCK):
        block = slice(start, start + _BLOCK)
        cosine = queries @ subject.embeddings[block].astype(np.float64).T
        candidates = np.arange(start, start + cosine.shape[1])
        allowed = (subject.fitted.fold[block][None, :] == query_fold[:, None]) & (candidates != query_row[:, None])
        cosine[~allowed] = -np.inf
        for q, (values, found) in enumerate(best):
            merged, ids = np.concatenate([values, cosine[q]]), np.concatenate([found, candidates])
            keep = np.argsort(-merged, kind="stable")[:neighbours]
            best[q] = (merged[keep], ids[keep])
    near = [
        [(int(i), float(np.degrees(np.arccos(np.clip(v, -1, 1))))) for v, i in zip(*pair, strict=True) if v > -np.inf]
        for pair in best
    ]
    change = text_angles(before, subject.concept_texts) - text_angles(after, subject.concept_texts)
    k = len(rows)
    return [Pair(row, near[i], near[k + i], change[i]) for i, row in enumerate(rows)]
