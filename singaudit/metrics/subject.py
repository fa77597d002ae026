"""What an audit measures, and its images a block at a time, translated.

Rows are taken in the order of their content hashes, so that file order and names change nothing, a block is a random
sample of the images, and the next image of the same fold and class is a random donor.

Null components are swapped between images of one class. Across classes a swap leaves the features' distribution: the
translator reads the class from both parts together, and a mismatch of the two drowns what the null component carries
(of an embedded model whose colour is all but entirely null, 38 % of swaps across classes were read as the donor's
colour, 63 % within). Only for the class group itself donors are of any class.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from singaudit.geometry.null_space import NullSpace
from singaudit.language.translators.fit import Fitted, Translator, by_fold
from singaudit.metrics.intervals import BLOCK

Array = NDArray[np.float64]


@dataclass(frozen=True)
class GroupTexts:
    """A concept group as the measurement needs it."""

    name: str
    """Of the group."""
    texts: Array
    """(v, d) unit text embeddings of its values."""
    second_texts: Array
    """(v, d) the same values said in other words."""
    labels: NDArray[np.intp] | None
    """(n,) the images' own values where they are known, -1 for an image without one; None: read zero-shot."""
    kind: Literal["class", "group", "concept"] = "group"
    """The classes' own group; values of one attribute; or one concept, present or absent."""


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


@dataclass(frozen=True)
class Block:
    """One block of images, translated."""

    rows: NDArray[np.intp]
    """(b,) positions of the images."""
    fold: NDArray[np.intp]
    """(b,) which translator."""
    donors: NDArray[np.intp]
    """(b,) position within the block of each image's null donor, of the same fold and, where it has another, class."""
    any_donors: NDArray[np.intp]
    """(b,) the same without regard to class."""
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
    swapped: Array
    """(b, d) T of the image with its donor's null component."""
    any_swapped: Array
    """(b, d) the same with a donor of any class."""


def blocks(subject: Subject, choose: str | int = "full", limit: int | None = None) -> Iterator[Block]:
    """The images in hash order, ``BLOCK`` at a time, translated by the full translators or by half 0 or 1."""
    order = np.argsort(np.asarray(subject.sha256), kind="stable")[:limit]
    fitted, space = subject.fitted, subject.space

    def translator(k: int) -> Translator:
        return fitted.translators[k] if isinstance(choose, str) else fitted.halves[k][choose]

    null_means = space.null_part(np.stack([t.mean for t in fitted.translators]))
    for start in range(0, len(order), BLOCK):
        rows = order[start : start + BLOCK]
        f = subject.features[rows].astype(np.float64)
        fold = fitted.fold[rows]
        null, null_mean = space.null_part(f), null_means[fold]
        original = by_fold(translator, fold, f)
        moved = by_fold(translator, fold, null, linear=True)
        donors, any_donors = _donors(fold, subject.class_of[rows]), _donors(fold, np.zeros_like(fold))
        zero = original - moved
        mean = zero + by_fold(translator, fold, null_mean, linear=True)
        yield Block(
            rows, fold, donors, any_donors, f, null, null_mean, original, zero, mean, zero + moved[donors],
            zero + moved[any_donors],
        )  # fmt: skip


def _donors(fold: NDArray[np.intp], kind: NDArray[np.intp]) -> NDArray[np.intp]:
    """For each row the next one of its fold and kind: random, because rows are in hash order.

    The last of a kind takes the kind's first; a row that is alone of its kind takes the next of its fold.
    """
    donors = np.empty(len(fold), np.intp)
    for k in np.unique(fold):
        mine = np.flatnonzero(fold == k)
        mine = mine[np.argsort(kind[mine], kind="stable")]
        following = np.roll(mine, -1)
        starts = np.flatnonzero(np.diff(kind[mine], prepend=-1))
        ends = np.append(starts[1:], len(mine)) - 1
        several = ends > starts
        following[ends[several]] = mine[starts[several]]
        donors[mine] = following
    return donors
