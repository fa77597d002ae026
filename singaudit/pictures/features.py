"""The classifier's features from its shadow copy: differentiable, in rows, whatever the graph's own layout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from singaudit.classifier.interface import Classifier
from singaudit.classifier.shadow.module import ShadowCopy, shadow_copy
from singaudit.classifier.tap import Tap
from singaudit.machine import on_device


class FeatureCopy:
    """Inputs to penultimate features (n, m) through the shadow copy; made by ``feature_copy``."""

    def __init__(self, shadow: ShadowCopy, taps: Sequence[Tap], device: str) -> None:
        self._shadow = on_device(shadow, device)
        self._taps = tuple(taps)
        self.device = device

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        """Features (n, m) float32 of prepared inputs (n, ...); a fixed batch size is filled up with the last image."""
        size = self._shadow.batch or len(inputs)
        parts = [self._run(inputs[start : start + size], size) for start in range(0, len(inputs), size)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _run(self, inputs: torch.Tensor, size: int) -> torch.Tensor:
        count = len(inputs)
        if count < size:
            inputs = torch.cat([inputs, inputs[-1:].detach().expand(size - count, *inputs.shape[1:])])
        values = self._shadow(inputs)
        rows = [_rows(tap, value)[:count] for tap, value in zip(self._taps, values, strict=True)]
        return rows[0] if len(rows) == 1 else torch.cat(rows, dim=1)


def feature_copy(classifier: Classifier, device: str = "cpu") -> FeatureCopy:
    """The shadow copy of the graph that ``classifier`` runs, cut where its features are.

    Raises UnsupportedModelError and ModelError as ``shadow_copy`` does.
    """
    taps = classifier.taps
    return FeatureCopy(shadow_copy(classifier.graph_path, [tap.tensor for tap in taps]), taps, device)


def _rows(tap: Tap, value: Any) -> torch.Tensor:
    """``Tap.read`` on a torch tensor."""
    if tap.batch_axis is None:
        return _rows(tap.with_batch_axis(), value.unsqueeze(0))
    others = tuple(axis for axis in range(value.ndim) if axis != tap.batch_axis and axis not in tap.axes)
    if others:
        value = value.mean(dim=others, keepdim=True)
    rows = value.movedim(tap.batch_axis, 0).flatten(1).to(torch.float32)
    return rows if tap.scale is None else (rows - tap.zero) * tap.scale
