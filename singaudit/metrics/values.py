"""Which value of a concept group each image has, and how values are compared with each other, many groups at once.

Values count equally, however many images have them: an image's weight is inverse to the number of images that share
its value. Else a value that few images have is never missed in an average. A value that hardly any image has is left
out, its text as well: what a group says must not depend on words that were listed and never seen.

What is read is the largest of centred scores: the group's texts less their mean, against embeddings less theirs, values
counting equally. Image embeddings have much in common, and lie nearer to one text than to the other before they show
anything; and a plain mean lies by the frequent value, so that a border there gives half of its images to the rare one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singaudit.metrics.intervals import BLOCK, ROUNDING
from singaudit.metrics.scores import unit
from singaudit.metrics.subject import GroupTexts, Subject

Array = NDArray[np.float64]

MIN_VALUE_IMAGES = 8
"""Images that a value needs to be judged at all."""


RARE_SHARE = 0.2
"""Least share of the images, in even shares, that a value read zero-shot needs: 10 % where there are two. Of rarer ones
most readings are errors."""
_ROUNDS = 10
# Of finding the border between values and who lies on which side of it.
_KEPT = 1 << 24
# Scores of images times values that are held at once, 128 MiB.


@dataclass(frozen=True)
class Values:
    """The own values of the images for one group."""

    own: NDArray[np.intp]
    """(n,) position among all listed values; -1 where unknown."""
    readable: NDArray[np.bool_]
    """(n,) the vision-language model reads the labelled value, or the same value in two sets of prompts; of a single
    concept, clearly as well."""
    present: NDArray[np.intp]
    """(p,) listed values that are judged: at least ``MIN_VALUE_IMAGES`` units have them, and of those read zero-shot
    ``RARE_SHARE``."""
    counts: NDArray[np.intp]
    """(p,) images that have them."""
    units: NDArray[np.intp]
    """(p,) units that have them."""
    listed: int
    """How many values were listed."""

    @property
    def judged(self) -> bool:
        """Whether there are two values to tell apart."""
        return len(self.present) > 1

    @property
    def effective_images(self) -> float:
        """Equally weighted units that would say as much (Kish): p^2 / sum of 1 / units."""
        # Rounded, because a limit is a round number: 25 and 25 images are 50, not a bit less.
        return round(len(self.present) ** 2 / float(np.sum(1 / self.units)), 6) if self.judged else 0.0


def among(values: Values, rows: NDArray[np.intp]) -> Values:
    """The same, judged by the values that the images ``rows`` have.

    A margin over some of the values alone would not cancel what their texts have in common.
    """
    shown = np.isin(values.present, values.own[rows])
    return replace(values, present=values.present[shown], counts=values.counts[shown], units=values.units[shown])


def centred_texts(texts: Array) -> Array:
    """(v, d) texts less their mean, at unit length."""
    return unit(texts - texts.mean(axis=0))


def read_values(subject: Subject, group: GroupTexts) -> Values:
    """Own values: the labels where there are any, else what the image's own embedding says."""
    listed = len(group.texts)
    if group.kind == "concept":
        first, second = (_cosines(subject, texts) for texts in (group.texts, group.second_texts))
        own, readable = _present_or_absent(first[:, 0] - first[:, 1], second[:, 0] - second[:, 1])
    elif group.labels is None:
        own = nearest_value(subject, group.texts)
    else:
        own = group.labels
    units = units_with(own, subject.unit_of, listed)
    enough = units >= MIN_VALUE_IMAGES
    if group.labels is None:
        enough &= units >= RARE_SHARE * units.sum() / max(int((units > 0).sum()), 1)
    present = np.flatnonzero(enough)
    if group.kind != "concept":
        readable = np.zeros(len(own), bool)
        if len(present) > 1:
            # Only values that are judged compete, as everywhere else.
            texts = group.second_texts if group.labels is None else group.texts
            scores = _Scores(subject, centred_texts(texts[present]))
            known = np.full(listed + 1, -1, np.intp)
            known[present] = np.arange(len(present))
            readable = present[scores.largest(scores.middle(known[own]))] == own
    counts = np.bincount(own[own >= 0], minlength=listed)
    return Values(own, readable, present, counts[present], units[present], listed)


def nearest_value(subject: Subject, texts: Array) -> NDArray[np.intp]:
    """(n,) which of ``texts`` (v, d) each image's own embedding is read as, texts and embeddings centred."""
    return _read(_Scores(subject, centred_texts(texts)))


def units_with(own: NDArray[np.intp], unit_of: NDArray[np.intp], listed: int) -> NDArray[np.intp]:
    """(v,) how many units have an image of each value."""
    known = own >= 0
    pairs = np.unique(unit_of[known] * np.intp(listed) + own[known])
    return np.bincount(pairs % listed, minlength=listed)


def read_scores(scores: Array) -> NDArray[np.intp]:
    """(n,) the value of the largest centred score of (n, v); border and values found in turns."""
    return _read(_Table(scores))


def middle(scores: Array, own: NDArray[np.intp]) -> Array:
    """(v,) mean score of (n, v) over the values that enough images have, each value counting equally."""
    return _Table(scores).middle(own)


class _Table:
    """Scores (n, v), looked at a block of images at a time."""

    def __init__(self, table: Array) -> None:
        self._table = table
        self.shape: tuple[int, ...] = table.shape

    def part(self, at: slice) -> Array:
        """Of some images."""
        return self._table[at]

    def largest(self, less: Array) -> NDArray[np.intp]:
        """(n,) which value has the largest score ``less`` (v,)."""
        parts = [np.argmax(self.part(at) - less, axis=1) for at in self._blocks()]
        return np.concatenate([np.empty(0, np.intp), *parts])

    def mean(self) -> Array:
        """(v,)."""
        return np.asarray(sum(self.part(at).sum(axis=0) for at in self._blocks()) / max(self.shape[0], 1))

    def middle(self, own: NDArray[np.intp]) -> Array:
        """As the function."""
        counts = np.bincount(own[own >= 0], minlength=self.shape[1])
        shown = counts >= min(MIN_VALUE_IMAGES, counts.max(initial=1))
        weight = np.where(own >= 0, (shown / np.maximum(counts, 1))[own], 0.0)
        return np.asarray(sum(weight[at] @ self.part(at) for at in self._blocks()) / max(weight.sum(), 1e-300))

    def _blocks(self) -> Iterator[slice]:
        return (slice(start, start + BLOCK) for start in range(0, self.shape[0], BLOCK))


class _Scores(_Table):
    """Products of the images' own embeddings with texts (v, d); of many images and texts made anew at every look."""

    def __init__(self, subject: Subject, texts: Array) -> None:
        self._subject, self._texts = subject, texts
        self.shape = len(subject.embeddings), len(texts)
        self._kept = _cosines(subject, texts) if self.shape[0] * self.shape[1] <= _KEPT else None

    def part(self, at: slice) -> Array:
        """Of some images."""
        if self._kept is not None:
            return self._kept[at]
        return np.asarray(self._subject.embeddings[at].astype(np.float64) @ self._texts.T)


def _read(scores: _Table) -> NDArray[np.intp]:
    own = scores.largest(scores.mean())
    for _ in range(_ROUNDS):
        again = scores.largest(scores.middle(own))
        if np.array_equal(again, own):
            break
        own = again
    return own


def _cosines(subject: Subject, texts: Array) -> Array:
    """(n, v) products of the images' own embeddings with texts (v, d)."""
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
    directions: Array
    """(K, d) the same less the mean of their group, at unit length: what is read by."""
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

    def sides(self, more: Any, own: NDArray[np.int32]) -> Array:
        """(2, 2, s): sums of ``more`` (b, s), and counts, of the images with the first and with the second value."""
        mine = own[:, self._pair_groups]
        masks = (mine == self.pairs, mine == self.pairs + 1)
        return np.array([[(more * mask).sum(axis=0), mask.sum(axis=0)] for mask in masks], dtype=np.float64)

    def centre(self, of_values: Array) -> Array:
        """(K,) what to subtract from scores u @ ``directions``: of (K, d) mean embeddings of the images of each value.

        Half way between values, each counting equally; 0 in a group of which none was seen.
        """
        scores = np.einsum("kd,kd->k", self._group_means(of_values), self.directions)
        return np.nan_to_num(scores)

    def _group_means(self, of_values: Array) -> Array:
        """(K, d) per column the mean of ``of_values`` (K, d) over its group, leaving out NaN."""
        known: NDArray[np.bool_] = np.asarray(np.isfinite(of_values).all(axis=1))
        sums = np.add.reduceat(np.where(known[:, None], of_values, 0.0), self.starts, axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            means: Array = sums / np.add.reduceat(known[:, None].astype(np.float64), self.starts, axis=0)
        return np.repeat(means, self.sizes, axis=0)

    def reads(self, scores: NDArray[np.floating], own: NDArray[np.int32]) -> Array:
        """(b, G) 1 where the group's largest of ``scores`` (b, K) is that of ``own``."""
        best = self._reduce(np.maximum, scores)
        return ((self.of_own(scores, own) >= best) & (own >= 0)).astype(np.float64)

    def reads_swapped(
        self,
        base: Any,
        moved: Any,
        own: NDArray[np.int32],
        donors: NDArray[np.int32],
        as_of: NDArray[np.int32] | None = None,
    ) -> Array:
        """(b, G) 1 where features with a donor's null component are read as its value, or as that of ``as_of``.

        ``base`` and ``moved`` (b, K): centred scores of f without its null component, and what that adds. ``donors``
        and ``as_of`` (b, G): positions, negative where there is none, whose result means nothing.
        """
        groups = np.repeat(np.arange(len(self.sizes)), self.sizes)
        scores = base + moved[np.maximum(donors, 0)[:, groups], np.arange(len(groups))]
        wanted = np.take_along_axis(own, np.maximum(donors if as_of is None else as_of, 0), axis=0)
        return self.reads(scores, wanted)

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
        column: NDArray[np.int32] = np.full(len(group.texts) + 1, -1, np.int32)  # the last entry is for unknown, -1
        column[v.present] = starts[g] + np.arange(len(v.present))
        own[:, g] = column[v.own]
    return Layout(
        texts=np.concatenate([group.texts[v.present] for group, v in zip(groups, values, strict=True)]),
        directions=np.concatenate([centred_texts(g.texts[v.present]) for g, v in zip(groups, values, strict=True)]),
        starts=starts,
        sizes=sizes,
        own=own,
        readable=np.stack([v.readable for v in values], axis=1),
        pairs=starts[sizes == 2],
        value_weight=np.concatenate([n / (len(v.counts) * v.counts) for v in values]),
        across=np.repeat(np.array([group.kind == "class" for group in groups]), sizes),
    )
