"""Natural pairs: two real images with nearly equal logits and far-apart null components.

Nothing is generated, so nothing can be an artefact of generating: the classifier cannot tell the two apart, and a
person sees what it ignores. The search is exact over all pairs of the images it is given.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singaudit.geometry.null_space import NullSpace
from singaudit.metrics.scores import unit
from singaudit.pictures.units import Units

Array = NDArray[np.float64]

MAX_IMAGES = 20_000
"""Images searched, the first in hash order: 200 million pairs take about a minute of one core with 10 logits."""
_NULL_BYTES = 2**28
_BLOCK = 1024
"""Images on either side of a block of pairs: 8 MB a matrix."""
_STEPS = 10


@dataclass(frozen=True)
class NaturalPair:
    """Two real images that the logits hardly tell apart."""

    first: int
    """Position of one image; it has the smaller content hash."""
    second: int
    """Position of the other."""
    logit_difference: float
    """Largest |difference| of any logit, in standard deviations of that logit over the images."""
    null_distance: float
    """|P_n (f - f')| in typical null norms."""
    image_angle_deg: float
    """Angle between the vision-language model's embeddings of the two images."""


def natural_pairs(
    features: NDArray[np.floating], logits: NDArray[np.floating], embeddings: NDArray[np.floating],
    order: NDArray[np.intp], space: NullSpace, units: Units, *, count: int, tolerance: float, min_null: float,
) -> list[NaturalPair]:  # fmt: skip
    """The ``count`` pairs of images farthest apart to the vision-language model among those with matched logits.

    ``features`` (n, m), ``logits`` (n, c), unit ``embeddings`` (n, d); ``order`` (k,) are the positions to search, at
    most ``MAX_IMAGES`` of them are, fewer where their null components would exceed 256 MB. Logits match when none
    differs by more than ``tolerance`` of its own standard deviation; null components are far apart beyond ``min_null``
    typical null norms. An image is in one pair at most. Every pair is looked at, in blocks; memory holds the images'
    null components, one block, and the pairs that are kept.
    """
    rows = order[: min(MAX_IMAGES, _NULL_BYTES // (8 * features.shape[1]))]
    seen = np.asarray(logits[rows], dtype=np.float64) / units.spread
    # Along a direction in which the logits spread widely, images farther apart than this cannot match: most blocks are
    # skipped.
    axis = _wide(seen)
    along = np.argsort(seen @ axis, kind="stable")
    rows, seen = rows[along], seen[along]
    place, reach = seen @ axis, tolerance * float(np.abs(axis).sum())
    null, z = space.null_part(features[rows]), unit(embeddings[rows])
    kept = _Kept(count)
    for a in range(0, len(rows), _BLOCK):
        for b in range(a, len(rows), _BLOCK):
            left, right = slice(a, a + _BLOCK), slice(b, b + _BLOCK)
            if place[right][0] - place[left][-1] > reach:
                break
            found = _block(seen[left], seen[right], null[left], null[right], tolerance, min_null * units.typical_null)
            cosine = (z[left] @ z[right].T)[found[0], found[1]]
            angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
            once = (found[0] + a < found[1] + b) & (angle >= kept.floor)
            difference, distance = found[2][once], found[3][once]
            kept.add(np.column_stack([angle[once], found[0][once] + a, found[1][once] + b, difference, distance]))
    place_in_order = np.empty(len(features), np.intp)
    place_in_order[order] = np.arange(len(order))
    result = []
    for angle, i, j, difference, distance in kept.disjoint():
        first, second = sorted((int(rows[int(i)]), int(rows[int(j)])), key=lambda row: place_in_order[row])
        result.append(NaturalPair(first, second, float(difference), float(distance) / units.typical_null, float(angle)))
    return result


def natural_partners(
    row: int, features: NDArray[np.floating], logits: NDArray[np.floating], embeddings: NDArray[np.floating],
    order: NDArray[np.intp], space: NullSpace, units: Units, *, count: int, tolerance: float, min_null: float,
) -> tuple[list[NaturalPair], float | None]:  # fmt: skip
    """As ``natural_pairs``, for the image ``row`` alone, which comes first in each pair.

    Also the smallest logit difference of any image whose null component is that far away, None where there is none:
    how near to a pair the images come.
    """
    others = order[order != row]
    null = space.null_part(features[row])
    difference, apart = np.empty(len(others)), np.empty(len(others))
    for start in range(0, len(others), _BLOCK):
        some = slice(start, start + _BLOCK)
        away = np.asarray(logits[others[some]], np.float64) - np.asarray(logits[row], np.float64)
        difference[some] = np.abs(away / units.spread).max(axis=1)
        apart[some] = np.linalg.norm(space.null_part(features[others[some]]) - null, axis=1) / units.typical_null
    far = apart >= min_null
    found = np.flatnonzero(far & (difference <= tolerance))
    z = unit(embeddings[others[found]]) @ unit(embeddings[[row]])[0]
    angle = np.degrees(np.arccos(np.clip(z, -1, 1)))
    best = np.argsort(-angle, kind="stable")[:count]
    pairs = [
        NaturalPair(row, int(others[k]), float(difference[k]), float(apart[k]), float(a))
        for k, a in zip(found[best], angle[best], strict=True)
    ]
    return pairs, float(difference[far].min()) if far.any() else None


def _wide(seen: Array) -> Array:
    """(c,) unit direction along which standardised logits (n, c) vary about as much as along any, 0 if they do not.

    Some steps of the power method: the search is right along any axis, and hardly faster along the very widest.
    """
    centred = seen - seen.mean(axis=0)
    axis: Array = centred[np.argmax(_squares(centred))]
    for _ in range(_STEPS):
        axis = unit((axis @ centred.T @ centred)[None])[0]
    return axis


def _block(
    seen: Array, others: Array, null: Array, other_null: Array, tolerance: float, least: float
) -> tuple[NDArray[np.intp], NDArray[np.intp], Array, Array]:
    """Pairs of a block: (row, other row, largest logit difference, null distance).

    The Euclidean distance, one matrix product, bounds the largest difference: it is at most sqrt(c) times as large.
    Only what passes that is looked at logit by logit.
    """
    squared = _squares(seen)[:, None] + _squares(others)[None, :] - 2 * seen @ others.T
    near = squared <= seen.shape[1] * tolerance**2 + 1e-9 * (1 + np.abs(squared).max())
    apart = _squares(null)[:, None] + _squares(other_null)[None, :] - 2 * null @ other_null.T
    i, j = np.nonzero(near & (apart >= least**2))
    difference = np.empty(len(i))
    for start in range(0, len(i), 1 << 16):
        some = slice(start, start + (1 << 16))
        difference[some] = np.abs(seen[i[some]] - others[j[some]]).max(axis=1)
    matched = difference <= tolerance
    return i[matched], j[matched], difference[matched], np.sqrt(apart[i[matched], j[matched]])


def _squares(rows: Array) -> Array:
    result: Array = np.einsum("ij,ij->i", rows, rows)
    return result


class _Kept:
    """The pairs that can still be among the ``count`` best in which no image occurs twice: few, however many matched.

    Pairs are taken best first, one is passed over only for an image in a pair taken before. At most ``2 * count``
    images are used up in the end, so an image that is in ``2 * count`` better pairs is used or done with; and with no
    image in more pairs than that, ``4 * count ** 2 + count`` pairs cannot all be passed over.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._pairs = np.empty((0, 5))
        self.floor = -np.inf
        """No pair below this angle can matter any more."""

    def add(self, pairs: Array) -> None:
        """Rows of (angle, position, position, logit difference, null distance)."""
        if not len(pairs):
            return
        merged = np.concatenate([self._pairs, pairs])
        merged = merged[np.lexsort((merged[:, 2], merged[:, 1], -merged[:, 0]))]
        most = 2 * self._count
        merged = merged[_earlier(merged[:, 1:3].astype(np.intp)) < most][: most**2 + self._count]
        self._pairs = merged
        if len(merged) == most**2 + self._count:
            self.floor = float(merged[-1, 0])

    def disjoint(self) -> Array:
        """(count or fewer, 5) the best pairs in which no image occurs twice, best first."""
        used: set[float] = set()
        chosen: list[Array] = []
        for pair in self._pairs:
            if len(chosen) < self._count and not used & {pair[1], pair[2]}:
                chosen.append(pair)
                used |= {pair[1], pair[2]}
        return np.array(chosen).reshape(-1, 5)


def _earlier(images: NDArray[np.intp]) -> NDArray[np.intp]:
    """(n,) in how many rows above it the busier of a row's two images (n, 2) occurs."""
    flat = images.ravel()
    by_image = np.argsort(flat, kind="stable")
    ordered = flat[by_image]
    first = np.searchsorted(ordered, ordered)
    rank = np.empty(len(flat), np.intp)
    rank[by_image] = np.arange(len(flat)) - first
    return rank.reshape(-1, 2).max(axis=1)
