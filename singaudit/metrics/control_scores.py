"""The audit's scores of moved features, as controls take them: one vector of means over images a draw."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singaudit.metrics.control_moves import Moved, Single, unit_single
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
    border: Single
    """(s,) where the first of two values begins; see ``values.half_way``."""


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
        self._several, self._two = (
            kind(arrange([groups[g] for g in chosen], [values[g] for g in chosen]), block) if chosen else None
            for kind, chosen in ((_Groups, several), (_Pairs, two))
        )

    def before(self, original: Single) -> Before:
        """Of translated features (n, d), before any move."""
        u = unit_single(original)
        border = self._two.border(u) if isinstance(self._two, _Pairs) else np.empty(0, np.float32)
        return Before(u, self._class_angles(u), self._margins(u), border)

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
        return np.concatenate([scores, before.margins, contrast, share, self._follow(moved, before.border)])

    def _class_angles(self, u: Single) -> Single:
        cosine = np.clip(np.einsum("ij,ij->i", u, self._class_texts), -1, 1)
        return np.degrees(np.arccos(cosine)).astype(np.float32, copy=False)

    def _parts(self) -> Iterator[_Groups]:
        yield from (part for part in (self._several, self._two) if part is not None)

    def _margins(self, u: Single) -> Array:
        """(G,)."""
        return np.concatenate([part.margins(u) for part in self._parts()]) if self.order else np.empty(0)

    def _follow(self, moved: Moved, border: Single) -> Array:
        """(G,) null-follow."""
        if moved.swapped is None or moved.any_swapped is None:
            return np.full(len(self.order), np.nan)
        swapped, any_swapped = unit_single(moved.swapped), unit_single(moved.any_swapped)
        return np.concatenate([part.follow(swapped, any_swapped, border) for part in self._parts()])


class _Groups:
    """Groups side by side: what their scores need that no draw changes."""

    def __init__(self, layout: Layout, block: Block) -> None:
        self._layout = layout
        own = layout.own[block.rows]
        self._own = own
        across = layout.across[layout.starts]
        self._donated = np.where(across, own[block.any_donors], own[block.donors])
        self._donor_weight = layout.weight(self._donated)
        self._coefficients = layout.mean_margins(own).astype(np.float32)
        self._texts = np.ascontiguousarray(layout.texts.T, dtype=np.float32)

    def margins(self, u: Single) -> Array:
        """(G,) weighted mean margin of the own values."""
        cosine = u @ self._texts
        np.clip(cosine, -1, 1, out=cosine)
        by_value = np.degrees(np.einsum("ik,ik->k", np.arccos(cosine, out=cosine), self._coefficients))
        result: Array = self._layout.per_group(by_value.astype(np.float64)[None])[0]
        return result

    def follow(self, swapped: Single, any_swapped: Single, border: Single) -> Array:
        """(G,) weighted share of the unit ``swapped`` (n, d) that are read as the donor's value."""
        scores = self._layout.read(swapped, any_swapped, self._texts, border)
        hits = self._donor_weight * self._layout.reads(scores, self._donated)
        with np.errstate(invalid="ignore"):
            result: Array = hits.sum(axis=0) / self._donor_weight.sum(axis=0)
        return result


class _Pairs(_Groups):
    """Groups of two values: what is read follows from the difference of both cosines, at half the cost."""

    def __init__(self, layout: Layout, block: Block) -> None:
        super().__init__(layout, block)
        first, second = layout.pairs, layout.pairs + 1
        self._across = layout.across[first]
        self._differences = np.ascontiguousarray((layout.texts[first] - layout.texts[second]).T, dtype=np.float32)
        with np.errstate(invalid="ignore", divide="ignore"):
            halves = sum((own == (self._own)) / (2 * np.sum(own == self._own, axis=0)) for own in (first, second))
        # Where no image has one of the two values, there is no half way and the border is 0.
        self._half = np.where(np.isfinite(halves).all(axis=0), halves, 0.0).astype(np.float32)
        self._donors = [(self._donated == own).astype(np.float32) for own in (first, second)]
        self._counts = [donors.sum(axis=0, dtype=np.float64) for donors in self._donors]
        self._weights = layout.value_weight[first], layout.value_weight[second]

    def border(self, u: Single) -> Single:
        """(s,) as ``values.half_way``."""
        result: Single = np.einsum("ij,ij->j", u @ self._differences, self._half)
        return result

    def follow(self, swapped: Single, any_swapped: Single, border: Single) -> Array:
        """As of any groups; counts are whole numbers, so that equal shares are equal to the last bit."""
        more = swapped @ self._differences
        if self._across.any():
            more[:, self._across] = any_swapped @ self._differences[:, self._across]
        as_first = (more >= border).astype(np.float32)
        first, second = (np.einsum("ij,ij->j", as_first, donors).astype(np.float64) for donors in self._donors)
        hits = self._weights[0] * first + self._weights[1] * (self._counts[1] - second)
        with np.errstate(invalid="ignore"):
            result: Array = hits / (self._weights[0] * self._counts[0] + self._weights[1] * self._counts[1])
        return result
