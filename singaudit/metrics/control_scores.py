"""The audit's scores of moved features, as controls take them: one vector of means over images a draw."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from singaudit.metrics.control_moves import Moved, Single, unit_single
from singaudit.metrics.subject import Block, Subject
from singaudit.metrics.values import Layout

_REMOVAL = ("image_score_deg", "attribute_score_deg", "signed_attribute_score_deg", "ratio")
MODEL_SCORES = (*_REMOVAL, *(f"mean_removal.{name}" for name in _REMOVAL))
GROUP_SCORES = ("margin_deg", "contrast_deg", "carried_share", "null_follow")


class ControlScores:
    """All scores of moved features as one vector: ``MODEL_SCORES``, then each of ``GROUP_SCORES`` for every group."""

    def __init__(self, subject: Subject, block: Block, layout: Layout | None) -> None:
        self._class_texts = subject.class_texts[subject.class_of[block.rows]].astype(np.float32)
        self._layout = layout
        self._images = len(block.rows)
        if layout is not None:
            across = layout.across[layout.starts]
            self._own = layout.own[block.rows]
            self._donated = np.where(across, self._own[block.any_donors], self._own[block.donors])
            self._donor_weight = layout.weight(self._donated)
            self._coefficients = layout.mean_margins(self._own).astype(np.float32)
            self._texts = np.ascontiguousarray(layout.texts.T, dtype=np.float32)
        self._before: tuple[Single, NDArray[np.float64], Single] | None = None

    def __call__(self, moved: Moved) -> NDArray[np.float64]:
        """Means over the images; NaN for what these moves have no number of."""
        u = unit_single(moved.original)
        before = _angles(np.sum(u * self._class_texts, axis=1))
        scores: list[float] = []
        for equivalent in (moved.zero, moved.mean):
            v = unit_single(equivalent)
            change = (before - _angles(np.sum(v * self._class_texts, axis=1))).astype(np.float64)
            apart, together = np.linalg.norm(u - v, axis=1), np.linalg.norm(u + v, axis=1)
            angle, size = (
                float(np.degrees(2 * np.arctan2(apart, together)).mean(dtype=np.float64)),
                np.abs(change).mean(),
            )
            scores += [angle, size, change.mean(), angle / size if size > 0 else np.nan]
        return np.concatenate([scores, *self._group_scores(moved, u)]) if self._layout else np.array(scores)

    def _group_scores(self, moved: Moved, u: Single) -> Iterator[NDArray[np.float64]]:
        assert self._layout is not None
        margin, border = self._start(u, moved.original)
        contrast = margin - self._margins_of(unit_single(moved.mean))
        yield margin
        yield contrast
        with np.errstate(divide="ignore", invalid="ignore"):
            yield contrast / margin
            if moved.swapped is None or moved.any_swapped is None:
                yield np.full_like(margin, np.nan)
            else:
                swapped = unit_single(moved.swapped), unit_single(moved.any_swapped)
                scores = self._layout.read(*swapped, self._texts, border)
                follow = self._donor_weight * self._layout.reads(scores, self._donated)
                yield follow.sum(axis=0) / self._donor_weight.sum(axis=0)

    def _start(self, u: Single, original: Single) -> tuple[NDArray[np.float64], Single]:
        """Margins and borders before any move, remembered: only shuffled translators change what draws begin with."""
        assert self._layout is not None
        if self._before is None or self._before[0] is not original:
            self._before = original, self._margins_of(u), self._layout.border(u, self._texts, self._own)
        return self._before[1:]

    def _margins_of(self, u: Single) -> NDArray[np.float64]:
        """(G,) weighted mean margin of the own values."""
        assert self._layout is not None
        cosine = u @ self._texts
        np.clip(cosine, -1, 1, out=cosine)
        by_value = np.degrees(np.einsum("ik,ik->k", np.arccos(cosine, out=cosine), self._coefficients))
        result: NDArray[np.float64] = self._layout.per_group(by_value.astype(np.float64)[None])[0]
        return result


def _angles(cosine: Single) -> Single:
    return np.degrees(np.arccos(np.clip(cosine, -1, 1))).astype(np.float32, copy=False)
