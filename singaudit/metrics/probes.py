"""Linear probes: which values can be decoded from f, from P_p f and from P_n f, and which of them within classes.

All three are read off one rotation of feature space, whose first coordinates are the principal space and whose last the
null space: parts are slices, and their statistics sub-blocks. Probes are cross-fitted by unit, and the ridge penalty of
each part and group is the one that reads best on the other folds: a fixed one interpolates where there are about as
many images as features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from singaudit.language.translators.fit import FOLDS
from singaudit.language.translators.statistics import solve_ridge
from singaudit.machine import side_by_side
from singaudit.metrics.beyond_class import Within
from singaudit.metrics.probe_fit import Discriminants, fit_influence
from singaudit.metrics.rotated import Rotated, in_blocks
from singaudit.metrics.values import Layout

Array = NDArray[np.float64]

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)
"""Tried, in units of n times the mean variance of a feature: small beside real directions, to nearly nearest means."""
PLENTY = 20
"""Units per feature from which on the smallest penalty serves: nothing is left to choose, and fitting adds little to
what intervals hold."""
PARTS = ("f", "P_p f", "P_n f")


@dataclass(frozen=True)
class Hits:
    """What probes of f, of P_p f and of P_n f read right where they were not fitted: (3, n, G)."""

    plain: NDArray[np.float32]
    """1 where the own value has the largest score."""
    within: NDArray[np.float32]
    """The same with the class taken out, normalised: 0 at chance."""
    fitting: NDArray[np.float32]
    """What each image adds to the weighted sum of hits where it is fitted on; 0 where units are plenty."""


@dataclass(frozen=True)
class _Sums:
    """Of some folds' images."""

    n: float
    f: Array
    """(m,)."""
    ff: Array
    """(m, m)."""
    values: Array
    """(K, m) sums over the images of each value."""
    counts: Array
    """(K,)."""
    classes: Array
    """(c, m) sums over the images of each class."""
    cells: Array
    """(c, K) images of each class with each value."""
    sizes: Array
    """(c,) images of each class."""


def read_by_probes(
    rotated: Rotated, layout: Layout, within: Within, fold: NDArray[np.intp], units: int, workers: int = 1
) -> Hits:
    """Cross-fitted probes of every group of ``layout``; ``fold`` (n,) by unit, of which there are ``units``.

    ``workers`` parts are read at a time.
    """
    folds = [_accumulate(rotated, layout, within, np.flatnonzero(fold == k)) for k in range(FOLDS)]
    whole = _total(folds)

    def others(k: int) -> _Sums:
        """What a fold's probes are fitted on: made when it is wanted, for it is as large as the features' products."""
        return _less(whole, folds[k])

    few = units < PLENTY * rotated.width
    hits = Hits(*(np.zeros((3, *layout.own.shape), np.float32) for _ in range(3)))

    def read(p: int, part: slice) -> None:
        if part.stop > part.start:
            _read_part(rotated, part, (layout, within, fold), others, few, _of_part(hits, p))

    for _ in side_by_side((partial(read, p, part) for p, part in enumerate(rotated.parts())), workers):
        pass
    return hits


def _of_part(hits: Hits, p: int) -> Hits:
    """(n, G) each: those of one part, to be filled in."""
    return Hits(hits.plain[p], hits.within[p], hits.fitting[p])


def _read_part(
    rotated: Rotated,
    part: slice,
    known: tuple[Layout, Within, NDArray[np.intp]],
    others: Callable[[int], _Sums],
    few: bool,
    hits: Hits,
) -> None:
    """Fill in ``hits`` (n, G) of one part; ``known`` are values, values within classes, and folds (n,).

    ``few``: there are so few units that penalties are chosen, and that fitting adds to what intervals hold.
    """
    layout, within, fold = known
    seen = rotated.part(part)
    penalties = PENALTIES if few else PENALTIES[:1]
    tried = np.zeros((len(penalties), *layout.own.shape), np.float32)
    probes = []
    for k in range(FOLDS):
        probes.append(_plain(others(k), part, penalties))
        onto = [seen.onto(probe.weight) for probe in probes[k]]
        for rows in in_blocks(np.flatnonzero(fold == k)):
            x = seen.rows(rows)
            for i, probe in enumerate(probes[k]):
                tried[i, rows] = layout.reads(x @ onto[i] + probe.offset, layout.own[rows])
    best = _choose(tried, layout.weight(layout.own), fold)
    hits.plain[:] = np.take_along_axis(tried, best[fold][None], axis=0)[0]
    if few:
        fitted = [_chosen(of_fold, np.repeat(best[k], layout.sizes)) for k, of_fold in enumerate(probes)]
        hits.fitting[:] = fit_influence(seen, fold, layout, fitted)
    for k in range(FOLDS) if within.value_weight.any() else ():
        inner = _within(others(k), part, penalties[int(np.median(best[k]))], layout)
        along = seen.onto(inner[0])
        for rows in in_blocks(np.flatnonzero(fold == k)):
            scores = seen.rows(rows) @ along - inner[1][within.class_of[rows]] - inner[2]
            hits.within[rows] = within.hits(scores, rows, layout.own[rows])


def _choose(tried: NDArray[np.float32], weight: Array, fold: NDArray[np.intp]) -> NDArray[np.intp]:
    """(F, G) per fold the penalty that reads most on the other folds; of equal ones the largest."""
    by_fold = np.stack([np.einsum("pig,ig->pg", tried[:, fold == k], weight[fold == k]) for k in range(FOLDS)])
    others = by_fold.sum(axis=0) - by_fold
    best = others.max(axis=1, keepdims=True)
    # Ties but for the rounding of sums of weights go to the larger penalty.
    good = others >= best - 1e-9 * np.abs(best)
    return np.asarray(good.shape[1] - 1 - np.argmax(good[:, ::-1], axis=1), np.intp)


def _accumulate(rotated: Rotated, layout: Layout, within: Within, wanted: NDArray[np.intp]) -> _Sums:
    m, width, classes = rotated.width, len(layout.texts), len(within.counts)
    f, ff = np.zeros(m), np.zeros((m, m))
    values, counts, by_class = np.zeros((width, m)), np.zeros(width), np.zeros((classes, m))
    cells, sizes = np.zeros((classes, width)), np.zeros(classes)
    for rows, x in rotated.rows(wanted):
        own, place = layout.own[rows], within.class_of[rows]
        mine = layout.one_hot(own)
        f += x.sum(axis=0)
        ff += x.T @ x
        values += mine.T @ x
        counts += mine.sum(axis=0)
        order = np.argsort(place, kind="stable")
        starts = np.flatnonzero(np.diff(place[order], prepend=-1))
        here = place[order][starts]
        by_class[here] += np.add.reduceat(x[order], starts, axis=0)
        cells[here] += np.add.reduceat(mine[order], starts, axis=0)
        sizes += np.bincount(place, minlength=classes)
    return _Sums(float(len(wanted)), f, ff, values, counts, by_class, cells, sizes)


def _total(parts: list[_Sums]) -> _Sums:
    return _Sums(*(sum(getattr(part, name) for part in parts) for name in _Sums.__dataclass_fields__))


def _less(whole: _Sums, part: _Sums) -> _Sums:
    return _Sums(*(getattr(whole, name) - getattr(part, name) for name in _Sums.__dataclass_fields__))


def _unit_penalty(data: _Sums) -> float:
    """n times the mean variance of a feature."""
    variance = float(np.trace(data.ff) - data.f @ data.f / data.n) / len(data.f)
    return max(variance, np.finfo(np.float64).tiny)


def _plain(data: _Sums, part: slice, penalties: Sequence[float]) -> list[Discriminants]:
    """The linear discriminant with equal priors, of each penalty.

    Least squares on one-hot values would never name a rare one. With coefficients B_v, share pi_v and mean mu_v of a
    value, (f - mu)'B_v / pi_v - (mu_v - mu)'B_v / (2 pi_v) is the linear discriminant whose borders run half way
    between the values' means (Hastie, Tibshirani, Friedman, Elements of Statistical Learning, section 4.3).
    """
    mean = data.f[part] / data.n
    # One matrix for all penalties: what is kept of a fold is as large as the features' products.
    ff = data.ff[part, part] - data.n * np.outer(mean, mean)
    shown = data.counts > 0
    centres = data.values[:, part] / np.maximum(data.counts, 1)[:, None] - mean
    centres[~shown] = 0.0
    found = []
    for penalty in np.array(penalties) * _unit_penalty(data):
        # Values count equally in where the borders run, whatever their shares among these images.
        weight = solve_ridge(ff, data.n * centres.T, float(penalty))
        offset = np.where(shown, -mean @ weight - np.einsum("vm,mv->v", centres, weight) / 2, -np.inf)
        each = np.full(len(shown), penalty)
        found.append(Discriminants(data.n, data.counts, mean, centres, ff, each, weight, offset))
    return found


def _chosen(tried: list[Discriminants], which: NDArray[np.intp]) -> Discriminants:
    """Each value's discriminant of the penalty ``which`` (K,)."""
    at = np.arange(len(which))
    return replace(
        tried[0],
        penalty=np.stack([one.penalty for one in tried])[which, at],
        weight=np.stack([one.weight for one in tried])[which, :, at].T,
        offset=np.stack([one.offset for one in tried])[which, at],
    )


def _within(data: _Sums, part: slice, penalty: float, layout: Layout) -> tuple[Array, Array, Array]:
    """(weight (p, K), per class (c, K) and per value (K,) what to subtract): the discriminant with the class taken out.

    Features are a class's part plus a value's, fitted by least squares of both (the partial regression of Frisch and
    Waugh): what a value adds in any class, free of what the class brings.
    """
    size = np.maximum(data.sizes, 1)[:, None]
    class_means = data.classes[:, part] / size
    scatter = data.ff[part, part] - class_means.T @ (data.sizes[:, None] * class_means)
    shares = data.cells / size
    added = data.values[:, part] - data.cells.T @ class_means
    effects = np.zeros_like(added)
    for start, width in zip(layout.starts, layout.sizes, strict=True):
        g = slice(start, start + width)
        if layout.across[start]:  # nothing of the classes is left without the class
            continue
        between = np.diag(data.cells[:, g].sum(axis=0)) - data.cells[:, g].T @ shares[:, g]
        effects[g] = np.linalg.pinv(between, rcond=1e-6, hermitian=True) @ added[g]
    weight = solve_ridge(scatter, data.n * effects.T, penalty * _unit_penalty(data))
    half = np.einsum("vm,mv->v", effects, weight) / 2
    by_class = class_means @ weight
    for start, width in zip(layout.starts, layout.sizes, strict=True):
        g = slice(start, start + width)
        by_class[:, g] -= shares[:, g] @ (effects[g] @ weight[:, g])
    # A class that these images do not hold stands where all images do.
    unseen = data.sizes == 0
    by_class[unseen] = (data.f[part] / data.n) @ weight
    return weight, by_class, half


def normalised_accuracy(accuracy: Array, chance: float | Array) -> Array:
    """(accuracy - chance) / (1 - chance): 0 at chance, 1 when perfect."""
    result: Array = (accuracy - chance) / (1 - chance)
    return result
