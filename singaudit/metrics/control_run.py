"""Run the norm-matched control: the audit's own scores, with random subspaces in the null space's place."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from singaudit.language.translator import by_fold
from singaudit.metrics.controls import Against, compare, matched_moves, random_subspace
from singaudit.metrics.measure import Measured, Subject, blocks
from singaudit.metrics.scores import image_score, margins, text_angles

Array = NDArray[np.float64]

DRAWS = 99
# Enough for the draws' spread to dominate the images' noise; the observed score is taken on the same images.
MAX_IMAGES = 1000


def run_controls(
    subject: Subject, measured: Measured, progress: Callable[[int], None] = lambda n: None
) -> tuple[dict[str, Against], list[Against], int]:
    """Scores under zero removal and group contrasts under mean removal, against ``DRAWS`` random subspaces.

    Each image's move in a random subspace is scaled to the length of its move in the null space. Returns (model
    scores by name, contrast per group, images used).
    """
    block = next(blocks(subject, limit=MAX_IMAGES))
    rows, fold = block.rows, subject.fitted.fold[block.rows]
    generator = np.random.default_rng([subject.seed, 1])
    centred = block.features - np.stack([t.mean for t in subject.fitted.translators])[fold]
    zero_norm = np.linalg.norm(block.null, axis=1)
    mean_norm = np.linalg.norm(block.null - block.null_mean, axis=1)
    own = subject.class_of[rows][:, None]
    class_before = np.take_along_axis(text_angles(block.original, subject.class_texts), own, axis=1)
    empty = np.zeros((0, subject.class_texts.shape[1]))
    stacked = np.concatenate([empty, *(g.texts for g in subject.groups)])
    before = _own_margins(subject, measured, rows, text_angles(block.original, stacked))
    dim, draws = subject.space.null_dim, []
    for draw in range(DRAWS):
        basis, complement = random_subspace(dim, subject.space.feature_dim, generator)

        def moved(vectors: Array, norms: Array, basis: Array = basis, complement: bool = complement) -> Array:
            move = matched_moves(vectors, norms, basis, complement)
            return block.original - by_fold(lambda k: subject.fitted.translators[k], fold, move, linear=True)

        zero, mean = moved(block.features, zero_norm), moved(centred, mean_norm)
        after = _own_margins(subject, measured, rows, text_angles(mean, stacked))
        change = class_before - np.take_along_axis(text_angles(zero, subject.class_texts), own, axis=1)
        angle, leak = float(image_score(block.original, zero).mean()), float(np.abs(change).mean())
        ratio = angle / leak if leak > 0 else 0.0
        draws.append([angle, leak, float(change.mean()), ratio, *(before - after).mean(axis=0)])
        progress(draw + 1)
    table = np.asarray(draws)
    angle, leak = float(measured.image_score[rows].mean()), float(np.abs(measured.attribute_score[rows]).mean())
    observed = {
        "image_score_deg": angle,
        "attribute_score_deg": leak,
        "signed_attribute_score_deg": float(measured.attribute_score[rows].mean()),
        "ratio": angle / leak if leak > 0 else 0.0,
    }
    scores = {name: compare(value, table[:, i]) for i, (name, value) in enumerate(observed.items())}
    contrasts = [compare(float(c[rows].mean()), table[:, len(observed) + g]) for g, c in enumerate(measured.contrast)]
    return scores, contrasts, len(rows)


def _own_margins(subject: Subject, measured: Measured, rows: NDArray[np.intp], angles: Array) -> Array:
    """(b, groups) margin of each image's own value, from angles (b, all values of all groups)."""
    found, start = [], 0
    for group, own in zip(subject.groups, measured.own, strict=True):
        mine = margins(angles[:, start : start + len(group.texts)])
        found.append(np.take_along_axis(mine, own[rows][:, None], axis=1)[:, 0])
        start += len(group.texts)
    return np.stack(found, axis=1) if found else np.zeros((len(rows), 0))
