"""Retrieved neighbours: the real images nearest to T f and to its equivalent T f~."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singaudit.language.translators.fit import by_fold
from singaudit.metrics.groups import MeasuredGroup
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


def telling_images(subject: Subject, measured: Measured, count: int, lead: MeasuredGroup | None) -> list[int]:
    """Positions of the images to show: those with the largest contrast in the leading group, or the largest IS.

    Classes take turns, and so do the values of the leading group, so that none fills the gallery; ties and order follow
    the content hash.
    """
    contrast = lead.contrast if lead is not None else None
    strength = measured.image_score_mean if contrast is None else contrast
    value = lead.values.own if lead is not None and contrast is not None else np.zeros_like(subject.class_of)
    order = np.lexsort((np.asarray(subject.sha256), -strength))
    # Images that show nothing of it, or of which it is not known, come last whatever their turn.
    tells = strength[order] > 0
    rows = _in_turns(order[tells], subject.class_of, value, count)
    return [*rows, *map(int, order[~tells][: count - len(rows)])]


def _in_turns(order: NDArray[np.intp], first: NDArray[np.intp], second: NDArray[np.intp], count: int) -> list[int]:
    """``count`` rows of ``order``, each of the pair of labels that was taken least, earlier rows before later ones."""
    if not len(order):
        return []
    cells, cell = np.unique(np.stack([first[order], second[order]], axis=1), axis=0, return_inverse=True)
    grouped = np.split(order[np.argsort(cell, kind="stable")], np.cumsum(np.bincount(cell))[:-1])
    waiting = [rows.tolist()[::-1] for rows in grouped]
    place = np.empty(len(first), np.intp)
    place[order] = np.arange(len(order))
    ahead = np.array([place[rows[-1]] for rows in waiting], dtype=np.float64)
    taken = np.zeros(len(cells))
    chosen: list[int] = []
    while len(chosen) < min(count, len(order)):
        k = int(np.lexsort((ahead, taken))[0])
        chosen.append(waiting[k].pop())
        taken += (cells == cells[k]).sum(axis=1)
        ahead[k] = place[waiting[k][-1]] if waiting[k] else np.inf
        taken[k] = taken[k] if waiting[k] else np.inf
    return chosen


def translated_by_removal(subject: Subject, rows: NDArray[np.intp]) -> tuple[Array, Array]:
    """(T f, T f~), (k, d) each, of the images ``rows``; f~ has the mean null component of the image's fold."""
    fold, translators = subject.fitted.fold[rows], subject.fitted.translators
    f = subject.features[rows].astype(np.float64)
    mean = np.stack([t.mean for t in translators])[fold]
    before = by_fold(lambda k: translators[k], fold, f)
    return before, by_fold(lambda k: translators[k], fold, f - subject.space.null_part(f - mean))


def retrieve(subject: Subject, rows: list[int], neighbours: int) -> list[Pair]:
    """For each image its nearest images by the angle between translated features and image embeddings.

    Exact search in blocks. Candidates come from the image's own fold, those which its translator never saw, and are of
    other units.
    """
    if not rows:
        return []
    positions = np.asarray(rows)
    fold = subject.fitted.fold[positions]
    before, after = translated_by_removal(subject, positions)
    queries = unit(np.concatenate([before, after]))
    query_fold, query_row = np.tile(fold, 2), np.tile(positions, 2)
    best = [(np.empty(0), np.empty(0, np.intp)) for _ in queries]
    for start in range(0, len(subject.embeddings), _BLOCK):
        block = slice(start, start + _BLOCK)
        cosine = queries @ subject.embeddings[block].astype(np.float64).T
        candidates = np.arange(start, start + cosine.shape[1])
        # A copy of the image, or another frame of its scene, would be its nearest and say nothing.
        other = subject.unit_of[block][None, :] != subject.unit_of[query_row][:, None]
        allowed = (subject.fitted.fold[block][None, :] == query_fold[:, None]) & other
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
