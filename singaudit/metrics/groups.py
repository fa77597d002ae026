"""What the null space carries of each concept group: margins, contrast, null-follow and probes, many groups at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from singaudit.language.translators.fit import Fitted, fold_of
from singaudit.metrics.beyond_class import compare_within
from singaudit.metrics.borders import Borders, find_borders
from singaudit.metrics.donors import Donors, find_donors
from singaudit.metrics.intervals import Bootstrap, Estimate, at_least_wilson, narrower_than_an_image
from singaudit.metrics.nonlinear import MAX_ROWS, Planted, plant_controls, quadratic_hits
from singaudit.metrics.probes import Rotated, normalised_accuracy, read_by_probes
from singaudit.metrics.readability import TextTest
from singaudit.metrics.scores import text_angles
from singaudit.metrics.subject import Block, GroupTexts, Subject, blocks
from singaudit.metrics.values import Layout, Values, arrange

Array = NDArray[np.float64]

_Statistic = Callable[[Array], Array]

# Values measured at once: bounds memory whatever the number of concepts.
_COLUMNS_AT_ONCE = 1024
# Attributes at once that a nonlinear reading is tried of; single concepts are read linearly.
_ATTRIBUTES = 64

_MOVED = ("margin", "contrast", "reads", "swapped", "follow", "follow_chance")
_PROBED = ("probe", "probe_principal", "probe_null")
# Per group: sums over images, each weighted so that values count equally.
_QUADRATIC = ("quadratic", "quadratic_principal", "quadratic_null")
_PLAIN = ("weight", "margin_encoder", "readable", "class_knows", *_PROBED, "looked", *_QUADRATIC, *_MOVED)
# The same with the class taken out.
_WITHIN = tuple(f"within_{name}" for name in ("weight", *_PROBED, *_MOVED))
# And by translators of either half.
_COLUMNS = (*_PLAIN, *_WITHIN, *(f"{name}_{half}" for half in (0, 1) for name in _MOVED))
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
    """Share of features that are read as the null donor's value, of donors with another one."""
    follow_chance: float
    """The same share with a donor of the image's own value."""
    follow_normalised: Estimate
    """(follow - chance) / (1 - chance)."""
    follow_share: Estimate
    """The same over the normalised accuracy with which T f reads the images' own values: 1 when all that can be read
    follows the null component, however noisy the features are."""


@dataclass(frozen=True)
class BeyondClass:
    """The numbers with the class taken out: values are compared within classes.

    Classes count by how much there is to compare. Value, low, high are NaN where no class shows two values.
    """

    class_knows: Estimate
    """Normalised accuracy with which the class alone tells the value."""
    units: int
    """Units with a value that is not the most frequent of their class."""
    carried_share: Estimate
    """Contrast over margin."""
    margin: Estimate
    """margin(T f), degrees."""
    follow_normalised: Estimate
    """(follow - chance) / (1 - chance) among donors of the image's own class."""
    probe: Estimate
    """Normalised accuracy of a linear probe of f with the class's part taken out."""
    probe_principal: Estimate
    """The same of P_p f."""
    probe_null: Estimate
    """The same of P_n f."""
    probe_gain: Estimate
    """Share of the accuracy from f that P_p f lacks."""


@dataclass(frozen=True)
class GroupMeasure:
    """The numbers of one concept group. Its present values count equally, however many images have them."""

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
    beyond: BeyondClass
    """With the class taken out."""
    nonlinear: tuple[Estimate, Estimate, Estimate]
    """Normalised accuracy of quadratic probes of f, of P_p f and of P_n f; NaN where none was tried."""


@dataclass(frozen=True)
class MeasuredGroup:
    """A concept group with everything that was measured of it."""

    of: GroupTexts
    """The group and its texts."""
    values: Values
    """The images' own values."""
    text_test: TextTest | None = None
    """Its texts against ones that mean nothing; None where labels state the values."""
    numbers: GroupMeasure | None = None
    """None where fewer than two values are present."""
    contrast: Array | None = None
    """(n,) contrast in degrees; None for single concepts and where there are no numbers."""
    margin: Array | None = None
    """(n,) margin(T f) of the own value in degrees; None likewise."""


def measure_groups(subject: Subject, groups: Sequence[MeasuredGroup]) -> list[MeasuredGroup]:
    """The groups with their numbers, and per image contrast and margin where they are groups of several values."""
    found = list(groups)
    for chunk in _chunks(found):
        table = _Table(subject, [found[g] for g in chunk])
        for position, (g, numbers) in enumerate(zip(chunk, table.measures(), strict=True)):
            found[g] = replace(found[g], numbers=numbers)
            if found[g].of.kind != "concept":
                contrast, margin = table.contrast[:, position], table.margin[:, position]
                found[g] = replace(found[g], contrast=contrast, margin=margin)
    return found


def _chunks(groups: Sequence[MeasuredGroup]) -> Iterator[list[int]]:
    """Positions of the groups that can be measured, those whose values are taken in one pass together."""
    chunk: list[int] = []
    columns = 0
    for g, group in enumerate(groups):
        if not group.values.judged:
            continue
        if chunk and columns + len(group.values.present) > _COLUMNS_AT_ONCE:
            yield chunk
            chunk, columns = [], 0
        chunk.append(g)
        columns += len(group.values.present)
    if chunk:
        yield chunk


class _Table:
    """Weighted sums over images for several groups, in one pass over the blocks."""

    def __init__(self, subject: Subject, measured: Sequence[MeasuredGroup]) -> None:
        groups, values = [group.of for group in measured], [group.values for group in measured]
        self._subject, self._values, self._groups = subject, values, groups
        self._layout = layout = arrange(groups, values)
        self._within = within = compare_within(layout, subject.within, subject.unit_of)
        n, count = layout.own.shape
        self.margin, self.contrast = np.empty((n, count)), np.empty((n, count))
        self._sums = Bootstrap(subject.seed)
        rotated, fold = Rotated(subject.features, subject.space), fold_of(subject.keys)
        hits = read_by_probes(rotated, layout, within, fold)
        attributes = np.array([g for g, group in enumerate(groups) if group.kind == "group"], np.intp)
        looked = np.zeros(n, bool)
        looked[subject.order[:MAX_ROWS]] = True
        quadratic = quadratic_hits(rotated, layout, attributes[:_ATTRIBUTES], fold, np.flatnonzero(looked))
        borders = [find_borders(subject, layout, choose) for choose in ("full", 0, 1)]
        centres = [_centres(subject, layout, choose) for choose in ("full", 0, 1)]
        for full, *halves in zip(*(blocks(subject, choose) for choose in ("full", 0, 1)), strict=True):
            rows, own = full.rows, layout.own[full.rows]
            donors = find_donors(full, subject.within[rows], layout)
            weight, inside = layout.weight(own), within.weight(rows, own)
            moved = self._moved(full, own, donors, borders[0], centres[0])
            self.margin[rows], self.contrast[rows] = moved[0], moved[1]
            columns = [
                weight,
                weight * self._encoder_margin(full, own, borders[0]),
                weight * layout.readable[rows],
                weight * within.class_hits(rows, own, layout.value_weight),
                *(weight * hit for hit in hits.plain[:, rows]),
                weight * looked[rows][:, None],
                *(weight * hit for hit in quadratic[:, rows]),
                *_weighed(moved, weight, donors.usable),
                inside,
                *(inside * hit for hit in hits.within[:, rows]),
                *_weighed(self._moved_within(full, own, moved), inside, donors.within),
            ]
            for half, border, centre in zip(halves, borders[1:], centres[1:], strict=True):
                columns += _weighed(self._moved(half, own, donors, border, centre), weight, donors.usable)
            self._sums.add(np.stack(columns, axis=1).reshape(len(own), -1), full.units)

    def _moved(
        self, block: Block, own: NDArray[np.int32], donors: Donors, borders: Borders | None, centre: Array
    ) -> tuple[Array, ...]:
        """Margin, contrast, whether T f is read right, and features as the other and as the same donor's value.

        (b, G) each.
        """
        layout = self._layout
        before = layout.own_margin(text_angles(block.original, layout.texts), own, borders.before if borders else None)
        after = layout.own_margin(text_angles(block.mean, layout.texts), own, borders.after if borders else None)
        whole = block.original @ layout.directions.T - centre
        moved = (block.original - block.mean) @ layout.directions.T
        return (
            before,
            before - after,
            layout.reads(whole, own),
            layout.reads_swapped(whole - moved, moved, own, donors.other),
            layout.reads_swapped(whole - moved, moved, own, donors.same, donors.other),
        )

    def _moved_within(self, block: Block, own: NDArray[np.int32], moved: tuple[Array, ...]) -> tuple[Array, ...]:
        """The same, margin and contrast among the values of the image's class alone."""
        before, after = (text_angles(z, self._layout.texts) for z in (block.original, block.mean))
        margin, left = (self._within.margin(angles, block.rows, own) for angles in (before, after))
        return (margin, margin - left, *moved[2:])

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
        effective = [v.effective_images for v in self._values]

        def mean(c: Array, name: str, over: str = "weight") -> Array:
            value: Array = c[..., _AT[name], :] / c[..., _AT[over], :]
            return value

        def estimates(statistic: _Statistic) -> list[Estimate]:
            return sums.estimates(lambda c: statistic(c.reshape(*c.shape[:-1], columns, count)), n)

        def accuracy(name: str) -> list[Estimate]:
            found = estimates(lambda c: normalised_accuracy(mean(c, name), chance))
            return [at_least_wilson(*one) for one in zip(found, effective, chance, strict=True)]

        def follow(c: Array, name: str, half: str) -> Array:
            at = [
                c[..., _AT[part], :]
                for part in (f"{name}follow{half}", f"{name}follow_chance{half}", f"{name}swapped{half}")
            ]
            hit, by_chance = at[0] / at[2], at[1] / at[2]
            return (hit - by_chance) / (1 - by_chance)

        def never_points(found: list[Estimate], chances: Sequence[float]) -> list[Estimate]:
            # Paired with its chance, a share may be surer than one of its own: but never a point.
            return [
                at_least_wilson(e, k, c) if narrower_than_an_image(e, k) else e
                for e, k, c in zip(found, effective, chances, strict=True)
            ]

        def carried(half: str) -> list[Carried]:
            def margin(c: Array) -> Array:
                return mean(c, "margin" + half)

            expected = [e.value for e in estimates(lambda c: mean(c, "follow_chance" + half, "swapped" + half))]
            found = zip(
                estimates(margin),
                estimates(lambda c: margin(c) / mean(c, "margin_encoder")),
                estimates(lambda c: mean(c, "contrast" + half)),
                estimates(lambda c: mean(c, "contrast" + half) / margin(c)),
                never_points(estimates(lambda c: mean(c, "follow" + half, "swapped" + half)), [0.0] * count),
                expected,
                never_points(estimates(lambda c: follow(c, "", half)), expected),
                estimates(lambda c: follow(c, "", half) / normalised_accuracy(mean(c, "reads" + half), chance)),
                strict=True,
            )
            return [Carried(*one) for one in found]

        def gain(c: Array, prefix: str, chance: Array | float) -> Array:
            whole, seen = (mean(c, prefix + name, prefix + "weight") for name in ("probe", "probe_principal"))
            return np.asarray((whole - seen) / (whole - chance))

        def beyond() -> list[BeyondClass]:
            def within(name: str) -> list[Estimate]:
                return estimates(lambda c: mean(c, "within_" + name, "within_weight"))

            found = zip(
                accuracy("class_knows"),
                self._within.units.tolist(),
                estimates(lambda c: mean(c, "within_contrast", "within_margin")),
                within("margin"),
                estimates(lambda c: follow(c, "within_", "")),
                *(within(name) for name in _PROBED),
                estimates(lambda c: gain(c, "within_", 0.0)),
                strict=True,
            )
            return [BeyondClass(*one) for one in found]

        def quadratic(name: str) -> list[Estimate]:
            found = estimates(lambda c: normalised_accuracy(mean(c, name, "looked"), chance))
            nothing = Estimate(np.nan, np.nan, np.nan, 0)
            tried = [v.kind == "group" for v in self._groups]
            few = [min(k, MAX_ROWS) for k in effective]
            return [
                at_least_wilson(*one) if known else nothing
                for known, one in zip(tried, zip(found, few, chance, strict=True), strict=True)
            ]

        halves = zip(carried("_0"), carried("_1"), strict=True)
        return [
            GroupMeasure(*one)
            for one in zip(
                carried(""),
                halves,
                estimates(lambda c: mean(c, "margin_encoder")),
                accuracy("readable"),
                *(accuracy(name) for name in _PROBED),
                estimates(lambda c: gain(c, "", chance)),
                beyond(),
                zip(*(quadratic(name) for name in _QUADRATIC), strict=True),
                strict=True,
            )
        ]


def _weighed(moved: tuple[Array, ...], weight: Array, usable: NDArray[np.bool_]) -> list[Array]:
    """Columns as ``_MOVED``, of what ``_Table`` gives for each image; swaps count where there are donors."""
    swapped = weight * usable
    margin, contrast, reads, follow, chance = moved
    return [weight * margin, weight * contrast, weight * reads, swapped, swapped * follow, swapped * chance]


def _centres(subject: Subject, layout: Layout, choose: str | int) -> Array:
    """(K,) what centres scores of T f: from the mean features of each value, because T is linear."""
    fitted: Fitted = subject.fitted
    which = fitted.fold
    total = np.zeros((len(layout.texts), subject.embeddings.shape[1]))
    counts = np.zeros(len(layout.texts))
    for k in np.unique(which):
        translator = fitted.translators[k] if isinstance(choose, str) else fitted.halves[k][choose]
        sums, images = np.zeros((len(layout.texts), subject.features.shape[1])), np.zeros(len(layout.texts))
        mine = np.flatnonzero(which == k)
        for start in range(0, len(mine), 4096):
            rows = mine[start : start + 4096]
            member = layout.one_hot(layout.own[rows])
            sums += member.T @ subject.features[rows].astype(np.float64)
            images += member.sum(axis=0)
        total += sums @ translator.weight + images[:, None] * translator.intercept
        counts += images
    with np.errstate(invalid="ignore", divide="ignore"):
        return layout.centre(total / counts[:, None])


def plant(subject: Subject) -> Planted:
    """Whether codes planted in the null part of the subject's images are found there."""
    rows = np.sort(subject.order[:MAX_ROWS])
    return plant_controls(
        Rotated(subject.features, subject.space), fold_of(subject.keys), subject.unit_of, rows, subject.seed
    )
