"""What an audit measures, and its images a block at a time, translated.

Rows are taken in the order of content hashes, so that file order and names change nothing, a block is a random sample
of the images, and the next image of the same fold is a random other one. Images that show one scene, a unit, follow
each other: the unit's hash is the first of its images'.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from singaudit.geometry.null_space import NullSpace
from singaudit.language.concepts import Group
from singaudit.language.translators.fit import Fitted, by_fold
from singaudit.metrics.intervals import BLOCK

Array = NDArray[np.float64]


@dataclass(frozen=True)
class GroupTexts:
    """A concept group as it is measured: its embedded texts and, where labels state them, the images' own values."""

    group: Group
    """Its name, its values in words and its kind."""
    texts: Array
    """(v, d) unit text embeddings of its values."""
    second_texts: Array
    """(v, d) the same values said in other words."""
    labels: NDArray[np.intp] | None
    """(n,) the images' own values where they are known, -1 for an image without one; None: read zero-shot."""
    meaningless: Array | None = None
    """(k, d) unit text embeddings of words that no image shows, said as the values are; None: not compared with."""

    @property
    def name(self) -> str:
        """Of the group."""
        return self.group.name

    @property
    def kind(self) -> str:
        """The classes' own group, values of one attribute, or one concept, present or absent."""
        return self.group.kind

    @property
    def said(self) -> Array:
        """(k, d) the texts that concepts are compared with: of a single one without its absence, which is none."""
        return self.texts[:1] if self.kind == "concept" else self.texts


def every_text(groups: Sequence[GroupTexts]) -> Array | None:
    """(k, d) what the groups say, one after the other; None: there is no group."""
    return np.concatenate([group.said for group in groups]) if groups else None


def text_rows(groups: Sequence[GroupTexts]) -> dict[str, slice]:
    """Which rows of ``every_text`` are a group's, by its name."""
    ends = np.cumsum([0, *(len(group.said) for group in groups)])
    return {group.name: slice(a, b) for group, a, b in zip(groups, ends[:-1], ends[1:], strict=True)}


@dataclass(frozen=True)
class Subject:
    """Everything the measurement looks at."""

    features: NDArray[np.float32]
    """(n, m)."""
    embeddings: NDArray[np.float32]
    """(n, d) unit image embeddings."""
    sha256: Sequence[str]
    """(n,)."""
    class_of: NDArray[np.intp]
    """(n,) class each image counts under."""
    class_texts: Array
    """(c, d) unit text embeddings of the classes."""
    concept_texts: Array
    """(k, d) unit text embeddings of the concepts."""
    groups: tuple[GroupTexts, ...]
    """Concept groups, the classes' own among them."""
    space: NullSpace
    """The head's split of feature space."""
    fitted: Fitted
    """The translators."""
    seed: int
    """Of bootstrap and controls."""
    probe: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None
    """Features (k, m) and embeddings (k, d) that the translator was fitted on, where these are not the images' own."""
    units: NDArray[np.intp] | None = None
    """(n,) unit of each image: those of one number show the same scene; None: each image is its own."""
    labels: NDArray[np.bool_] | None = None
    """(n, l) labels of each image, of a head that gives several and where no class is stated; None: classes."""
    cells: NDArray[np.intp] | None = None
    """(n,) what is taken out as the class, where that is another than ``class_of``."""

    @property
    def within(self) -> NDArray[np.intp]:
        """(n,) what is taken out as the class."""
        return self.class_of if self.cells is None else self.cells

    @cached_property
    def unit_of(self) -> NDArray[np.intp]:
        """(n,) unit of each image, numbered in the order of the units' hashes."""
        return np.unique(_digests(self.keys), return_inverse=True)[1].astype(np.intp)

    @cached_property
    def keys(self) -> list[str]:
        """(n,) hash of each image's unit."""
        return unit_keys(self.sha256, self.units)

    @cached_property
    def order(self) -> NDArray[np.intp]:
        """(n,) images in the order in which they are taken: units by their hash, images of a unit by their own."""
        return np.lexsort((_digests(self.sha256), self.unit_of))


def _digests(sha256: Sequence[str]) -> NDArray[np.bytes_]:
    """Hashes as bytes, in the same order at a quarter of the memory of characters."""
    return np.asarray(sha256, np.bytes_)


def unit_keys(sha256: Sequence[str], units: NDArray[np.integer] | None) -> list[str]:
    """(n,) the hash of each image's unit, the first of its images' ``sha256``; ``units`` None: the image's own."""
    if units is None:
        return list(sha256)
    first: dict[int, str] = {}
    for unit, digest in zip(units.tolist(), sha256, strict=True):
        first[unit] = min(digest, first.get(unit, digest))
    return [first[unit] for unit in units.tolist()]


@dataclass(frozen=True)
class Block:
    """One block of images, translated."""

    rows: NDArray[np.intp]
    """(b,) positions of the images."""
    fold: NDArray[np.intp]
    """(b,) which translator."""
    units: NDArray[np.intp]
    """(b,) unit of each image; those of one follow each other."""
    others: NDArray[np.intp]
    """(b,) position within the block of another image of the same fold and, where there is one, of another unit."""
    features: Array
    """(b, m)."""
    null: Array
    """(b, m) P_n f."""
    null_mean: Array
    """(b, m) P_n of the mean feature of the fold's training images."""
    original: Array
    """(b, d) T f."""
    zero: Array
    """(b, d) T of zero removal."""
    mean: Array
    """(b, d) T of mean removal."""


def blocks(subject: Subject, choose: str | int = "full", limit: int | None = None) -> Iterator[Block]:
    """The images in hash order, ``BLOCK`` at a time, translated by the full translators or by half 0 or 1."""
    return (block for (block,) in blocks_by(subject, (choose,), limit))


def blocks_by(subject: Subject, chosen: Sequence[str | int], limit: int | None = None) -> Iterator[tuple[Block, ...]]:
    """The same by several translators side by side: what does not depend on them is computed, and held, once."""
    order = subject.order[:limit]
    fitted, space = subject.fitted, subject.space
    translators = [
        fitted.translators if isinstance(choose, str) else [halves[choose] for halves in fitted.halves]
        for choose in chosen
    ]
    null_means = space.null_part(np.stack([t.mean for t in fitted.translators]))
    added = [np.stack([m @ t.weight for m, t in zip(null_means, by, strict=True)]) for by in translators]
    for start in range(0, len(order), BLOCK):
        rows = order[start : start + BLOCK]
        f = subject.features[rows].astype(np.float64)
        fold = fitted.fold[rows]
        null, null_mean = space.null_part(f), null_means[fold]
        units = subject.unit_of[rows]
        others = _others(fold, units)
        found = []
        for by, moved_mean in zip(translators, added, strict=True):
            original = by_fold(by.__getitem__, fold, f)
            zero = original - by_fold(by.__getitem__, fold, null, linear=True)
            mean = zero + moved_mean[fold]
            found.append(Block(rows, fold, units, others, f, null, null_mean, original, zero, mean))
        yield tuple(found)


def _others(fold: NDArray[np.intp], units: NDArray[np.intp]) -> NDArray[np.intp]:
    """For each row the next one of its fold that is of another unit: random, because units are in hash order.

    The last takes the first; where a fold holds a single unit, the next image of it.
    """
    others = np.empty(len(fold), np.intp)
    for k in np.unique(fold):
        mine = np.flatnonzero(fold == k)
        # Images of a unit follow each other: as far on as the unit is large, the next unit has its image of that place.
        starts = np.flatnonzero(np.diff(units[mine], prepend=-1))
        sizes = np.repeat(np.diff(np.append(starts, len(mine))), np.diff(np.append(starts, len(mine))))
        step = np.where(sizes < len(mine), sizes, 1)
        others[mine] = mine[(np.arange(len(mine)) + step) % len(mine)]
    return others
