"""What the null space carries of each concept group: margins, contrast, null-follow and probes, many groups at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singaudit.language.translators.fit import FOLDS, fold_of
from singaudit.language.translators.statistics import accumulate
from singaudit.metrics.borders import Borders, find_borders
from singaudit.metrics.intervals import Bootstrap, Estimate, at_least_wilson, narrower_than_an_image
from singaudit.metrics.probes import Probe, fit_probes, normalised_accuracy
from singaudit.metrics.scores import text_angles, unit
from singaudit.metrics.subject import Block, GroupTexts, Subject, blocks
from singaudit.metrics.values import Layout, Values, arrange, half_way, leave_one_out

Array = NDArray[np.float64]

_Statistic = Callable[[Array], Array]

# Values measured at once: bounds memory whatever the number of concepts.
_COLUMNS_AT_ONCE = 1024

_SWAP = ("margin", "contrast", "reads", "follow", "follow_chance")
_FULL = ("weight", "donor_weight", "margin_encoder", "readable", "probe", "probe_principal", "probe_null", *_SWAP)
# Per group: sums over images, each weighted so that values count equally; the last ones by translators of either half.
_COLUMNS = (*_FULL, *(f"{name}_{half}" for half in (0, 1) for name in _SWAP))
_AT = {name: i for i, name in enumerate(_COLUMNS)}


@dataclass(frozen=True)
class Carried:
    """What one set of translators shows of a group."""

    margin: Estimate
    """margin(T f) of the own value, degrees."""
    margin_share: Estimate
    """margin(T f) over that of the images' own embeddings, resampled jointly."""
    contrast: Estimate
    """margin(T f) - margin(T f~) under mean removal, degrees."""
    carried_share: Estimate
    """Contrast over margin, resampled jointly."""
    follow: Estimate
    """Share of swapped features that are read as the null donor's value."""
    follow_chance: float
    """The same share for permuted donors, in expectation."""
    follow_normalised: Estimate
    """(follow - chance) / (1 - chance)."""
    follow_share: Estimate
    """The same over the normalised accuracy with which T f reads the images' own values: 1 when all that can be read
    follows the null component, however noisy the features are."""


@dataclass(frozen=True)
class GroupMeasure:
    """The numbers of one concept group. Its present values count equally, however many images have them."""

    values: Values
    """The images' own values."""
    carried: Carried
    """By the translators."""
    halves: tuple[Carried, Carried]
    """By translators refitted on either half of the data."""
    margin_encoder: Estimate
    """margin of the images' own embeddings, degrees."""
    readable: Estimate
    """The vision-language model's own reading, against labels or between two sets of prompts: 0 chance, 1 perfect."""
    probe: Estimate
    """Normalised accuracy of a linear probe of f: 0 chance, 1 perfect."""
    probe_principal: Estimate
    """The same of P_p f."""
    probe_null: Estimate
    """The same of P_n f."""
    probe_gain: Estimate
    """Probe of f less that of P_p f, over that of f, resampled jointly: the share that the logits do not see at all."""


def measure_groups(
    subject: Subject, values: Sequence[Values]
) -> tuple[list[GroupMeasure | None], list[Array | None], list[Array | None]]:
    """Per group: its numbers, or None where fewer than two values are present; and per image contrast and margin.

    The per-image arrays (n,) in degrees are kept for groups of several values, not for single concepts.
    """
    measures: list[GroupMeasure | None] = [None] * len(values)
    contrast: list[Array | None] = [None] * len(values)
    margin: list[Array | None] = [None] * len(values)
    for chunk in _chunks(values):
        table = _Table(subject, [subject.groups[g] for g in chunk], [values[g] for g in chunk])
        for position, (g, found) in enumerate(zip(chunk, table.measures(), strict=True)):
            measures[g] = found
            if subject.groups[g].kind != "concept":
                margin[g], contrast[g] = table.margin[:, position], table.contrast[:, position]
    return measures, contrast, margin


def _chunks(values: Sequence[Values]) -> Iterator[list[int]]:
    chunk: list[int] = []
    columns = 0
    for g, v in enumerate(values):
        if not v.judged:
            continue
        if chunk and columns + len(v.present) > _COLUMNS_AT_ONCE:
            yield chunk
            chunk, columns = [], 0
        chunk.append(g)
        columns += len(v.present)
    if chunk:
        yield chunk


class _Table:
    """Weighted sums over images for several groups, in one pass over the blocks."""

    def __init__(self, subject: Subject, groups: Sequence[GroupTexts], values: Sequence[Values]) -> None:
        self._subject, self._values = subject, values
        self._layout = layout = arrange(groups, values)
        n, count = layout.own.shape
        self.margin, self.contrast = np.empty((n, count)), np.empty((n, count))
        self._sums = Bootstrap(subject.seed)
        fold = fold_of(subject.sha256)
        probes = _fit(subject, layout, fold)
        borders = [find_borders(subject, layout, choose) for choose in ("full", 0, 1)]
        for full, first, second in zip(*(blocks(subject, choose) for choose in ("full", 0, 1)), strict=True):
            own = layout.own[full.rows]
            weight = layout.weight(own)
            shares = self._donor_shares(full, own)
            margin, contrast, right, *follow = self._carried(full, own, shares, borders[0])
            self.margin[full.rows], self.contrast[full.rows] = margin, contrast
            columns = [
                weight, layout.weight(_donated(layout, full, own)),
                weight * self._encoder_margin(full, own, borders[0]), weight * layout.readable[full.rows],
                *(weight * hit for hit in _right(layout, probes, fold, full, own)),
                weight * margin, weight * contrast, weight * right, *follow,
            ]  # fmt: skip
            for half, border in zip((first, second), borders[1:], strict=True):
                margin, contrast, right, *follow = self._carried(half, own, shares, border)
                columns += [weight * margin, weight * contrast, weight * right, *follow]
            self._sums.add(np.stack(columns, axis=1).reshape(len(own), -1))

    def _donor_shares(self, block: Block, own: NDArray[np.int32]) -> Array:
        """(b, K) share of each image's possible null donors that have each value."""
        layout = self._layout
        shares = leave_one_out(layout, own, block.fold, self._subject.class_of[block.rows])
        if layout.across.any():
            free = leave_one_out(layout, own, block.fold, np.zeros_like(block.fold))
            shares[:, layout.across] = free[:, layout.across]
        return shares

    def _carried(
        self, block: Block, own: NDArray[np.int32], shares: Array, borders: Borders | None
    ) -> tuple[Array, Array, Array, Array, Array]:  # fmt: skip
        """Margin, contrast, read, weighted follow and its expectation for a permuted donor: (b, G) each."""
        layout = self._layout
        before = layout.own_margin(text_angles(block.original, layout.texts), own, borders.before if borders else None)
        after = layout.own_margin(text_angles(block.mean, layout.texts), own, borders.after if borders else None)
        u = unit(block.original)
        border = borders.read if borders else half_way(layout.sides(layout.closer(u, layout.texts.T), own))
        right = layout.reads(layout.read(u, u, layout.texts.T, border), own)
        scores = layout.read(unit(block.swapped), unit(block.any_swapped), layout.texts.T, border)
        donated = _donated(layout, block, own)
        follow = layout.weight(donated) * layout.reads(scores, donated)
        # The expectation over all permutations of donors is exact and has no draw of its own.
        chance = layout.winners(scores) * layout.value_weight
        return before, before - after, right, follow, layout.per_group(chance * shares)

    def _encoder_margin(self, block: Block, own: NDArray[np.int32], borders: Borders | None) -> Array:
        """(b, G): what a perfect translator would show."""
        angles = text_angles(self._subject.embeddings[block.rows], self._layout.texts)
        return self._layout.own_margin(angles, own, borders.encoder if borders else None)

    def measures(self) -> list[GroupMeasure]:
        """The numbers of every group."""
        sums = self._sums
        count, columns = len(self._layout.sizes), len(_COLUMNS)
        chance = 1 / self._layout.sizes
        n = np.count_nonzero(self._layout.own >= 0, axis=0)

        def mean(c: Array, name: str, over: str = "weight") -> Array:
            value: Array = c[..., _AT[name], :] / c[..., _AT[over], :]
            return value

        def estimates(statistic: _Statistic) -> list[Estimate]:
            return sums.estimates(lambda c: statistic(c.reshape(*c.shape[:-1], columns, count)), n)

        effective = [v.effective_images for v in self._values]

        def accuracy(name: str) -> list[Estimate]:
            found = estimates(lambda c: normalised_accuracy(mean(c, name), chance))
            return [at_least_wilson(*one) for one in zip(found, effective, chance, strict=True)]

        def follows(found: list[Estimate], chances: Iterable[float]) -> list[Estimate]:
            # Narrower than a share of its own, because its chance is known for every image: but never a point.
            return [
                at_least_wilson(e, k, c) if narrower_than_an_image(e, k) else e
                for e, k, c in zip(found, effective, chances, strict=True)
            ]

        def carried(half: str) -> list[Carried]:
            def margin(c: Array) -> Array:
                return mean(c, "margin" + half)

            def follow(c: Array) -> Array:
                return mean(c, "follow" + half, "donor_weight")

            def by_chance(c: Array) -> Array:
                return mean(c, "follow_chance" + half, "donor_weight")

            expected = [e.value for e in estimates(by_chance)]
            found = zip(
                estimates(margin),
                estimates(lambda c: margin(c) / mean(c, "margin_encoder")),
                estimates(lambda c: mean(c, "contrast" + half)),
                estimates(lambda c: mean(c, "contrast" + half) / margin(c)),
                follows(estimates(follow), [0.0] * count),
                expected,
                follows(estimates(lambda c: (follow(c) - by_chance(c)) / (1 - by_chance(c))), expected),
                estimates(
                    lambda c: (
                        (follow(c) - by_chance(c))
                        / (1 - by_chance(c))
                        / normalised_accuracy(mean(c, "reads" + half), chance)
                    )
                ),
                strict=True,
            )
            return [Carried(*one) for one in found]

        halves = zip(carried("_0"), carried("_1"), strict=True)
        gain = estimates(lambda c: (mean(c, "probe") - mean(c, "probe_principal")) / (mean(c, "probe") - chance))
        return [
            GroupMeasure(*one)
            for one in zip(
                self._values, carried(""), halves, estimates(lambda c: mean(c, "margin_encoder")),
                accuracy("readable"), accuracy("probe"), accuracy("probe_principal"), accuracy("probe_null"), gain,
                strict=True,
            )
        ]  # fmt: skip


def _donated(layout: Layout, block: Block, own: NDArray[np.int32]) -> NDArray[np.int32]:
    """(b, G) own values of each image's null donor."""
    across = layout.across[layout.starts]
    donated: NDArray[np.int32] = np.where(across, own[block.any_donors], own[block.donors])
    return donated


class _OneHot:
    """Own values as one-hot rows, made when a block is asked for."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.shape = (len(layout.own), len(layout.texts))

    def __getitem__(self, rows: slice) -> Array:
        return self._layout.one_hot(self._layout.own[rows])


def _fit(subject: Subject, layout: Layout, fold: NDArray[np.intp]) -> list[list[Probe]]:
    """Cross-fitted probes of f, of P_p f and of P_n f."""
    folds = accumulate(subject.features, _OneHot(layout), fold, FOLDS)
    parts = (None, subject.space.principal_part, subject.space.null_part)
    return [fit_probes(folds, part) for part in parts]


def _right(
    layout: Layout, probes: list[list[Probe]], folds: NDArray[np.intp], block: Block, own: NDArray[np.int32]
) -> list[Array]:
    """(b, G) each: 1 where the probe of f, of P_p f, of P_n f is right."""
    fold = folds[block.rows]
    result = []
    for fitted, rows in zip(probes, (block.features, block.features - block.null, block.null), strict=True):
        scores = np.empty((len(rows), len(layout.texts)))
        for k in np.unique(fold):
            scores[fold == k] = fitted[k](rows[fold == k])
        result.append(layout.reads(scores, own))
    return result
