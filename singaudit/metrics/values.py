"""Which value of a concept group each image has, and how values are compared with each other, many groups at once.

Values count equally, however many images have them: an image's weight is inverse to the number of images that share
its value. Else a value that few images have is never missed in an average. A value that hardly any image has is left
out, its text as well: what a group says must not depend on words that were listed and never seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singaudit.metrics.intervals import BLOCK
from singaudit.metrics.subject import GroupTexts, Subject

Array = NDArray[np.float64]

MIN_VALUE_IMAGES = 8
"""Images that a value needs to be judged at all."""


@dataclass(frozen=True)
class Values:
    """The own values of the images for one group."""

    own: NDArray[np.intp]
    """(n,) position among all listed values; -1 where unknown."""
    present: NDArray[np.intp]
    """(p,) listed values that at least ``MIN_VALUE_IMAGES`` images have."""
    counts: NDArray[np.intp]
    """(p,) images that have them."""

    @property
    def judged(self) -> bool:
        """Whether there are two values to tell apart."""
        return len(self.present) > 1

    @property
    def effective_images(self) -> float:
        """Equally weighted images that would say as much (Kish): p^2 / sum of 1 / count."""
        return len(self.present) ** 2 / float(np.sum(1 / self.counts)) if self.judged else 0.0


def read_values(subject: Subject, group: GroupTexts) -> Values:
    """Own values: the labels where there are any, else what the image's own embedding is closest to."""
    own = group.labels
    if own is None:
        own = np.empty(len(subject.embeddings), np.intp)
        for start in range(0, len(own), BLOCK):
            rows = slice(start, start + BLOCK)
            own[rows] = np.argmax(subject.embeddings[rows].astype(np.float64) @ group.texts.T, axis=1)
    counts = np.bincount(own[own >= 0], minlength=len(group.texts))
    present = np.flatnonzero(counts >= MIN_VALUE_IMAGES)
    return Values(own, present, counts[present])


@dataclass(frozen=True)
class Layout:
    """Several groups side by side: their present values are K columns, group g has ``sizes[g]`` from ``starts[g]``."""

    texts: Array
    """(K, d) unit text embeddings."""
    second_texts: Array
    """(K, d) the same in other words."""
    starts: NDArray[np.intp]
    """(G,)."""
    sizes: NDArray[np.intp]
    """(G,) at least 2 each."""
    own: NDArray[np.int32]
    """(n, G) column of each image's own value, -1 where it has none that is judged."""
    value_weight: Array
    """(K,) weight of an image with that value: n / (values of the group * images with the value)."""
    across: NDArray[np.bool_]
    """(K,) columns of groups whose null donors are of any class."""

    def weight(self, own: NDArray[np.int32]) -> Array:
        """(b, G) weights of images with own values ``own`` (b, G)."""
        weights: Array = np.where(own >= 0, self.value_weight[own], 0.0)
        return weights

    def of_own(self, table: NDArray[np.floating], own: NDArray[np.int32]) -> NDArray[np.floating]:
        """(b, G) entries of ``table`` (b, K) in the columns ``own`` (b, G); any entry where there is none."""
        taken: NDArray[np.floating] = np.take_along_axis(table, np.maximum(own, 0), axis=1)
        return taken

    def own_margin(self, angles: NDArray[np.floating], own: NDArray[np.int32]) -> NDArray[np.floating]:
        """(b, G): mean angle to the group's other values less the angle to the own one, from angles (b, K)."""
        mine = self.of_own(angles, own)
        others = (np.add.reduceat(angles, self.starts, axis=1) - mine) / (self.sizes - 1).astype(angles.dtype)
        margin: NDArray[np.floating] = others - mine
        return margin

    def reads(self, scores: NDArray[np.floating], own: NDArray[np.int32]) -> Array:
        """(b, G) 1 where the group's largest of ``scores`` (b, K) is that of ``own``."""
        best = np.maximum.reduceat(scores, self.starts, axis=1)
        return ((self.of_own(scores, own) >= best) & (own >= 0)).astype(np.float64)

    def winners(self, scores: NDArray[np.floating]) -> Array:
        """(b, K) 1 in the column of each group's largest score, shared out between ties."""
        best = np.repeat(np.maximum.reduceat(scores, self.starts, axis=1), self.sizes, axis=1)
        won = (scores >= best).astype(np.float64)
        shared: Array = won / np.repeat(np.add.reduceat(won, self.starts, axis=1), self.sizes, axis=1)
        return shared

    def per_group(self, table: NDArray[np.floating]) -> NDArray[np.floating]:
        """(b, G) sums over each group's columns of ``table`` (b, K)."""
        summed: NDArray[np.floating] = np.add.reduceat(table, self.starts, axis=1)
        return summed

    def one_hot(self, own: NDArray[np.int32]) -> Array:
        """(b, K) 1 in the columns of the own values."""
        table = np.zeros((len(own), len(self.texts)))
        rows, groups = np.nonzero(own >= 0)
        table[rows, own[rows, groups]] = 1.0
        return table


def arrange(groups: Sequence[GroupTexts], values: Sequence[Values]) -> Layout:
    """Put groups with at least two present values side by side; ``values`` are the images' own."""
    sizes = np.array([len(v.present) for v in values], np.intp)
    starts = np.cumsum(sizes) - sizes
    n = len(values[0].own)
    own = np.full((n, len(groups)), -1, np.int32)
    for g, (group, v) in enumerate(zip(groups, values, strict=True)):
        column = np.full(len(group.texts) + 1, -1, np.int32)  # the last entry is for unknown, -1
        column[v.present] = starts[g] + np.arange(len(v.present))
        own[:, g] = column[v.own]
    return Layout(
        texts=np.concatenate([group.texts[v.present] for group, v in zip(groups, values, strict=True)]),
        second_texts=np.concatenate([group.second_texts[v.present] for group, v in zip(groups, values, strict=True)]),
        starts=starts, sizes=sizes, own=own,
        value_weight=np.concatenate([n / (len(v.counts) * v.counts) for v in values]),
        across=np.repeat(np.array([group.kind == "class" for group in groups]), sizes),
    )  # fmt: skip


def leave_one_out(
    layout: Layout, own: NDArray[np.int32], fold: NDArray[np.intp], kind: NDArray[np.intp]
) -> Array:  # fmt: skip
    """(b, K): for each image the share of its possible null donors that have each value.

    Possible donors are the other images of the same fold and kind, or of the fold alone where there are none: as
    ``subject.blocks`` chooses them. The image itself is left out: with few images of a kind it would make its own
    value look more likely than it is.
    """
    mine = layout.one_hot(own)
    cells = (fold, np.unique(np.stack([fold, kind]), axis=1, return_inverse=True)[1].reshape(-1))
    shares = np.empty_like(mine)
    for level, cell in enumerate(cells):
        size = np.bincount(cell)
        counts = np.zeros((len(size), mine.shape[1]))
        rows, groups = np.nonzero(own >= 0)
        np.add.at(counts, (cell[rows], own[rows, groups]), 1.0)
        use = np.ones(len(cell), bool) if level == 0 else size[cell] > 1
        shares[use] = (counts[cell[use]] - mine[use]) / np.maximum(size[cell[use]] - 1, 1)[:, None]
    return shares
