"""Which images fit and which judge, and how much each counts so that every group counts alike."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singaudit.errors import DatasetError

LEAST_FIT = 20
"""Images a class that the fit needs: with fewer, cross-validation holds out next to nothing of a class."""
LEAST_HELD = 10
"""Images a class that judge the fit: a Wilson interval of ten images is some 50 points wide, of fewer wider."""
FULL_WEIGHT = 10
"""Images from which on a cell counts as much as any other; one lone image must not weigh as much as hundreds."""


@dataclass(frozen=True)
class Balanced:
    """A group whose values should count alike: the classes, or a column of the labels."""

    name: str
    """As the user named it."""
    values: tuple[str, ...]
    """Its values in display order."""
    own: NDArray[np.intp]
    """(n,) each image's value; -1 where it is not known."""
    source: str
    """Where the values come from, in words."""


@dataclass(frozen=True)
class Split:
    """Images that fit and images that judge; every unit lies in one of the two."""

    fit: NDArray[np.intp]
    """Positions of the images the fit sees."""
    held: NDArray[np.intp]
    """Positions of the images it does not see."""


def cells_of(groups: Sequence[Balanced]) -> NDArray[np.intp]:
    """(n,) the cell (combination of values) of each image, numbered from 0; -1 where a value is not known."""
    cells = np.zeros(len(groups[0].own), np.intp)
    for group in groups:
        cells = np.where((cells < 0) | (group.own < 0), -1, cells * len(group.values) + group.own)
    known = cells >= 0
    if known.any():
        cells[known] = np.unique(cells[known], return_inverse=True)[1]
    return cells


def split(units: Sequence[str], cells: NDArray[np.intp], share: float, seed: int) -> Split:
    """Hold out ``share`` of every cell, by content hash: neither order nor names of files matter.

    ``units`` (n,) are content hashes, one for all images of a scene, which stay together: so many images of a cell are
    held out, in order of their scenes' hashes, that the next scene would go beyond the share. ``cells`` (n,) are from
    ``cells_of``; images of cell -1 are in neither part.
    """
    number = {unit: i for i, unit in enumerate(dict.fromkeys(units))}
    scene = np.array([number[unit] for unit in units], np.intp)
    ranks = np.array([hashlib.sha256(f"{seed}:{unit}".encode()).hexdigest() for unit in number])
    rank_of_scene = np.empty(len(ranks), np.intp)
    rank_of_scene[np.argsort(ranks, kind="stable")] = np.arange(len(ranks))
    order = np.argsort(rank_of_scene[scene], kind="stable")
    held_scene = np.full(len(ranks), -1)
    for cell in range(int(cells.max(initial=-1)) + 1):
        own = order[cells[order] == cell]
        wanted = round(share * len(own))
        sizes = np.bincount(scene[own], minlength=len(ranks))
        taken = int(sizes[(held_scene == 1)].sum())
        for each in dict.fromkeys(scene[own].tolist()):
            if held_scene[each] < 0:
                held_scene[each] = taken + sizes[each] <= wanted
                taken += int(sizes[each]) if held_scene[each] else 0
    known = cells >= 0
    held = known & (held_scene[scene] == 1)
    return Split(np.flatnonzero(known & ~held), np.flatnonzero(held))


def one_a_scene(
    own: NDArray[np.intp], units: Sequence[str], cells: NDArray[np.intp], hashes: Sequence[str]
) -> NDArray[np.intp]:
    """Of the images at positions ``own`` one for each scene and cell, that of the smallest content hash.

    Images of one scene are not independent: an interval that takes them for so many images is too narrow.
    """
    chosen: dict[tuple[str, int], int] = {}
    for image in sorted(own.tolist(), key=lambda image: hashes[image]):
        chosen.setdefault((units[image], int(cells[image])), image)
    return np.array(sorted(chosen.values()), np.intp)


def check_enough(
    parts: Split, classes: NDArray[np.intp], names: Sequence[str], units: Sequence[str] | None = None
) -> None:
    """Raise ``DatasetError`` naming the classes with too few images to fit on, or to judge by.

    Images of one class and one of ``units`` (n,) count once.
    """
    scenes = (
        np.arange(len(classes), dtype=np.intp)
        if units is None
        else np.unique(np.asarray(units), return_inverse=True)[1]
    )
    for own, least, purpose in ((parts.fit, LEAST_FIT, "to fit on"), (parts.held, LEAST_HELD, "to judge by")):
        different = np.unique(np.stack([classes[own], scenes[own]]), axis=1)
        counts = np.bincount(different[0], minlength=len(names))
        once = ", those of one scene counted once" if different.shape[1] < len(own) else ""
        few = [k for k in np.argsort(counts, kind="stable") if counts[k] < least]
        if few:
            shown = ", ".join(f"{names[k]!r} {counts[k]}" for k in few[:8]) + (", ..." if len(few) > 8 else "")
            raise DatasetError(
                f"expected at least {least} images of each class {purpose}{once}, {len(few)} of {len(names)} classes "
                f"have fewer: {shown}",
                hint="Give more labelled images, or another share with --holdout.",
            )


def shares_of(cells: NDArray[np.intp], scenes: NDArray[np.intp] | None = None) -> NDArray[np.float64]:
    """(n,) how much of an image each is: those of one of ``scenes`` (n,) and one cell count as one together."""
    if scenes is None:
        return np.ones(len(cells))
    _, place, times = np.unique(np.stack([cells, scenes]), axis=1, return_inverse=True, return_counts=True)
    result: NDArray[np.float64] = 1.0 / times[place.reshape(-1)]
    return result


def weights_of(cells: NDArray[np.intp], scenes: NDArray[np.intp] | None = None) -> NDArray[np.float64]:
    """(n,) weights that sum to 1: every cell counts the same, but those of fewer than ten images less.

    ``scenes`` (n,): images of one number and one cell count as one; None: each is its own.
    """
    shares = shares_of(cells, scenes)
    weights = shares / np.maximum(np.bincount(cells, weights=shares), FULL_WEIGHT)[cells]
    result: NDArray[np.float64] = weights / weights.sum()
    return result
