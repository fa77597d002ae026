"""Whose null component an image is given: one that the logits hardly tell from it, with another value of a group.

What the logits see and what they ignore go together in real features, and a swap of strangers leaves their
distribution: the translator reads what both parts say together, and a mismatch drowns what the null component carries
(of an embedded model whose colour is all but entirely null, 38 % of swaps across classes were read as the donor's
colour, 63 % within). So donors are of the image's own class, where it has any with another value: any of them, for
the nearest to an image that has another value differs from it in something else that the logits see and the null
component may show. Where a class has no such image at hand, as with many classes, donors are any of the nearest in what
the logits see. Only for the classes' own group are donors of any class.

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
"""Looked at per image: where none of them has another value, there is no donor."""


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


def find_donors(block: Block, class_of: NDArray[np.intp], layout: Layout) -> Donors:
    """Donors of the block's images, each of its own fold and of another unit. ``class_of`` (b,)."""
    own = layout.own[block.rows]
    across = layout.across[layout.starts]
    found = Donors(np.full(own.shape, -1, np.int32), np.full(own.shape, -1, np.int32), np.zeros(own.shape, bool))
    seen = block.features - block.null
    for k in np.unique(block.fold):
        mine = np.flatnonzero(block.fold == k)
        if len(mine) < 3:
            continue
        alike = class_of[mine][:, None] == class_of[mine]
        # Never an image of the same unit.
        possible = block.units[mine][:, None] != block.units[mine]
        for any_class in (False, True):
            columns = np.flatnonzero(across == any_class)
            if len(columns):
                near = _candidates(seen[mine], possible, None if any_class else alike)
                _choose(found, mine, near, possible, alike, own, columns)
    return found


def _candidates(seen: Array, possible: NDArray[np.bool_], alike: NDArray[np.bool_] | None) -> NDArray[np.intp]:
    """(b, q) images to try as donors, the first first: of the own class (``alike``), of the nearest, any; within each
    the next ones in hash order, which is random."""
    count = len(seen)
    place = np.arange(count)
    if alike is None:
        return np.asarray((place[:, None] + place) % count)
    found = np.empty((count, min(CANDIDATES, count)), np.intp)
    size = alike.sum(axis=1)
    for i in np.flatnonzero((size >= CANDIDATES) & (np.argmax(alike, axis=1) == place)):
        # A class with candidates enough, at its first image: each of its images has the class's next ones.
        members = np.flatnonzero(alike[i])
        at = np.arange(len(members))
        found[members] = members[(at[:, None] + np.arange(CANDIDATES)) % len(members)]
    few = np.flatnonzero(size < CANDIDATES)
    if len(few):
        found[few] = _near(seen, possible[few], alike[few], few)
    return found


def _near(
    seen: Array, possible: NDArray[np.bool_], alike: NDArray[np.bool_], mine: NDArray[np.intp]
) -> NDArray[np.intp]:
    """(r, q) candidates of the images ``mine`` (r,), whose classes have not enough of them: the nearest as well."""
    count = len(seen)
    following = ((np.arange(count) - mine[:, None]) % count).astype(np.int32)
    square = np.einsum("ij,ij->i", seen, seen)
    distance = np.where(possible & ~alike, square[mine, None] + square - 2 * seen[mine] @ seen.T, np.inf)
    few = max(int(NEAREST * count), min(16, count - 1))
    near = distance <= np.partition(distance, few - 1, axis=1)[:, few - 1 : few]
    rank = np.where(alike, following, np.where(near, count + following, 2 * count + following))
    # The first of these, in order, without putting all others in order as well.
    first = np.argpartition(rank, min(CANDIDATES, count) - 1, axis=1)[:, :CANDIDATES]
    order = np.argsort(np.take_along_axis(rank, first, axis=1), axis=1)
    return np.take_along_axis(first, order, axis=1)


def _choose(
    found: Donors,
    mine: NDArray[np.intp],
    near: NDArray[np.intp],
    possible: NDArray[np.bool_],
    alike: NDArray[np.bool_],
    own: NDArray[np.int32],
    columns: NDArray[np.intp],
) -> None:
    """Fill the rows ``mine`` and the groups ``columns`` of ``found`` from candidates ``near`` (b, q)."""
    allowed = np.take_along_axis(possible, near, axis=1)
    rows = np.arange(len(mine))
    for g in columns:
        values = own[mine, g]
        theirs = values[near]
        known = allowed & (theirs >= 0) & (values >= 0)[:, None]
        chosen = []
        for wanted in (known & (theirs != values[:, None]), known & (theirs == values[:, None])):
            first = np.argmax(wanted, axis=1)
            chosen.append(np.where(wanted[rows, first], near[rows, first], -1))
        for place, donor in zip((found.other, found.same), chosen, strict=True):
            place[mine, g] = np.where(donor >= 0, mine[donor], -1)
        both = (chosen[0] >= 0) & (chosen[1] >= 0)
        found.within[mine, g] = both & alike[rows, chosen[0]] & alike[rows, chosen[1]]
