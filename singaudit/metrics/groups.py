"""What the null space carries of each concept group: margins, contrast, null-follow and probes, many groups at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import numpy as np
from numpy.typing import NDArray

from singaudit.geometry.threads import workers
from singaudit.language.translators.fit import Fitted, fold_of
from singaudit.machine import side_by_side
from singaudit.metrics.beyond_class import compare_within
from singaudit.metrics.borders import Borders, find_borders
from singaudit.metrics.donors import Donors, find_donors
from singaudit.metrics.group_numbers import EVEN, PROBED, GroupMeasure, Numbers
from singaudit.metrics.intervals import Bootstrap
from singaudit.metrics.nonlinear import MAX_ROWS, Planted, plant_controls, quadratic_hits
from singaudit.metrics.probes import Hits, read_by_probes
from singaudit.metrics.readability import TextTest
from singaudit.metrics.rotated import Rotated, in_blocks
from singaudit.metrics.scores import text_angles
from singaudit.metrics.subject import Block, GroupTexts, Subject, blocks_by
from singaudit.metrics.values import Layout, Values, arrange

Array = NDArray[np.float64]

# Values measured at once: bounds memory whatever the number of concepts.
_COLUMNS_AT_ONCE = 1024
# Attributes at once that a nonlinear reading is tried of; single concepts are read linearly.
_ATTRIBUTES = 64
_PROBED = slice(EVEN.index(PROBED[0]), EVEN.index(PROBED[-1]) + 1)


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


def measure_groups(subject: Subject, rotated: Rotated, groups: Sequence[MeasuredGroup]) -> list[MeasuredGroup]:
    """The groups with their numbers, and per image contrast and margin where they are groups of several values.

    ``rotated`` are the subject's features.
    """
    found = list(groups)
    for chunk in _chunks(found):
        table = _Table(subject, rotated, [found[g] for g in chunk])
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

    def __init__(self, subject: Subject, rotated: Rotated, measured: Sequence[MeasuredGroup]) -> None:
        groups, values = [group.of for group in measured], [group.values for group in measured]
        self._subject, self._values, self._groups = subject, values, groups
        self._layout = layout = arrange(groups, values)
        self._within = within = compare_within(layout, subject.within, subject.unit_of)
        n, count = layout.own.shape
        self.margin, self.contrast = np.empty((n, count)), np.empty((n, count))
        self._sums, self._by_value = Bootstrap(subject.seed), np.zeros((len(layout.texts), len(EVEN)))
        fold = fold_of(subject.keys)
        units = int(subject.unit_of.max()) + 1
        attributes = np.array([g for g, group in enumerate(groups) if group.kind == "group"], np.intp)
        looked = np.zeros(n, bool)
        looked[subject.order[:MAX_ROWS]] = True
        asked = np.flatnonzero(looked)
        at_a_time = workers(*subject.features.shape[::-1])
        calls = (
            partial(read_by_probes, rotated, layout, within, fold, units, at_a_time),
            partial(quadratic_hits, rotated, layout, attributes[:_ATTRIBUTES], fold, asked),
        )
        hits, quadratic = cast(tuple[Hits, NDArray[np.float32]], side_by_side(calls, at_a_time))
        borders = [find_borders(subject, layout, choose) for choose in ("full", 0, 1)]
        centres = _centres(subject, layout, ("full", 0, 1))
        for full, *halves in blocks_by(subject, ("full", 0, 1)):
            rows, own = full.rows, layout.own[full.rows]
            donors = find_donors(full, subject.within[rows], layout)
            weight, inside = layout.weight(own), within.weight(rows, own)
            moved = [self._moved(full, own, donors, borders[0], centres[0])]
            for half, border, centre in zip(halves, borders[1:], centres[1:], strict=True):
                moved.append(self._moved(half, own, donors, border, centre))
            self.margin[rows], self.contrast[rows] = moved[0][0], moved[0][1]
            even = [
                np.ones_like(weight),
                self._encoder_margin(full, own, borders[0]),
                layout.readable[rows],
                within.class_hits(rows, own, layout.value_weight),
                *hits.plain[:, rows],
                np.broadcast_to(looked[rows][:, None], own.shape),
                *quadratic[:, rows],
                *(one for each in moved for one in each[:3]),
            ]
            columns = np.stack(even, axis=1) * weight[:, None]
            columns[:, _PROBED] += hits.fitting[:, rows].swapaxes(0, 1)
            member = layout.one_hot(own)
            self._add_by_value(columns, member)
            swapped, swapped_within = weight * donors.usable, inside * donors.within
            hit = [one for each in moved for one in each[3:]]
            lent = [donors.lent(one) for one in (swapped, *(swapped * one for one in hit))]
            alike = [
                inside,
                *(inside * hit for hit in hits.within[:, rows]),
                *(inside * one for one in self._moved_within(full, own)),
                *(donors.lent(one) for one in (swapped_within, *(swapped_within * one for one in hit[:2]))),
            ]
            whole = np.concatenate([columns, np.stack([*lent, *alike], axis=1)], axis=1)
            each = whole.reshape(len(own), -1), member * layout.value_weight
            self._sums.add(np.concatenate(each, axis=1), full.units)

    def _add_by_value(self, columns: Array, member: Array) -> None:
        """Add columns (b, k, G) to the means of the values that the images have, 1 in ``member`` (b, K)."""
        layout = self._layout
        for g, (start, size) in enumerate(zip(layout.starts, layout.sizes, strict=True)):
            values = slice(start, start + size)
            self._by_value[values] += member[:, values].T @ columns[:, :, g] / len(layout.own)

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

    def _moved_within(self, block: Block, own: NDArray[np.int32]) -> tuple[Array, Array]:
        """Margin and contrast among the values of the image's class alone."""
        before, after = (text_angles(z, self._layout.texts) for z in (block.original, block.mean))
        margin, left = (self._within.margin(angles, block.rows, own) for angles in (before, after))
        return margin, margin - left

    def _encoder_margin(self, block: Block, own: NDArray[np.int32], borders: Borders | None) -> Array:
        """(b, G): what a perfect translator would show."""
        angles = text_angles(self._subject.embeddings[block.rows], self._layout.texts)
        return self._layout.own_margin(angles, own, borders.encoder if borders else None)

    def measures(self) -> list[GroupMeasure]:
        """The numbers of every group."""
        layout = self._layout
        return Numbers(
            self._sums,
            self._by_value,
            layout.sizes,
            np.count_nonzero(layout.own >= 0, axis=0),
            [values.effective_images for values in self._values],
            [group.kind == "group" for group in self._groups],
            self._within.units,
        ).of_groups()


def _centres(subject: Subject, layout: Layout, chosen: Sequence[str | int]) -> list[Array]:
    """(K,) each: what centres scores of T f: from the mean features of each value, because T is linear."""
    fitted: Fitted = subject.fitted
    total = np.zeros((len(chosen), len(layout.texts), subject.embeddings.shape[1]))
    counts = np.zeros(len(layout.texts))
    for k in np.unique(fitted.fold):
        sums, images = np.zeros((len(layout.texts), subject.features.shape[1])), np.zeros(len(layout.texts))
        for rows in in_blocks(np.flatnonzero(fitted.fold == k)):
            member = layout.one_hot(layout.own[rows])
            sums += member.T @ subject.features[rows].astype(np.float64)
            images += member.sum(axis=0)
        for each, choose in zip(total, chosen, strict=True):
            translator = fitted.translators[k] if isinstance(choose, str) else fitted.halves[k][choose]
            each += sums @ translator.weight + images[:, None] * translator.intercept
        counts += images
    with np.errstate(invalid="ignore", divide="ignore"):
        return [layout.centre(each / counts[:, None]) for each in total]


def plant(subject: Subject, rotated: Rotated) -> Planted:
    """Whether codes planted in the null part of the subject's images, whose features are ``rotated``, are found."""
    rows = np.sort(subject.order[:MAX_ROWS])
    return plant_controls(rotated, fold_of(subject.keys), subject.unit_of, rows, subject.seed)
