"""Whose null component an image is given: one that the logits hardly tell from it, with another value of a group.

What the logits see and what they ignore go together in real features, and a swap of strangers leaves their
distribution: the translator reads what both parts say together, and a mismatch drowns what the null component carries
(of an embedded model whose colour is all but entirely null, 38 % of swaps across classes were read as the donor's
colour, 63 % within). So donors are of the image's own class, where it has any with another value: any of them, for
the nearest to an image that has another value differs from it in something else that the logits see and the null
component may show. Where a class has no such image, as with many classes, donors are any of the nearest in what the
logits see. Only for the classes' own group are donors of any class.

Within a class each scene lends about as often as the others that can: a null component that serves many images is one
draw, however many read it. Where few have another value they must lend more than once, and intervals of what swaps
show draw donors, not images (``Donors.lent``).

Beside it stands a donor with the same value, found likewise: what a swap alone changes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singaudit.metrics.subject import Block
from singaudit.metrics.values import Layout

Array = NDArray[np.float64]

NEAREST = 0.1
"""Share of the images of a fold that are near enough to one without donors in its class."""
CANDIDATES = 128
"""Looked at per image without donors in its class: where none of them has another value, there is no donor."""
_ROUNDS = 8
# Of pairing at random; what no round pairs is spread over all that can lend.
_AT_ONCE = 1 << 18
# Images times groups: bounds memory whatever the number of concepts.


@dataclass(frozen=True)
class Donors:
    """Positions within the block; arrays (b, G), -1 where there is none."""

    other: NDArray[np.int32]
    """With another value."""
    same: NDArray[np.int32]
    """With the image's own value."""
    within: NDArray[np.bool_]
    """Both are of the image's own class."""

    @property
    def usable(self) -> NDArray[np.bool_]:
        """(b, G) both exist."""
        return (self.other >= 0) & (self.same >= 0)

    def lent(self, table: Array) -> Array:
        """(b, G) for each image the sum of ``table`` (b, G) over those that it lends its null component to.

        Sums over all images stay what they are; what is resampled with an image is then all that rests on its null
        component. Scenes take from scenes, so that what the images of one have in common goes the same way.
        """
        count, groups = table.shape
        place = np.maximum(self.other, 0) * np.intp(groups) + np.arange(groups)
        used = np.where(self.other >= 0, table, 0.0)
        summed: Array = np.bincount(place.ravel(), used.ravel(), minlength=count * groups).astype(np.float64)
        return summed.reshape(count, groups)


def find_donors(block: Block, class_of: NDArray[np.intp], layout: Layout) -> Donors:
    """Donors of the block's images, each of its own fold and of another unit. ``class_of`` (b,)."""
    own = layout.own[block.rows]
    across = layout.across[layout.starts]
    found = Donors(np.full(own.shape, -1, np.int32), np.full(own.shape, -1, np.int32), np.zeros(own.shape, bool))
    folds = int(block.fold.max(initial=0)) + 1
    by_class = block.fold + folds * (1 + np.unique(class_of, return_inverse=True)[1].ravel())
    step = max(_AT_ONCE // max(len(own), 1), 1)
    for first in range(0, len(across), step):
        columns = slice(first, first + step)
        cell = np.where(across[columns], block.fold[:, None], by_class[:, None])
        found.other[:, columns], found.same[:, columns] = _of_cells(cell, own[:, columns], block.units)
    found.within[:] = found.usable & ~across
    _of_neighbours(found, block, class_of, own, np.flatnonzero(~across))
    return found


def _of_cells(
    cell: NDArray[np.intp], own: NDArray[np.int32], units: NDArray[np.intp]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Donors (b, G) with another and with the same value among images of one ``cell`` (b, G), -1 where there is none.

    What is paired are scenes: the images of a unit that share a cell and a value.
    """
    donors = np.full((2, *own.shape), -1, np.int32)
    at, group = np.nonzero(own >= 0)
    unit = units[at]
    # Values by the first image that has them, so that nothing depends on how they are numbered.
    first = np.zeros(int(own.max(initial=0)) + 1, np.intp)
    first[own[at, group][::-1]] = at[::-1]
    value = first[own[at, group]]
    place = cell[at, group] * np.intp(own.shape[1]) + group
    order = np.lexsort((unit, value, place))
    at, group, value, unit, place = (a[order] for a in (at, group, value, unit, place))
    new = (np.diff(place, prepend=-1) != 0) | (np.diff(value, prepend=-1) != 0) | (np.diff(unit, prepend=-1) != 0)
    starts = np.flatnonzero(new)
    scene = np.cumsum(new) - 1
    sizes = np.diff(np.append(starts, len(at)))
    nth = np.arange(len(at)) - starts[scene]
    pairs = _others(place[starts], value[starts], unit[starts]), _next(place[starts], value[starts])
    for found, lender in zip(donors, pairs, strict=True):
        theirs = lender[scene]
        image = at[starts[theirs] + nth % sizes[theirs]]
        found[at, group] = np.where(theirs >= 0, image, -1)
    return donors[0], donors[1]


def _others(place: NDArray[np.intp], value: NDArray[np.intp], unit: NDArray[np.intp]) -> NDArray[np.intp]:
    """(s,) for each scene one of its place with another value, -1 where there is none; scenes in order of both.

    Paired at random, so that each lends once, as far as that goes; what is left takes from all that can lend, evenly.
    """
    found = np.full(len(place), -1, np.intp)
    takers = lenders = np.arange(len(place))
    for turn in range(_ROUNDS):
        # As many of a place are left on one side as on the other.
        takers = takers[np.lexsort((_mixed(unit[takers], 2 * turn), place[takers]))]
        lenders = lenders[np.lexsort((_mixed(unit[lenders], 2 * turn + 1), place[lenders]))]
        fits = (value[takers] != value[lenders]) & (unit[takers] != unit[lenders])
        found[takers[fits]] = lenders[fits]
        takers, lenders = takers[~fits], lenders[~fits]
        if not len(takers):
            return found
    left = np.sort(takers)
    begins, ends = _stretch(place)[left], _stretch(place, last=True)[left]
    # Those of a place are ordered by value: all but the own value's, which are one stretch of them, can lend.
    of_value = place * (np.intp(value.max(initial=0)) + 1) + value
    from_own, to_own = _stretch(of_value)[left], _stretch(of_value, last=True)[left]
    can_lend = (ends - begins) - (to_own - from_own)
    nth = np.arange(len(left)) - _stretch(of_value[left])
    many = _stretch(of_value[left], last=True) - _stretch(of_value[left])
    step = (2 * nth + 1) * can_lend // (2 * many)
    lender = begins + (to_own - begins + step) % np.maximum(ends - begins, 1)
    found[left] = np.where((can_lend > 0) & (unit[lender] != unit[left]), lender, -1)
    return found


def _next(place: NDArray[np.intp], value: NDArray[np.intp]) -> NDArray[np.intp]:
    """(s,) for each scene the next one of its place with its value, the first for the last; -1 where it is alone."""
    key = place * (np.intp(value.max(initial=0)) + 1) + value
    begins, ends = _stretch(key), _stretch(key, last=True)
    at = np.arange(len(key))
    return np.where(ends - begins > 1, begins + (at + 1 - begins) % np.maximum(ends - begins, 1), -1)


def _stretch(ordered: NDArray[np.intp], last: bool = False) -> NDArray[np.intp]:
    """(s,) where the stretch of equal entries that each lies in begins, or behind which it ends."""
    return np.searchsorted(ordered, ordered, side="right" if last else "left")


def _mixed(numbers: NDArray[np.integer], turn: int) -> NDArray[np.uint32]:
    """Numbers as good as random (murmur3's finaliser), other ones in every ``turn``; the same on every machine."""
    x = numbers.astype(np.uint32) * np.uint32(0x9E3779B1) + np.uint32((turn + 1) * 0x7F4A7C15 & 0xFFFFFFFF)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        x = (x ^ (x >> np.uint32(shift))) * np.uint32(factor)
    return x ^ (x >> np.uint32(16))


def _of_neighbours(
    found: Donors, block: Block, class_of: NDArray[np.intp], own: NDArray[np.int32], columns: NDArray[np.intp]
) -> None:
    """Fill what is missing in the groups ``columns`` of ``found`` from images near in what the logits see."""
    missing = (own >= 0) & ~found.usable
    seen = block.features - block.null
    for k in np.unique(block.fold):
        mine = np.flatnonzero(block.fold == k)
        few = np.flatnonzero(missing[np.ix_(mine, columns)].any(axis=1))
        if len(mine) < 3 or not len(few):
            continue
        alike = class_of[mine[few], None] == class_of[mine]
        near = mine[_near(seen[mine], block.units[mine], alike, few)]
        few = mine[few]
        possible = block.units[near] != block.units[few][:, None]
        for g in columns:
            some = np.flatnonzero(missing[few, g])
            mine_value, theirs = own[few[some], g][:, None], own[near[some], g]
            known = possible[some] & (theirs >= 0)
            for place, wanted in ((found.other, theirs != mine_value), (found.same, theirs == mine_value)):
                wanted = wanted & known
                first = np.argmax(wanted, axis=1)
                rows = np.arange(len(some))
                donor = np.where(wanted[rows, first], near[some, first], -1)
                before = place[few[some], g]
                place[few[some], g] = np.where(before >= 0, before, donor)


def _near(seen: Array, units: NDArray[np.intp], alike: NDArray[np.bool_], few: NDArray[np.intp]) -> NDArray[np.intp]:
    """(r, q) images to try as donors for the images ``few`` (r,) of a fold, the first first: of the own class
    (``alike``), of the nearest, any; within each at random, and the same for all images of a scene."""
    count = len(seen)
    square = np.einsum("ij,ij->i", seen, seen)
    possible = ~alike & (units[few, None] != units)
    distance = np.where(possible, square[few, None] + square - 2 * seen[few] @ seen.T, np.inf)
    enough = max(int(NEAREST * count), min(16, count - 1))
    near = distance <= np.partition(distance, enough - 1, axis=1)[:, enough - 1 : enough]
    chance = _mixed(_mixed(units[few, None], 0) ^ _mixed(units, 1), 2) >> np.uint32(2)
    rank = chance + np.where(alike, 0, np.where(near, 1, 2)).astype(np.uint32) * np.uint32(1 << 30)
    # The first of these, in order, without putting all others in order as well.
    first = np.argpartition(rank, min(CANDIDATES, count) - 1, axis=1)[:, :CANDIDATES]
    order = np.argsort(np.take_along_axis(rank, first, axis=1), axis=1, kind="stable")
    return np.take_along_axis(first, order, axis=1)
