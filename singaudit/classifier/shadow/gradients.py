"""The gradient check: a copy's directional derivatives against central differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from singaudit.classifier.interface import Precision
from singaudit.classifier.shadow import carriers
from singaudit.classifier.shadow.module import ShadowCopy
from singaudit.classifier.shadow.reference import Reference

Array = NDArray[Any]

COSINES: dict[Precision, float] = {"fp32": 0.99, "fp16": 0.99, "int8": 0.9}
"""Smallest allowed cosine between gradients and central differences.

int8: quantised grids clip, so that kinks lie closer than in the network they were made from.
"""

_STEPS = (1e-4, 3e-5, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
# Steps of the central differences in standard deviations of the input: small ones drown in rounding, large ones
# cross kinks. A right gradient agrees at one of them at least; a wrong one at none.

_LEVELS = (1, 2, 4, 8)
_MOVED = 1 / 16
# The same for 8-bit pixels, in levels. No level is smaller than 1, so that a share of the pixels is moved alone.

_DIRECTIONS = 8
IMAGES_AT_ONCE = 4
"""Images of the gradient check, and of every batch that need not be larger: one shape is prepared once."""


def run_in_batches(shadow: ShadowCopy, images: Array, batch: int | None) -> list[torch.Tensor]:
    """Run the copy over images (n, ...) in batches of the declared size (4 where dynamic); outputs are joined."""
    size = batch or IMAGES_AT_ONCE
    device = next((buffer.device for buffer in shadow.buffers()), torch.device("cpu"))
    parts = []
    for start in range(0, len(images), size):
        chunk = images[start : start + size]
        short = size - len(chunk) if batch else 0
        # A fixed batch is filled up with copies of its last image, whose results are dropped again.
        full = np.concatenate([chunk, np.repeat(chunk[-1:], short, 0)]) if short else chunk
        tensor = torch.from_numpy(np.ascontiguousarray(full)).to(device)
        parts.append([value[: len(chunk)] for value in shadow(tensor)])
    return [torch.cat(items) for items in zip(*parts, strict=True)]


def to_numpy(value: torch.Tensor) -> Array:
    """Return a tensor as a float64 array on the CPU."""
    return value.detach().cpu().to(torch.float64).numpy()


def gradient_cosine(
    shadow: ShadowCopy,
    reference: Reference,
    mode: str,
    images: Array,
    precision: Precision,
    generator: np.random.Generator,
) -> float | None:
    """Return the cosine between directional derivatives of the copy and central differences.

    Each image has its own random weights on the first output and its own random directions; the cosine is over all
    images and directions together, at the step where it is largest. None where the input takes whole numbers that are
    no pixels. Of 8-bit pixels some are moved by whole levels, up or down, because the model takes nothing between
    them; the copy, whose gradient is checked, takes the same pixels in float32.

    In fp32 the differences are ONNX Runtime's. In fp16 and int8 its outputs are staircases, whose steps hide the
    slope; the differences are then those of the copy's own forward pass with rounding left out, the function whose
    gradient the copy gives. The certificate compares that pass's outputs with the model's as well.
    """
    if images.dtype != np.uint8 and not np.issubdtype(images.dtype, np.floating):
        return None
    levels = images.dtype == np.uint8 and precision == "fp32"
    batch = shadow.batch
    images = images[: max(IMAGES_AT_ONCE, batch or 0)].astype(np.float32)
    if levels:
        # Room for the largest move in both directions.
        images = images.clip(_LEVELS[-1], 255 - _LEVELS[-1])
    output = reference.run(mode, images.astype(reference.dtype))[0]
    weights = generator.standard_normal(output.shape)
    gradient = _input_gradient(shadow, torch.from_numpy(images), weights, batch)
    directions = generator.standard_normal((_DIRECTIONS, *images.shape))
    if levels:
        directions = np.sign(directions) * (generator.random(directions.shape) < _MOVED)
    ours = (directions * gradient).reshape(_DIRECTIONS, len(images), -1).sum(-1)
    deviation = float(images.std(dtype=np.float64)) or 1.0

    def objective(moved: Array) -> Array:
        if precision == "fp32":
            value = reference.run(mode, moved.astype(reference.dtype))[0].astype(np.float64)
        else:
            with torch.no_grad(), carriers.without_rounding():
                value = to_numpy(run_in_batches(shadow, moved.astype(np.float32), batch)[0])
        return np.asarray((value * weights).reshape(len(images), -1).sum(-1))

    best = -1.0
    for size in _LEVELS if levels else [step * deviation for step in _STEPS]:
        theirs = np.stack(
            [(objective(images + size * d) - objective(images - size * d)) / (2 * size) for d in directions]
        )
        best = max(best, _cosine(ours, theirs))
        if best > 1 - (1 - COSINES[precision]) / 2:
            break
    return best


def _input_gradient(shadow: ShadowCopy, leaf: torch.Tensor, weights: Array, batch: int | None) -> Array:
    """Return the gradient of the weighted first output with respect to each image, float64."""
    size = batch or len(leaf)
    device = next((buffer.device for buffer in shadow.buffers()), torch.device("cpu"))
    parts = []
    for start in range(0, len(leaf), size):
        chunk = leaf[start : start + size].detach().to(device).requires_grad_()
        if len(chunk) < size:
            chunk = torch.cat([chunk, chunk[-1:].expand(size - len(chunk), *chunk.shape[1:])]).detach().requires_grad_()
        value = shadow(chunk)[0]
        if not value.requires_grad:
            # A label, or another output that no input can change smoothly.
            return np.zeros(leaf.shape)
        wanted = torch.zeros_like(value)
        count = min(size, len(leaf) - start)
        wanted[:count] = torch.from_numpy(weights[start : start + count]).to(value)
        value.backward(wanted)
        gradient = chunk.grad if chunk.grad is not None else torch.zeros_like(chunk)
        parts.append(to_numpy(gradient[:count]))
    return np.concatenate(parts)


def _cosine(a: Array, b: Array) -> float:
    scale = float(np.linalg.norm(a) * np.linalg.norm(b))
    if scale == 0.0:
        # Both vanish where the output does not depend on the input; one alone means disagreement.
        return 1.0 if not np.any(a) and not np.any(b) else 0.0
    return float((a * b).sum() / scale)
