"""Which value of a concept group each image has, and how values are compared with each other, many groups at once.

Values count equally, however many images have them: an image's weight is inverse to the number of images that share
its value. Else a value that few images have is never missed in an average. A value that hardly any image has is left
out, its text as well: what a group says must not depend on words that were listed and never seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singaudit.metrics.intervals import BLOCK, ROUNDING
from singaudit.metrics.subject import GroupTexts, Subject

Array = NDArray[np.float64]

MIN_VALUE_IMAGES = 8
"""Images that a value needs to be judged at all."""


@dataclass(frozen=True)
class Values:
    """The own values of the images for one group."""

    own: NDArray[np.intp]
    """(n,) position among all listed values; -1 where unknown."""
    readable: NDArray[np.bool_]
    """(n,) the vision-language model reads the labelled value, or the same value in two sets of prompts; of a single
    concept, clearly as well."""
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
        # Rounded, because a limit is a round number: 25 and 25 images are 50, not a bit less.
        return round(len(self.present) ** 2 / float(np.sum(1 / self.counts)), 6) if self.judged else 0.0


def among(values: Values, rows: NDArray[np.intp]) -> Values:
    """The same, judged by the values that the images ``rows`` have.

    A margin over some of the values alone would not cancel what their texts have in common.
    """
    shown = np.isin(values.present, values.own[rows])
    return replace(values, present=values.present[shown], counts=values.counts[shown])


def read_values(subject: Subject, group: GroupTexts) -> Values:
    """Own values: the labels where there are any, else what the image's own embedding says."""
    first, second = (_cosines(subject, texts) for texts in (group.texts, group.second_texts))
    if group.kind == "concept":
        own, readable = _present_or_absent(first[:, 0] - first[:, 1], second[:, 0] - second[:, 1])
    else:
        own = np.argmax(first, axis=1) if group.labels is None else group.labels
    counts = np.bincount(own[own >= 0], minlength=len(group.texts))
    present = np.flatnonzero(counts >= MIN_VALUE_IMAGES)
    if group.kind != "concept":
        # Only values that are judged compete, as everywhere else.
        scores = second if group.labels is None else first
        readable = present[np.argmax(scores[:, present], axis=1)] == own if len(present) else np.zeros(len(own), bool)
    return Values(own, readable, present, counts[present])


def _cosines(subject: Subject, texts: Array) -> Array:
    """(n, v) cosines of the images' own embeddings with texts (v, d)."""
    parts = [
        subject.embeddings[start : start + BLOCK].astype(np.float64) @ texts.T
        for start in range(0, len(subject.embeddings), BLOCK)
    ]
    return np.concatenate(parts)


def _present_or_absent(first: Array, second: Array) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """((n,) 0 where a concept is present and 1 where not, (n,) whether that is clear), from two sets of prompts.

    ``first`` and ``second`` (n,) say how much closer an image is to the concept than to "an image". Where presence
    begins differs between texts: an image may be closer to "an image" than to anything it shows. So the images are
    split in two where the halves differ most (Otsu 1979). Any values can be split; only where few lie near the border
    is it one of two things: clear are images further from it than a quarter of the distance between the two means,
    on the same side by both sets of prompts.
    """
    present, distance = _split(first)
    agrees, _ = _split(second)
    return np.where(present, 0, 1), (distance > 0.25) & (present == agrees)


def _split(x: Array) -> tuple[NDArray[np.bool_], Array]:
    """Otsu's split of (n,): which are above the border, and how far from it in distances between the means."""
    ordered, n = np.sort(x), len(x)
    sums, below = np.cumsum(ordered), np.arange(1, n)
    if n < 2 or ordered[-1] - ordered[0] <= ROUNDING:
        return np.zeros(n, bool), np.zeros(n)
    between = (sums[:-1] / below - (sums[-1] - sums[:-1]) / (n - below)) ** 2 * below * (n - below)
    cut = int(np.argmax(between))
    border = (ordered[cut] + ordered[cut + 1]) / 2
    above = x > border
    return above, np.abs(x - border) / (x[above].mean() - x[~above].mean())


def half_way(sides: Array) -> Array:
    """(s,) where the first of two values begins, of sums and counts ``sides`` as ``Layout.sides`` gives.

    A translator draws what it reads of a rare value toward the common one; half way between the means of the images
    that have either is where neither is favoured. 0 where no image has one of the two.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.nan_to_num((sides[0, 0] / sides[0, 1] + sides[1, 0] / sides[1, 1]) / 2)


@dataclass(frozen=True)
class Layout:
    """Several groups side by side: their present values are K columns, group g has ``sizes[g]`` from ``starts[g]``."""

    texts: Array
    """(K, d) unit text embeddings."""
    starts: NDArray[np.intp]
    """(G,)."""
    sizes: NDArray[np.intp]
    """(G,) at least 2 each."""
    own: NDArray[np.int32]
    """(n, G) column of each image's own value, -1 where it has none that is judged."""
    value_weight: Array
    """(K,) weight of an image with that value: n / (values of the group * images with the value)."""
    readable: NDArray[np.bool_]
    """(n, G) as ``Values.readable``."""
    across: NDArray[np.bool_]
    """(K,) columns of groups whose null donors are of any class."""
    pairs: NDArray[np.intp]
    """Columns of the first of two values, of single concepts and of attributes; the next one is of the other."""

    def weight(self, own: NDArray[np.int32]) -> Array:
        """(b, G) weights of images with own values ``own`` (b, G)."""
        weights: Array = np.where(own >= 0, self.value_weight[own], 0.0)
        return weights

    def of_own(self, table: Any, own: NDArray[np.int32]) -> Any:
        """(b, G) entries of ``table`` (b, K) in the columns ``own`` (b, G); any entry where there is none."""
        return np.take_along_axis(table, np.maximum(own, 0), axis=1)

    def own_margin(self, angles: Any, own: NDArray[np.int32], border: Array | None = None) -> Any:
        """(b, G): mean angle to the group's other values less that to the own one, of angles (b, K).

        Of two values, how far the difference of both angles is on the own side of ``border`` (s,), as ``half_way``
        finds it among all images; None: among these, which are all.
        """
        mine = self.of_own(angles, own)
        others = (self._reduce(np.add, angles) - mine) / (self.sizes - 1).astype(angles.dtype)
        margin = others - mine
        if len(self.pairs):
            # The border cancels in means in which both values count equally, but not in their resamples.
            column, group = self.pairs, self._pair_groups
            if border is None:
                border = half_way(self.sides(self.apart(angles), own))
            margin[:, group] -= np.where(own[:, group] == column, border, -border)
        return margin

    @property
    def _pair_groups(self) -> NDArray[np.intp]:
        return np.searchsorted(self.starts, self.pairs)

    def apart(self, angles: Any) -> Any:
        """(b, s) how much further, in angles (b, K), the second of two values is than the first."""
        return angles[:, self.pairs + 1] - angles[:, self.pairs]

    def closer(self, u: Any, texts: Any) -> Any:
        """(b, s) how much larger the cosine of unit ``u`` (b, d) with the first of two values is; ``texts`` (d, K)."""
        return u @ (texts[:, self.pairs] - texts[:, self.pairs + 1])

    def sides(self, more: Any, own: NDArray[np.int32]) -> Array:
        """(2, 2, s): sums of ``more`` (b, s), and counts, of the images with the first and with the second value."""
        mine = own[:, self._pair_groups]
        masks = (mine == self.pairs, mine == self.pairs + 1)
        return np.array([[(more * mask).sum(axis=0), mask.sum(axis=0)] for mask in masks], dtype=np.float64)

    def read(self, vectors: Any, any_vectors: Any, texts: Any, border: Any) -> Any:
        """(b, K) how much unit ``vectors`` (b, d) say each value; ``any_vectors`` where null donors are of any class.

        The largest in a group is what is read, of two values by ``border``.
        """
        scores = vectors @ texts
        if self.across.any():
            scores[:, self.across] = any_vectors @ texts[:, self.across]
        if len(self.pairs):
            # A strided view where pairs stand side by side: several times faster than a list of columns.
            first, last = int(self.pairs[0]), int(self.pairs[-1])
            together = last - first == 2 * (len(self.pairs) - 1)
            scores[:, slice(first, last + 1, 2) if together else self.pairs] -= border
        return scores

    def reads(self, scores: NDArray[np.floating], own: NDArray[np.int32]) -> Array:
        """(b, G) 1 where the group's largest of ``scores`` (b, K) is that of ``own``."""
        best = self._reduce(np.maximum, scores)
        return ((self.of_own(scores, own) >= best) & (own >= 0)).astype(np.float64)

    def winners(self, scores: NDArray[np.floating]) -> Array:
        """(b, K) 1 in the column of each group's largest score, shared out between ties."""
        best = np.repeat(self._reduce(np.maximum, scores), self.sizes, axis=1)
        won = (scores >= best).astype(np.float64)
        shared: Array = won / np.repeat(self._reduce(np.add, won), self.sizes, axis=1)
        return shared

    def per_group(self, table: Array) -> Array:
        """(b, G) sums over each group's columns of ``table`` (b, K)."""
        summed: Array = self._reduce(np.add, table)
        return summed

    def _reduce(self, operation: np.ufunc, table: Any) -> Any:
        """(b, G) each group's columns of ``table`` (b, K) put together; pairs at the end, several times faster."""
        pairs = self.starts[len(self.starts) - len(self.pairs) :]
        if not len(pairs) or not np.array_equal(pairs, self.pairs):
            return operation.reduceat(table, self.starts, axis=1)
        first = pairs[0]
        last = operation(table[:, first::2], table[:, first + 1 :: 2])
        if first == 0:
            return last
        return np.concatenate([operation.reduceat(table[:, :first], self.starts[: -len(pairs)], axis=1), last], axis=1)

    def mean_margins(self, own: NDArray[np.int32]) -> Array:
        """(b, K): coefficients with which angles (b, K), multiplied and summed, give each group's weighted mean margin.

        The mean is linear in the angles, which is all that draws of controls need; borders cancel, because values
        count equally among these images. NaN for a group of which none of the images shows a value.
        """
        mine = self.one_hot(own)
        counts = mine.sum(axis=0)
        shown = np.add.reduceat((counts > 0).astype(np.float64), self.starts)
        with np.errstate(invalid="ignore", divide="ignore"):
            weight = np.where(own >= 0, 1 / (counts[own] * np.where(shown > 0, shown, np.nan)), 0.0)
        weight[:, shown == 0] = np.nan
        others = np.repeat(weight / (self.sizes - 1), self.sizes, axis=1)
        size = np.repeat(self.sizes, self.sizes)
        # (sum - mine) / (size - 1) - mine
        coefficients: Array = others - mine * others * size
        return coefficients

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
        starts=starts, sizes=sizes, own=own,
        readable=np.stack([v.readable for v in values], axis=1),
        pairs=starts[sizes == 2],
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
