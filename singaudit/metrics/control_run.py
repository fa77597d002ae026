"""Run the controls: the audit's scores with something meaningless in the null space's or the translator's place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from singaudit.geometry.threads import threads_for, workers
from singaudit.machine import side_by_side
from singaudit.metrics.control_moves import DIRECTIONS, HAAR, MATCHED, SHUFFLED, Moved, Shuffles, Single, Subspaces
from singaudit.metrics.control_scores import GROUP_SCORES, MODEL_SCORES, ControlScores
from singaudit.metrics.controls import Against, compare
from singaudit.metrics.measure import Measured
from singaudit.metrics.subject import Subject, blocks
from singaudit.metrics.values import among

DRAWS = 99
# Enough for the draws' spread to dominate the images' noise; the observed score is taken on the same images.
MAX_IMAGES = 256


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
    groups: dict[str, dict[str, Against]]
    """By a concept group's name, by names of ``GROUP_SCORES``; without groups of which these images show less than two
    values."""


def run_controls(
    subject: Subject, measured: Measured, progress: Callable[[int], None] = lambda n: None
) -> list[Family]:
    """Every score against ``DRAWS`` draws of each family; empty when there is no null space to compare with.

    Random subspaces have the null space's dimension; moves are taken as they fall, and scaled image by image to the
    length of the move in the null space. A shuffled translator is fitted on images paired with others' embeddings.
    """
    if subject.space.null_dim == 0:
        return []
    with threads_for(subject.space.feature_dim):
        return _run(subject, measured, progress)


def _run(subject: Subject, measured: Measured, progress: Callable[[int], None]) -> list[Family]:
    block = next(blocks(subject, limit=MAX_IMAGES))
    shown = [(group.of, among(group.values, block.rows)) for group in measured.groups if group.numbers is not None]
    shown = [(group, values) for group, values in shown if values.judged]
    score = ControlScores(subject, block, [group for group, _ in shown], [values for _, values in shown])
    original, zero, mean = (x.astype(np.float32) for x in (block.original, block.zero, block.mean))
    moved = Moved(original, zero, mean)
    before = score.before(moved.original)
    observed = score(moved, before)
    subspaces, shuffles = Subspaces(subject, block), Shuffles(subject, block)

    def draw(gaussian: Single, noise: Single, order: NDArray[np.intp]) -> dict[str, NDArray[np.float64]]:
        found = {name: score(moved, before) for name, moved in subspaces.moved(gaussian, noise)}
        moved = shuffles.moved(order)
        return {**found, SHUFFLED: score(moved, score.before(moved.original))}

    # Random numbers are drawn one after the other, so that they are the same however many draws run side by side.
    draws = (partial(draw, *subspaces.random(), shuffles.random()) for _ in range(DRAWS))
    drawn: dict[str, list[NDArray[np.float64]]] = {name: [] for name in (HAAR, MATCHED, DIRECTIONS, SHUFFLED)}
    for done, found in enumerate(side_by_side(draws, workers(subject.space.feature_dim)), start=1):
        for name, scores in found.items():
            drawn[name].append(scores)
        progress(done)
    names = [shown[g][0].name for g in score.order]
    return [
        _family(name, observed, np.stack(draws), names, len(block.rows), subject.seed) for name, draws in drawn.items()
    ]


def _family(
    name: str,
    observed: NDArray[np.float64],
    draws: NDArray[np.float64],
    groups: list[str],
    images: int,
    seed: int,
) -> Family:
    placed = [
        against if np.isfinite([against.observed, against.mean, against.low, against.high]).all() else None
        for against in compare(observed, draws, seed)
    ]
    scores = {key: a for key, a in zip(MODEL_SCORES, placed, strict=False) if a is not None}
    per_group: dict[str, dict[str, Against]] = {}
    for position, group in enumerate(groups):
        for s, key in enumerate(GROUP_SCORES):
            against = placed[len(MODEL_SCORES) + s * len(groups) + position]
            # A margin has no move in it: only another translator can give another one.
            if against is not None and (key != "margin_deg" or name == SHUFFLED):
                per_group.setdefault(group, {})[key] = against
    return Family(name, len(draws), images, scores, per_group)
