"""A model before and after a repair, on the same images: paired intervals, groups, calibration, and what is decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax
from scipy.stats import norm

from singaudit.classifier.interface import Activation
from singaudit.metrics.intervals import Estimate, bootstrap, share_estimate
from singaudit.repair.split import LEAST_HELD, Balanced

Array = NDArray[np.float64]
Hits = NDArray[np.bool_]

BINS = 15
"""Of equal width, as in Guo et al., "On calibration of modern neural networks" (arXiv 1706.04599)."""
MOST_LOST = 5.0
"""Points of accuracy that a class, or one value of a group in it, may lose beyond its interval."""
BEYOND = "beyond its interval"
"""Ends every reason that speaks of what a class or group loses."""
_Z = float(norm.ppf(0.975))


@dataclass(frozen=True)
class Paired:
    """A share of right answers before and after, on the same images."""

    before: Estimate
    """With its Wilson interval."""
    after: Estimate
    """With its Wilson interval."""
    change: Estimate
    """After less before, with a paired interval."""


@dataclass(frozen=True)
class GroupChange:
    """Images of one class, or of one class and one value of a balanced group."""

    name: str
    """The class."""
    group: str | None
    """The balanced group; None for the whole class."""
    value: str | None
    """Its value."""
    accuracy: Paired
    """On the images of this class and value."""


@dataclass(frozen=True)
class JudgedHead:
    """What a repair does to the answers, on images that it did not see."""

    accuracy: Paired
    """Over all images, as they are."""
    balanced: Paired | None
    """The mean over the cells of all balanced groups, each counting alike; None where there is one cell."""
    worst: tuple[float, float]
    """Lowest accuracy of a cell before, and after; cells of fewer than ten images aside."""
    classes: tuple[GroupChange, ...]
    """One a class."""
    groups: tuple[GroupChange, ...]
    """One for each class and value of each balanced group but the class, where there are images."""
    calibration: tuple[Estimate, Estimate]
    """Expected calibration error of the probability of the answer, before and after."""
    majority: float
    """Share of the most frequent class: what an answer that never looks gets right."""


@dataclass(frozen=True)
class Decision:
    """Whether a new model file is worth writing."""

    write: bool
    """Whether it may be written."""
    reasons: tuple[str, ...]
    """What speaks against it, a sentence each; empty where nothing does."""
    notes: tuple[str, ...] = ()
    """What should be known of it all the same."""


def predictions(logits: Array) -> NDArray[np.intp]:
    """(n,) the answer: the largest logit, and for one logit whether it is above 0."""
    result: NDArray[np.intp] = (
        (logits[:, 0] > 0).astype(np.intp) if logits.shape[1] == 1 else np.asarray(logits.argmax(axis=1), np.intp)
    )
    return result


def confidence(logits: Array, activation: Activation) -> Array:
    """(n,) the probability the model gives to its answer; without an activation that of a softmax."""
    if logits.shape[1] == 1:
        positive: Array = expit(logits[:, 0])
        return np.maximum(positive, 1 - positive)
    result: Array = (expit(logits) if activation == "sigmoid" else softmax(logits, axis=1)).max(axis=1)
    return result


def paired(before: Hits, after: Hits) -> Paired:
    """Shares of (n,) right answers, and their difference with Newcombe's interval for paired shares.

    Source: Newcombe, "Improved confidence intervals for the difference between binomial proportions based on paired
    data", Statistics in Medicine 17 (1998) 2635, method 10. Unlike a bootstrap it is no point where no answer changes.
    """
    n = len(before)
    one, two = share_estimate(before.astype(np.float64)), share_estimate(after.astype(np.float64))
    both, lost = int(np.sum(before & after)), int(np.sum(before & ~after))
    won, neither = int(np.sum(~before & after)), int(np.sum(~before & ~after))
    margins = float(both + lost) * (won + neither) * (both + won) * (lost + neither)
    cross = float(both * neither - lost * won)
    # Correlation, with a correction for continuity where it is positive.
    corrected = max(cross - n / 2, 0.0) if cross > 0 else cross
    correlation = corrected / np.sqrt(margins) if margins > 0 else 0.0
    up, down = two.high - two.value, two.value - two.low
    up_before, down_before = one.high - one.value, one.value - one.low
    value = two.value - one.value
    below = np.sqrt(max(down**2 - 2 * correlation * down * up_before + up_before**2, 0.0))
    above = np.sqrt(max(up**2 - 2 * correlation * up * down_before + down_before**2, 0.0))
    return Paired(one, two, Estimate(value, float(value - below), float(value + above), n))


def mean_over_cells(before: Hits, after: Hits, cells: NDArray[np.intp]) -> Paired:
    """Shares of right answers as means over cells that count alike, each of at least one image.

    Normal intervals from the variances of Agresti and Min, "Simple improved confidence intervals for comparing matched
    proportions", Statistics in Medicine 24 (2005) 729: half an answer is added to each of the four kinds.
    """
    counts = np.bincount(cells).astype(np.float64)
    used = counts > 0
    n = counts[used]

    def share(hits: NDArray[np.bool_]) -> Array:
        counted: Array = np.bincount(cells, weights=hits.astype(np.float64))[used].astype(np.float64)
        return counted

    def estimate(value: float, variances: Array) -> Estimate:
        half = _Z * float(np.sqrt(variances.sum())) / len(n)
        return Estimate(value, value - half, value + half, len(cells))

    def single(hits: Hits) -> Estimate:
        shrunk = (share(hits) + 1) / (n + 2)
        found = estimate(float(np.mean(share(hits) / n)), shrunk * (1 - shrunk) / (n + 2))
        return Estimate(found.value, max(found.low, 0.0), min(found.high, 1.0), found.n)

    won, lost = share(~before & after), share(before & ~after)
    variances = (won + lost + 1 - (won - lost) ** 2 / (n + 2)) / (n + 2) ** 2
    return Paired(single(before), single(after), estimate(float(np.mean((won - lost) / n)), variances))


def calibration_error(hits: Hits, sure: Array, seed: int) -> Estimate:
    """Expected calibration error of (n,) answers given with probability ``sure`` (n,), with a bootstrap interval.

    The mean over images of |accuracy - mean probability| of their bin.
    """
    own = np.clip((sure * BINS).astype(np.intp), 0, BINS - 1)
    columns = np.zeros((len(hits), BINS))
    columns[np.arange(len(hits)), own] = hits - sure
    return bootstrap(columns, seed).estimate(lambda means: np.abs(means).sum(axis=-1))


def judge_head(
    before: Array,
    after: Array,
    classes: NDArray[np.intp],
    names: Sequence[str],
    groups: Sequence[Balanced],
    cells: NDArray[np.intp],
    activation: Activation,
    seed: int = 0,
) -> JudgedHead:
    """Compare logits (n, c) before and after on images with ``classes`` (n,); ``groups`` other than the class."""
    right, now_right = predictions(before) == classes, predictions(after) == classes
    whole = [
        GroupChange(name, None, None, paired(right[own], now_right[own]))
        for name, own in ((name, classes == k) for k, name in enumerate(names))
        if own.any()
    ]
    parts = [
        GroupChange(name, group.name, value, paired(right[own], now_right[own]))
        for group in groups
        for k, name in enumerate(names)
        for v, value in enumerate(group.values)
        if (own := (classes == k) & (group.own == v)).any()
    ]
    known = cells >= 0
    several = len(np.unique(cells[known])) > 1
    counts = np.bincount(cells[known])
    judgeable = np.flatnonzero(counts >= LEAST_HELD)
    return JudgedHead(
        paired(right, now_right),
        mean_over_cells(right[known], now_right[known], cells[known]) if several else None,
        (_worst(right, cells, judgeable), _worst(now_right, cells, judgeable)),
        tuple(whole),
        tuple(parts),
        (
            calibration_error(right, confidence(before, activation), seed),
            calibration_error(now_right, confidence(after, activation), seed),
        ),
        float(np.bincount(classes).max() / len(classes)),
    )


def _worst(hits: Hits, cells: NDArray[np.intp], judgeable: NDArray[np.intp]) -> float:
    return float(min((hits[cells == k].mean() for k in judgeable), default=np.nan))


def decide(found: JudgedHead, most_lost: float = MOST_LOST) -> Decision:
    """Whether the new head is better where these images can tell, and nowhere worse; ``most_lost`` in points.

    A class, or a class with one value of a balanced group, that loses more than that speaks against it where its whole
    paired interval lies beyond.
    """
    reasons = []
    if found.accuracy.after.low <= found.majority:
        reasons.append(
            f"the new head is right on {found.accuracy.after.value:.1%} of the held-out images, no better than always "
            f"naming the most frequent class ({found.majority:.1%}): the labels do not fit these images"
        )
    if found.accuracy.change.high < 0:
        reasons.append(f"held-out accuracy falls by {_points(-found.accuracy.change.value)}")
    parts = (*found.classes, *found.groups)
    for item in parts:
        change = item.accuracy.change
        if change.high < -most_lost / 100:
            reasons.append(
                f"{_where(item)} loses {_points(-change.value)} [{-100 * change.high:.1f}, {-100 * change.low:.1f}], "
                f"more than {most_lost:g} {BEYOND}"
            )
    gains = [found.accuracy.change, *([found.balanced.change] if found.balanced else [])]
    if not reasons and not any(gain.low > 0 for gain in gains):
        gain = found.accuracy.change
        reasons.append(
            "nothing is gained that these images can tell: held-out accuracy changes by "
            f"{100 * gain.value:+.2f} points [{100 * gain.low:+.2f}, {100 * gain.high:+.2f}]"
        )
    return Decision(not reasons, tuple(reasons), _notes(parts, most_lost))


def _notes(parts: Sequence[GroupChange], most_lost: float) -> tuple[str, ...]:
    """What the images are too few to exclude."""
    widest = min(parts, key=lambda item: item.accuracy.change.low, default=None)
    if widest is None or widest.accuracy.change.low >= -most_lost / 100:
        return ()
    change = widest.accuracy.change
    return (
        f"what is too little to be told counts against no group: of {_where(widest)}, {change.n:,} images judge, and a "
        f"loss of up to {_points(-change.low)} lies within its interval; more images or a larger --holdout tell more",
    )


def _where(item: GroupChange) -> str:
    return item.name if item.group is None else f"{item.name}, {item.group} {item.value}"


def _points(share: float) -> str:
    return f"{100 * share:.1f} points"
