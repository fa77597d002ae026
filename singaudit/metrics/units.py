"""Units: images that show the same scene count once.

Frames of a video, and copies of a photograph saved anew, rescaled, cropped or flipped, are not independent: folds,
donors and intervals that take them for distinct images find what is not there. Images are joined where all of the
following hold, none of them an absolute distance, so that data sets of look-alikes (X-rays, parts on a belt) stay
apart:

- Nearness. Distance is the larger of those of the encoder's embeddings and of the classifier's features, each in
  units of its typical distance between two images of the set.
- A gap. Neighbours of a point drawn from any smooth distribution of local dimension D have (d_k / d_(k+1))^(k D)
  uniform in (0, 1), a property of the Poisson process that Levina and Bickel (2004) take their estimate of D from.
  An image's k nearest are in its unit only where this says that no such distribution leaves a gap so wide, with D
  from the neighbours beyond. Where images look alike D is small or neighbours crowd, and no gap is wide enough.
- Both images see each other behind the gap.
- The pixels agree, where thumbnails are given: better than those of the image's other neighbours do.

Units are stars, not chains: every member was found to show the same as the unit's middle image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from heapq import heapify, heappop, heappush

import numpy as np
from numpy.typing import NDArray

from singaudit.dataset.thumbnail import SIDE
from singaudit.metrics.intervals import BLOCK
from singaudit.metrics.nearest import Progress, Space, distances, nearest, nearest_hashed

Array = NDArray[np.float32]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Limits:
    """The one table of limits of the search; see ``examples/calibration`` for how often it errs."""

    nearest: float = 0.45
    """Largest distance within a unit, in typical distances between two images."""
    chance: float = 1e-5
    """Largest probability of the gap behind an image's nearest, by the dimension of those beyond."""
    neighbours: int = 128
    """Neighbours looked at; a unit has at most half as many images."""
    fewest: int = 16
    """Neighbours without which no gap can be told: in fewer images nothing is joined."""
    floor: float = 0.01
    """Distances below are this, in the same units: what differs by so little is the same."""
    pixels: float = 0.5
    """Largest difference of two images' pixels, in that of either to its other neighbours."""
    same_pixels: float = 0.25
    """Largest distance of two thumbnails of unit contrast that pixels alone may call copies; unrelated ones are 1.4."""
    pixel_neighbours: int = 32
    """Neighbours by the models among which pixels alone are asked."""
    compared: int = 16
    """Other neighbours whose pixels are compared."""


LIMITS = Limits()


@dataclass(frozen=True)
class Units:
    """Which images are one."""

    of: Rows
    """(n,) unit of each image, numbered from 0 in the order of first images."""
    joined: tuple[tuple[int, ...], ...]
    """Images of every unit that has more than one, largest unit first."""
    search: str
    """``exact``, ``hashed``, ``given`` or ``none``: how neighbours were found."""
    recall: float | None = None
    """Of a hashed search: share of the true neighbours it found, on a sample."""

    @property
    def count(self) -> int:
        """Number of units."""
        return int(self.of.max(initial=-1)) + 1


def distinct(count: int) -> Units:
    """``count`` images, each a unit of its own."""
    return Units(np.arange(count, dtype=np.int64), (), "none")


def given(values: NDArray[np.generic]) -> Units:
    """Units as somebody states them: images with equal ``values`` (n,) are one."""
    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    return _numbered(first[inverse].astype(np.int64), "given")


def unit_hashes(sha256: Sequence[str], units: Units) -> list[str]:
    """(n,) hash of each image's unit: the first of its images' hashes, so that order and renaming change nothing."""
    first: dict[int, str] = {}
    for unit, digest in zip(units.of.tolist(), sha256, strict=True):
        first[unit] = min(digest, first.get(unit, digest))
    return [first[unit] for unit in units.of.tolist()]


def find_units(
    features: NDArray[np.floating],
    embeddings: NDArray[np.floating],
    thumbnails: NDArray[np.generic] | None = None,
    *,
    limits: Limits = LIMITS,
    exact_up_to: int = 30_000,
    progress: Progress = lambda done, total: None,
) -> Units:
    """Join the images that show the same scene.

    ``features`` (n, m) of the classifier, ``embeddings`` (n, d) of the encoder, and ``thumbnails`` (n, 256), grey and
    16 x 16, where the images themselves are there. Neighbours are searched exactly up to ``exact_up_to`` images, at a
    cost of n^2 (m + d) multiplications, where a hashed search would take as long; beyond by hashing, n times at
    most 16,000 (m + d). Order of the images changes nothing but the numbering; hashed, hardly anything.
    """
    count = len(features)
    k = min(limits.neighbours, count - 1)
    if k < limits.fewest:
        return replace(distinct(count), search="exact")
    spaces = [Space(embeddings), Space(features)]
    recall = None
    if count <= exact_up_to:
        apart, rows = nearest(spaces, k, progress)
    else:
        apart, rows, recall = nearest_hashed(spaces, k, limits.nearest, progress)
    size = behind_gap(apart, limits)
    first, second = _mutual(rows, size)
    if thumbnails is not None and len(first):
        same = _pixels_agree(thumbnails, rows, size, first, second, limits)
        first, second = first[same], second[same]
    if thumbnails is not None:
        first, second = _with_same_pixels(thumbnails, rows, first, second, limits)
    middle = _stars(count, first, second, distances(spaces, first, second))
    return _numbered(middle, "exact" if recall is None else "hashed", recall)


def pixel_rows(thumbnails: NDArray[np.generic]) -> Array:
    """(n, 256) what stands in for features and embeddings where no model is asked: ``thumbnails`` (n, 256) of unit
    contrast, averaged with their mirror images, so that brightness, contrast and flipping change next to nothing."""
    flat = np.asarray(thumbnails, np.float32)
    flat = flat - flat.mean(axis=1, keepdims=True)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), np.float32(SIDE))
    both: Array = (flat + flat.reshape(-1, SIDE, SIDE)[:, :, ::-1].reshape(len(flat), -1)) / 2
    return both


def behind_gap(apart: Array, limits: Limits = LIMITS) -> Rows:
    """(n,) how many of each image's nearest, at distances ``apart`` (n, k) ascending, lie before an unlikely gap.

    The spacings j log(d_(j+1) / d_j) are independent and exponential with mean 1/D (Renyi). The one behind the k-th,
    over the mean of the c spacings beyond, has Fisher's F distribution with 2 and 2 c degrees of freedom, whatever D:
    P(F > t) = (1 + t / c)^-c. The last gap that passes counts.
    """
    blocks = [_behind_gap(apart[start : start + BLOCK], limits) for start in range(0, len(apart), BLOCK)]
    return np.concatenate([np.empty(0, np.int64), *blocks])


def _behind_gap(apart: Array, limits: Limits) -> Rows:
    total = apart.shape[1]
    log = np.log(np.maximum(apart, limits.floor).astype(np.float64))
    spacing = np.diff(log, axis=1) * np.arange(1, total)
    beyond = np.cumsum(spacing[:, ::-1], axis=1)[:, ::-1]
    k = np.arange(total // 2)
    c = total - 2 - k
    mean = np.maximum(beyond[:, k + 1] / c, np.finfo(np.float64).tiny)
    chance = -c * np.log1p(spacing[:, k] / mean / c)
    passed = (chance < np.log(limits.chance)) & (apart[:, k] <= limits.nearest)
    last = len(k) - np.argmax(passed[:, ::-1], axis=1)
    return np.where(passed.any(axis=1), last, 0).astype(np.int64)


def _mutual(rows: NDArray[np.int32], size: Rows) -> tuple[Rows, Rows]:
    """Pairs (first < second) in which each is among the nearest of the other before its gap."""
    count, k = rows.shape
    inside = np.arange(k) < size[:, None]
    one = np.nonzero(inside)[0].astype(np.int64)
    other = rows[inside].astype(np.int64)
    low, high = np.minimum(one, other), np.maximum(one, other)
    pair, times = np.unique(low * count + high, return_counts=True)
    both = pair[times == 2]
    return both // count, both % count


def _pixels_agree(
    thumbnails: NDArray[np.generic], rows: NDArray[np.int32], size: Rows, first: Rows, second: Rows, limits: Limits
) -> NDArray[np.bool_]:
    """(p,) whether the pixels of each pair differ clearly less than those of either from its other neighbours."""
    images = np.asarray(thumbnails, np.float32).reshape(len(thumbnails), SIDE, SIDE)
    involved, place = np.unique(np.concatenate([first, second]), return_inverse=True)
    others = rows[involved[:, None], size[involved][:, None] + np.arange(limits.compared)]
    usual = unlike(images, np.repeat(involved, limits.compared), others.ravel())
    usual = np.median(usual.reshape(len(involved), -1), axis=1)
    limit = limits.pixels * np.minimum(usual[place[: len(first)]], usual[place[len(first) :]])
    result: NDArray[np.bool_] = unlike(images, first, second) <= limit
    return result


def _with_same_pixels(
    thumbnails: NDArray[np.generic], rows: NDArray[np.int32], first: Rows, second: Rows, limits: Limits
) -> tuple[Rows, Rows]:
    """The pairs, and those of which only the pixels show that they are copies: a small copy is blurred to a model.

    Among an image's nearest by the models, those before an unlikely gap in the pixels' own distances; both ways.
    """
    flat = np.asarray(thumbnails, np.float32)
    flat = flat - flat.mean(axis=1, keepdims=True)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), np.float32(SIDE))
    near = rows[:, : limits.pixel_neighbours]
    apart = np.empty(near.shape, np.float32)
    for start in range(0, len(near), 1024):
        at = slice(start, start + 1024)
        others = flat[near[at]]
        flipped = flat[at].reshape(-1, SIDE, SIDE)[:, :, ::-1].reshape(-1, SIDE * SIDE)
        same = np.maximum(*(np.einsum("nd,nkd->nk", x, others, optimize=True) for x in (flat[at], flipped)))
        apart[at] = np.sqrt(np.maximum(2 - 2 * same, 0))
    order = np.argsort(apart, axis=1, kind="stable").astype(np.int8)
    size = behind_gap(np.take_along_axis(apart, order, axis=1), replace(limits, nearest=limits.same_pixels))
    one, other = _mutual(np.take_along_axis(near, order, axis=1), size)
    count = len(rows)
    both = np.unique(np.concatenate([first * count + second, one * count + other]))
    return both // count, both % count


def unlike(images: Array, first: NDArray[np.integer], second: NDArray[np.integer]) -> Array:
    """(p,) how unlike the pixels of pairs of ``images`` (n, side, side) are: 0 the same, 1 nothing in common.

    One less the largest correlation over shifts of up to a fifth of the side, and over flipping left and right:
    brightness, contrast, a crop and a camera that moved a little change little of it.
    """
    found = np.full(len(first), 2.0, np.float32)
    side = images.shape[1]
    reach = side // 5
    for start in range(0, len(first), 4096):
        at = slice(start, start + 4096)
        one, other = images[first[at]], images[second[at]]
        for flipped in (other, other[:, :, ::-1]):
            for down in range(-reach, reach + 1):
                for right in range(-reach, reach + 1):
                    a = one[:, max(down, 0) : side + min(down, 0), max(right, 0) : side + min(right, 0)]
                    b = flipped[:, max(-down, 0) : side + min(-down, 0), max(-right, 0) : side + min(-right, 0)]
                    np.minimum(found[at], 1 - _correlation(a, b), out=found[at])
    return found


def _correlation(a: Array, b: Array) -> Array:
    a, b = a.reshape(len(a), -1), b.reshape(len(b), -1)
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    # One grey level of contrast: two flat images have nothing in common.
    least = np.float32(a.shape[1])
    squares = [np.maximum(np.einsum("ij,ij->i", x, x), least) for x in (a, b)]
    result: Array = np.einsum("ij,ij->i", a, b) / np.sqrt(squares[0] * squares[1])
    return result


def _stars(count: int, first: Rows, second: Rows, apart: Array) -> Rows:
    """(count,) the middle of each image's unit: the image with most partners takes those that are still free.

    Equal numbers: the one nearest to its partners. An image without a partner is its own middle.
    """
    middle = np.arange(count, dtype=np.int64)
    partners: dict[int, dict[int, float]] = {}
    for a, b, d in zip(first.tolist(), second.tolist(), apart.tolist(), strict=True):
        partners.setdefault(a, {})[b] = d
        partners.setdefault(b, {})[a] = d
    waiting = [_claim(partners, i) for i in partners]
    heapify(waiting)
    while waiting:
        claim = heappop(waiting)
        chosen = claim[2]
        if not partners.get(chosen) or claim != _claim(partners, chosen):
            continue  # taken, or with fewer partners by now: waiting again with those
        taken = [chosen, *partners[chosen]]
        middle[taken] = chosen
        for left in {j for i in taken for j in partners.pop(i)} - set(taken):
            partners[left] = {j: d for j, d in partners[left].items() if j in partners}
            heappush(waiting, _claim(partners, left))
    return middle


def _claim(partners: dict[int, dict[int, float]], i: int) -> tuple[int, float, int]:
    return -len(partners[i]), sum(partners[i].values()), i


def _numbered(key: Rows, search: str, recall: float | None = None) -> Units:
    """Units of images with equal keys, numbered in the order of their first images."""
    _, first, inverse, counts = np.unique(key, return_index=True, return_inverse=True, return_counts=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    of = rank[inverse]
    order = np.argsort(of, kind="stable")
    groups = np.split(order, np.cumsum(counts[np.argsort(first)])[:-1])
    joined = sorted((tuple(g.tolist()) for g in groups if len(g) > 1), key=lambda g: (-len(g), g))
    return Units(of, tuple(joined), search, recall)
