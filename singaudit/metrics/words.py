"""Words: which concepts images lose and gain when the null component becomes the mean one, picked and confirmed.

The change of a concept is its AS under mean removal less the mean AS of its group: what moves all texts of a kind
together says nothing about one of them. Beside it stands the control: the same images with *other* images' null
components taken out, because removing any large part of the features changes every reading somewhat. A word needs a
change that differs from 0 and, pair by pair, from its control, to the same side.

Words are picked on one half of the images and confirmed on the other (``changes``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from singaudit.metrics.changes import JudgedChanges, Sums, judge_changes, one_hot
from singaudit.metrics.class_findings import ClassCarried, ClassSums
from singaudit.metrics.scores import text_angles
from singaudit.metrics.subject import Block, Subject, blocks
from singaudit.metrics.values import MIN_VALUE_IMAGES, nearest_value, units_with

Array = NDArray[np.float64]

NEGLIGIBLE_SHARE = 0.05
"""A change below this share of the mean angle between the group's texts is none: degrees do not transfer between
vision-language models, shares of what their own texts differ by do."""
MAX_IMAGES = 10_000
"""More images only narrow intervals that are narrow already."""
MAX_CLASSES = 1000
"""Classes with the most images whose own words are looked for."""


@dataclass(frozen=True)
class Words:
    """Changes of all concepts: over the images that show them, over those that do not, and per class."""

    shown: JudgedChanges
    """(k,) over the images whose own value the concept is."""
    absent: JudgedChanges
    """(k,) over the images that have another value."""
    classes: NDArray[np.intp]
    """(c,) classes that were looked at."""
    by_class: JudgedChanges
    """(c, k) over the images of each class."""
    before: Array
    """(c, k) mean angle(T f, text) over the images of each class, degrees."""
    after: Array
    """(c, k) mean angle(T f~, text)."""
    asked: JudgedChanges
    """(q,) over the images of a class that show a concept, for those asked about."""
    carried: ClassCarried
    """(c, g) what each class's images lose of their own values."""


def find_words(subject: Subject, own: Sequence[NDArray[np.intp]], asked: Sequence[tuple[int, int]] = ()) -> Words:
    """Judge every concept of the subject's ``concept_texts`` by mean removal.

    The texts are those of the groups one after the other, and then single concepts, which count as a group. ``own``
    holds each group's (n,) own values, -1 where an image has none; of single concepts an image shows the nearest.
    ``asked`` are (class, concept) pairs that somebody wants to know about by name.
    """
    texts = subject.concept_texts
    starts, own_values = _layout(subject, own)
    return _find(subject, texts, starts, own_values, asked)


def _layout(subject: Subject, own: Sequence[NDArray[np.intp]]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(starts (g,), own (n, g) as positions among all texts): the groups, and the single concepts as one more."""
    bounds = np.cumsum([0, *(len(group.texts) for group in subject.groups if group.kind != "concept")])
    columns = [np.where(o >= 0, o + start, -1) for o, start in zip(own, bounds[:-1], strict=True)]
    singles = subject.concept_texts[bounds[-1] :]
    if not len(singles):
        return bounds[:-1], np.stack(columns, axis=1)
    # One concept has no rivals: nothing can be said of it beside what moves every text.
    if len(singles) > 1:
        columns.append(nearest_value(subject, singles) + bounds[-1])
    else:
        columns.append(np.full(len(subject.embeddings), -1, np.intp))
    return bounds, np.stack(columns, axis=1)


def _find(
    subject: Subject, texts: Array, starts: NDArray[np.intp], own: NDArray[np.intp], asked: Sequence[tuple[int, int]]
) -> Words:
    counts = np.bincount(subject.class_of)
    classes = np.sort(np.argsort(-counts, kind="stable")[: min(MAX_CLASSES, int((counts > 0).sum()))])
    place = np.full(len(counts), -1, np.intp)
    place[classes] = np.arange(len(classes))
    shown, absent = Sums((len(texts),)), Sums((len(texts),))
    by_class = Sums((len(classes), len(texts)))
    pairs = np.asarray(asked, np.intp).reshape(-1, 2)
    of_pair = Sums((len(pairs),))
    carried = ClassSums(len(classes), len(starts))
    angles = np.zeros((2, len(classes), len(texts)))
    # As over all images, a group's own reading is compared with the values that images have, not with every listed one.
    present = _present(own, len(texts), subject.unit_of)
    judged = np.where((own >= 0) & present[own], own, -1)
    # margin = mean angle to the others less the own angle = - v / (v - 1) * own angle centred on the group's mean.
    sizes = np.add.reduceat(present, starts, dtype=np.intp)
    scale = sizes / np.maximum(sizes - 1, 1)
    for block in blocks(subject, limit=MAX_IMAGES):
        # By unit: copies of an image in both halves would confirm what they picked.
        half = half_of([subject.keys[row] for row in block.rows])
        before, after, control = _angles(block, texts)
        change, against = centred(before - after, starts), centred(before - control, starts)
        member = place[subject.class_of[block.rows]]
        own_judged = judged[block.rows]
        change_own, against_own, angle = (
            scale * _own(centred(table, starts, present), own_judged)
            for table in (before - after, before - control, before)
        )
        carried.add(half, member, change_own, against_own, -angle, own_judged >= 0, block.units)
        mine = np.zeros(change.shape, bool)
        rows, columns = np.nonzero(own[block.rows] >= 0)
        mine[rows, own[block.rows][rows, columns]] = True
        for h in (0, 1):
            at = half == h
            shown.add(h, change[at], against[at], mine[at], block.units[at])
            absent.add(h, change[at], against[at], ~mine[at], block.units[at])
            mine_of_class = subject.class_of[block.rows[at]][:, None] == pairs[:, 0]
            of_pair.add(
                h,
                change[at][:, pairs[:, 1]],
                against[at][:, pairs[:, 1]],
                mine[at][:, pairs[:, 1]] & mine_of_class,
                block.units[at],
            )
            by_class.add_by(h, change[at], against[at], member[at], block.units[at])
        belongs = one_hot(member, len(classes))
        angles += np.stack([belongs.T @ before, belongs.T @ after])
    negligible = NEGLIGIBLE_SHARE * spreads(texts, starts)
    n = np.maximum(by_class.n.sum(axis=0), 1.0)
    both = judge_changes([shown.tests(), absent.tests()], negligible)
    return Words(
        both[0],
        both[1],
        classes,
        judge_changes([by_class.tests()], negligible)[0],
        angles[0] / n,
        angles[1] / n,
        judge_changes([of_pair.tests()], negligible[pairs[:, 1]])[0],
        carried.result(NEGLIGIBLE_SHARE * spreads(texts, starts, present)[starts]),
    )


def without_unread(words: Words, unread: NDArray[np.bool_], asked: Sequence[tuple[int, int]]) -> Words:
    """``words`` with nothing claimed of concepts (k,) that the language model does not read from the images."""

    def untold(judged: JudgedChanges, mask: NDArray[np.bool_] = unread) -> JudgedChanges:
        return replace(judged, change=np.where(mask, "cannot tell", judged.change))

    return replace(
        words,
        shown=untold(words.shown),
        absent=untold(words.absent),
        by_class=untold(words.by_class),
        asked=untold(words.asked, unread[[concept for _, concept in asked]]),
    )


def half_of(sha256: Sequence[str]) -> NDArray[np.intp]:
    """The half of each image by its content hash, by other digits than its fold."""
    return np.array([int(digest[12:16], 16) % 2 for digest in sha256], dtype=np.intp)


def _angles(block: Block, texts: Array) -> tuple[Array, Array, Array]:
    """(b, k) angles to the texts before, after mean removal, and with another image's null component taken out."""
    moved = block.original - block.mean
    return (
        text_angles(block.original, texts),
        text_angles(block.mean, texts),
        text_angles(block.original - moved[block.others], texts),
    )


def _own(table: Array, own: NDArray[np.intp]) -> Array:
    """(b, g) the entry of ``table`` (b, k) at each image's own values ``own`` (b, g); 0 where it has none."""
    found: Array = np.where(own >= 0, np.take_along_axis(table, np.maximum(own, 0), axis=1), 0.0)
    return found


def _present(own: NDArray[np.intp], count: int, unit_of: NDArray[np.intp]) -> NDArray[np.bool_]:
    """(k,) which of ``count`` texts are judged as values: those that enough units have, of own values (n, g)."""
    units: NDArray[np.intp] = sum((units_with(column, unit_of, count) for column in own.T), np.zeros(count, np.intp))
    return units >= MIN_VALUE_IMAGES


def centred(change: Array, starts: NDArray[np.intp], present: NDArray[np.bool_] | None = None) -> Array:
    """(b, k) changes less the mean of their group; ``present`` (k,) says which of it are in the mean, None: all."""
    widths = np.diff(np.append(starts, change.shape[1]))
    counted = np.ones(change.shape[1], bool) if present is None else present
    means = np.add.reduceat(change * counted, starts, axis=1) / np.maximum(np.add.reduceat(counted * 1, starts), 1)
    return change - np.repeat(means, widths, axis=1)


def spreads(texts: Array, starts: NDArray[np.intp], present: NDArray[np.bool_] | None = None) -> Array:
    """(k,) mean angle between the texts of each concept's group, of those ``present`` (k,), None: all; degrees."""
    ends = np.append(starts[1:], len(texts))
    found = np.empty(len(texts))
    for start, end in zip(starts, ends, strict=True):
        chosen = texts[start:end] if present is None else texts[start:end][present[start:end]]
        size = len(chosen)
        angles = text_angles(chosen, chosen)
        found[start:end] = (angles.sum() - np.trace(angles)) / max(size * (size - 1), 1)
    return found
