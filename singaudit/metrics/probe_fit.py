"""What fitting adds to the variance of a probe's accuracy: how much an image moves it as one that probes are fitted on.

A bootstrap of the images that a probe reads right takes the probes as given, and its intervals hold their accuracy,
not what such an audit shows on average (Bayle, Bayle, Janson, Mackey 2020): of 300 images with 100 features they are a
sixth too narrow. Nothing estimates the whole variance from the hits of one cross-validation (Bengio and Grandvalet
2004). So to each image's hit is added its influence by way of the probes that it is fitted with: the derivative of
their accuracy on the other folds to the image's weight (the infinitesimal jackknife: Jaeckel 1972; of cross-
validation: Austern and Zhou 2020). These influences sum to 0: what is reported does not move, its resamples do.

A share of images that are read right has no derivative. Taken is that of the share smoothed by a normal kernel over the
margin of the own value's score, ``SMOOTH`` standard deviations of margins wide: narrower ones rest on the few images
that happen to lie at the border, whose noise adds to the variance it should measure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singaudit.language.translators.statistics import solve_ridge
from singaudit.metrics.rotated import Part, in_blocks
from singaudit.metrics.values import Layout

Array = NDArray[np.float64]

SMOOTH = 1.5


@dataclass(frozen=True)
class Discriminants:
    """Of one part, fitted on the images of all folds but one; each of the K values' has its group's penalty."""

    n: float
    """Images fitted on."""
    counts: Array
    """(K,) of them with each value."""
    mean: Array
    """(p,) of their features in this part."""
    centres: Array
    """(K, p) of the images with each value, less that mean; 0 of a value that none has."""
    scatter: Array
    """(p, p) sums of products of features less their mean."""
    penalty: Array
    """(K,) of the ridge."""
    weight: Array
    """(p, K)."""
    offset: Array
    """(K,), -inf of a value that none has."""


def fit_influence(
    part: Part, fold: NDArray[np.intp], layout: Layout, fitted: list[Discriminants]
) -> NDArray[np.float32]:
    """(n, G): what one more image like each would add, by the probes fitted with it, to the weighted sum of hits.

    ``part`` that is read, ``fold`` (n,) of ``len(fitted)``.
    """
    found = np.zeros(layout.own.shape)
    for k, probe in enumerate(fitted):
        read, others = np.flatnonzero(fold == k), np.flatnonzero(fold != k)
        if not len(read) or not len(others):
            continue
        pull, total = _pull(part, read, layout, probe)
        slope = _solved(probe, pull)
        onto = [(part.onto(w), probe.mean @ w) for w in (slope, probe.weight)]
        for rows in in_blocks(others):
            x = part.rows(rows)
            along, scores = (x @ directions - middle for directions, middle in onto)
            each = _by_value(probe, slope, total, along, scores, layout.one_hot(layout.own[rows]))
            found[rows] += layout.per_group(each)
    return found.astype(np.float32)


def _pull(part: Part, rows: NDArray[np.intp], layout: Layout, probe: Discriminants) -> tuple[Array, Array]:
    """((p, K), (K,)): derivative of the smoothed, weighted sum of hits of ``rows`` to weights and to offsets."""
    onto = part.onto(probe.weight)
    margin = np.concatenate(
        [_margins(part.rows(some) @ onto + probe.offset, layout, layout.own[some])[0] for some in in_blocks(rows)]
    )
    known = np.isfinite(margin)
    count = np.maximum(known.sum(axis=0), 1)
    middle = np.where(known, margin, 0.0).sum(axis=0) / count
    width = SMOOTH * np.sqrt(np.where(known, (margin - middle) ** 2, 0.0).sum(axis=0) / count)
    width = np.where(width > 0, width, 1.0)
    moved, total = np.zeros((part.table.shape[1], len(layout.texts))), np.zeros(len(layout.texts))
    for some in in_blocks(rows):
        x, own = part.rows(some), layout.own[some]
        margin, change = _margins(x @ onto + probe.offset, layout, own)
        known = np.isfinite(margin)
        density = np.exp(-0.5 * (np.where(known, margin, 0.0) / width) ** 2) / (np.sqrt(2 * np.pi) * width)
        change *= np.repeat(np.where(known, density * layout.weight(own), 0.0), layout.sizes, axis=1)
        moved += x.T @ change
        total += change.sum(axis=0)
    # The offset is -(mean + centre / 2) w; that the mean moves as well is counted by ``_by_value``.
    return part.pulled(moved) - np.outer(probe.mean, total) - probe.centres.T * total / 2, total


def _margins(scores: Array, layout: Layout, own: NDArray[np.int32]) -> tuple[Array, Array]:
    """((t, G), (t, K)): how far the own value's score is above the best other one's, NaN or infinite where one is not
    known, and by which scores it rises (1) and falls (-1).
    """
    mine = layout.one_hot(own)
    rivals = np.where(mine > 0, -np.inf, scores)
    best = np.maximum.reduceat(rivals, layout.starts, axis=1)
    with np.errstate(invalid="ignore"):
        margin = np.where(own >= 0, layout.of_own(scores, own) - best, np.nan)
    return margin, mine - (rivals >= np.repeat(best, layout.sizes, axis=1))


def _solved(probe: Discriminants, pull: Array) -> Array:
    """(p, K) of (scatter + penalty)^-1 ``pull``."""
    result = np.empty_like(pull)
    for penalty in np.unique(probe.penalty):
        some = probe.penalty == penalty
        result[:, some] = solve_ridge(probe.scatter, pull[:, some], float(penalty))
    return result


def _by_value(probe: Discriminants, slope: Array, total: Array, along: Array, scores: Array, member: Array) -> Array:
    """(t, K): how the sum of hits moves with the weight of images by way of each value's discriminant.

    With S the scatter and its penalty, c a value's centre and w = n S^-1 c, an image x adds to w
    S^-1 [n dc + c - x (x w) - penalty w / n], all about the mean, where dc = (x - c) / n_v - x / n for one that has the
    value, else -x / n. ``along`` and ``scores`` (t, K) are x times ``slope`` and times w.
    """
    n, share = probe.n, member / np.maximum(probe.counts, 1)
    at_centre, own_score = (np.einsum("kp,pk->k", probe.centres, w) for w in (slope, probe.weight))
    both = np.einsum("pk,pk->k", slope, probe.weight)
    by_weight = n * share * (along - at_centre) - along + at_centre - along * scores - probe.penalty / n * both
    by_offset = scores / n + (share * (scores - own_score) - scores / n) / 2
    return by_weight - total * by_offset
