"""Images to train and test on: pools of the generated world that no two stages share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from singaudit.dataset.generated.drawing import render, silhouettes
from singaudit.dataset.generated.scenes import Scenes, draw_scenes

CLIP_SEED, CLASSIFIER_SEED, HELD_OUT_SEED = 1_000_001, 2_000_002, 3_000_003
"""Worlds (seeds of the generator) for training the CLIP, training the classifiers, and measuring both."""


@dataclass(frozen=True)
class Pool:
    """Images drawn ahead of training."""

    scenes: Scenes
    """n scenes."""
    pixels: torch.Tensor
    """(n, 3, 64, 64) uint8."""
    covered: torch.Tensor | None
    """(n, 64, 64) float16 of 0 to 1: the shapes' silhouettes, or None."""


def to_input(pixels: torch.Tensor) -> torch.Tensor:
    """(n, 3, 64, 64) float32 from -1 to 1: mean 0.5, std 0.5 on the 0-1 scale."""
    return pixels.float().mul_(2 / 255).sub_(1)


def draw(scenes: Scenes, *, with_silhouettes: bool = False, block: int = 64) -> Pool:
    """Render scenes in blocks that fit the processor's cache."""
    parts = [take(scenes, np.arange(k, min(k + block, len(scenes)))) for k in range(0, len(scenes), block)]
    pixels = torch.from_numpy(np.concatenate([render(part).transpose(0, 3, 1, 2) for part in parts]))
    covered = None
    if with_silhouettes:
        covered = torch.from_numpy(np.concatenate([silhouettes(part).astype(np.float16) for part in parts]))
    return Pool(scenes, pixels.contiguous(), covered)


def take(scenes: Scenes, rows: np.ndarray) -> Scenes:
    """The scenes at ``rows``."""
    return Scenes(**{name: getattr(scenes, name)[rows] for name in Scenes.__dataclass_fields__})


def scene_pools(seed: int, size: int) -> Iterator[Scenes]:
    """Fresh scenes for ever: pool k holds images k * size to (k + 1) * size of the world ``seed``."""
    first = 0
    while True:
        yield draw_scenes(np.arange(first, first + size), seed)
        first += size


def held_out(count: int) -> Pool:
    """The first ``count`` images of the world that nothing was trained on."""
    return draw(draw_scenes(np.arange(count), HELD_OUT_SEED))
