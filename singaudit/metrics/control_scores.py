"""The audit's scores of moved features, as controls take them: one vector of means over images a draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singaudit.metrics.control_moves import Moved, Single, unit_single
from singaudit.metrics.donors import find_donors
from singaudit.metrics.subject import Block, GroupTexts, Subject
from singaudit.metrics.values import Layout, Values, arrange

Array = NDArray[np.float64]

_REMOVAL = ("image_score_deg", "attribute_score_deg", "signed_attribute_score_deg", "ratio")
MODEL_SCORES = (*_REMOVAL, *(f"mean_removal.{name}" for name in _REMOVAL))
GROUP_SCORES = ("margin_deg", "contrast_deg", "carried_share", "null_follow")


@dataclass(frozen=True)
class Before:
    """What draws that leave the translator alone begin with: computed once for all of them."""

    unit: Single
    """(n, d) directions of the translated features."""
    class_angles: Single
    """(n,) degrees to the images' own classes."""
    margins: Array
    """(G,) weighted mean margins."""
    centre: Single
    """(K,) what centres scores; see ``values.Layout.centre``."""


class ControlScores:
    """All scores of moved features as one vector: ``MODEL_SCORES``, then each of ``GROUP_SCORES`` for every group.

    Groups of several values come first, then those of two, as ``order`` puts them.
    """

    def __init__(self, subject: Subject, block: Block, groups: Sequence[GroupTexts], values: Sequence[Values]) -> None:
        self._class_texts = subject.class_texts[subject.class_of[block.rows]].astype(np.float32)
        several = [g for g, v in enumerate(values) if len(v.present) != 2]
        two = [g for g, v in enumerate(values) if len(v.present) == 2]
        self.order = several + two
        """Positions in ``groups``, in the order of the scores."""
        arranged = [groups[g] for g in self.order], [values[g] for g in self.order]
        self._groups = _Groups(subject, arrange(*arranged), block) if self.order else None

    def before(self, original: Single) -> Before:
        """Of translated features (n, d), before any move."""
        u = unit_single(original)
        empty = np.empty(0, np.float32)
        centre = self._groups.centre(original) if self._groups else empty
        return Before(u, self._class_angles(u), self._margins(u), centre)

    def __call__(self, moved: Moved, before: Before) -> Array:
        """Means over the images; NaN for what these moves have no number of."""
        u = before.unit
        scores: list[float] = []
        for v in (unit_single(moved.zero), mean := unit_single(moved.mean)):
            change = (before.class_angles - self._class_angles(v)).astype(np.float64)
            apart, together = np.linalg.norm(u - v, axis=1), np.linalg.norm(u + v, axis=1)
            angle = float(np.degrees(2 * np.arctan2(apart, together)).mean(dtype=np.float64))
            size = np.abs(change).mean()
            scores += [angle, size, change.mean(), angle / size if size > 0 else np.nan]
        if not self.order:
            return np.array(scores)
        contrast = before.margins - self._margins(mean)
        with np.errstate(divide="ignore", invalid="ignore"):
            share = contrast / before.margins
        return np.concatenate([scores, before.margins, contrast, share, self._follow(moved, before.centre)])

    def _class_angles(self, u: Single) -> Single:
        cosine = np.clip(np.einsum("ij,ij->i", u, self._class_texts), -1, 1)
        return np.degrees(np.arccos(cosine)).astype(np.float32, copy=False)

    def _margins(self, u: Single) -> Array:
        """(G,)."""
        return self._groups.margins(u) if self._groups else np.empty(0)

    def _follow(self, moved: Moved, centre: Single) -> Array:
        """(G,) null-follow."""
        if self._groups is None or not moved.swaps:
            return np.full(len(self.order), np.nan)
        return self._groups.follow(moved, centre)


class _Groups:
    """Groups side by side: what their scores need that no draw changes."""

    def __init__(self, subject: Subject, layout: Layout, block: Block) -> None:
        self._layout = layout
        own = layout.own[block.rows]
        self._own = own
        donors = find_donors(block, subject.class_of[block.rows], layout)
        self._donors = donors
        self._weight = layout.weight(own) * donors.usable
        self._coefficients = layout.mean_margins(own).astype(np.float32)
        self._texts = np.ascontiguousarray(layout.texts.T, dtype=np.float32)
        self._directions = np.ascontiguousarray(layout.directions.T, dtype=np.float32)
        member = layout.one_hot(own)
        with np.errstate(invalid="ignore", divide="ignore"):
            self._member = (member / member.sum(axis=0)).astype(np.float32)

    def margins(self, u: Single) -> Array:
        """(G,) weighted mean margin of the own values."""
        cosine = u @ self._texts
        np.clip(cosine, -1, 1, out=cosine)
        by_value = np.degrees(np.einsum("ik,ik->k", np.arccos(cosine, out=cosine), self._coefficients))
        result: Array = self._layout.per_group(by_value.astype(np.float64)[None])[0]
        return result

    def centre(self, original: Single) -> Single:
        """(K,) from the means of these images, values counting equally."""
        return self._layout.centre((self._member.T @ original).astype(np.float64)).astype(np.float32)

    def follow(self, moved: Moved, centre: Single) -> Array:
        """(G,) weighted share that is read as the other donor's value."""
        left = moved.mean @ self._directions - centre
        null = (moved.original - moved.mean) @ self._directions
        hits = self._layout.reads_swapped(left, null, self._own, self._donors.other)
        with np.errstate(invalid="ignore"):
            result: Array = (self._weight * hits).sum(axis=0) / self._weight.sum(axis=0)
        return result
