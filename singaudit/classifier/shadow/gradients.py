"""The gradient check: a copy's directional derivatives against differences of its own forward pass in float64.

The certificate compares that forward pass with ONNX Runtime's; what is left to show is that the backward pass belongs
to it. Differences of ONNX Runtime's float32 outputs cannot: small steps drown in rounding, large ones cross kinks, and
with some networks every step does one or the other. In float64 steps can be small enough for neither to matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from singaudit.classifier.interface import Precision
from singaudit.classifier.sandbox.batching import mapped
from singaudit.classifier.shadow import carriers
from singaudit.classifier.shadow.module import ShadowCopy

Array = NDArray[Any]

COSINES: dict[Precision, float] = {"fp32": 0.99, "fp16": 0.99, "int8": 0.9}
"""Smallest allowed cosine between directional derivatives and differences, and in int8 between what the outputs vary by
between images without and with rounding (``following``)."""
LARGEST_ERROR = 0.05
"""Largest allowed distance between directional derivatives and differences, as a share of the differences' length: a
cosine does not see a backward pass that is wrong by a factor, and hardly one that is wrong in one branch."""

_STEPS = (1e-6, 1e-5, 1e-4, 1e-3)
# Steps in standard deviations of the input. The first is right wherever outputs follow the input by more than float64's
# rounding; a right gradient agrees at one of them at least, a wrong one at none.

_JITTER = 1e-3
# Flat parts of a photograph lie exactly on the kinks of maxima and rectifiers, where a gradient is one of many.

_DIRECTIONS, _FEW_DIRECTIONS = 4, 2
IMAGES_AT_ONCE = 4
"""Images of the gradient check, unless fewer are asked for, and of every batch: one shape is prepared once."""


class GradientCheck(NamedTuple):
    """How directional derivatives and differences agree."""

    cosine: float
    """Between the two, over all images and directions."""
    error: float
    """Length of their difference over the length of the differences."""


def run_in_batches(shadow: ShadowCopy, images: Array, at_once: int | None = None) -> list[torch.Tensor]:
    """Run the copy over images (n, ...) in batches of the declared size (``at_once``, or 4, where dynamic), joined."""
    batch = shadow.batch
    size = batch or at_once or IMAGES_AT_ONCE
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


class Followed(NamedTuple):
    """A pass of a copy whose outputs can be followed back to its images."""

    images: torch.Tensor
    """(size, ...), of the declared batch size, filled up."""
    outputs: Sequence[torch.Tensor]
    """What the copy gave of them."""
    counted: int
    """How many of the images are no filling."""


class Start(NamedTuple):
    """Where gradients are checked."""

    images: Array
    """(m, ...) float32."""
    deviation: float
    """Standard deviation of the images they are near to; 1 where that is 0."""


def start_of(images: Array, batch: int | None, generator: np.random.Generator, count: int | None) -> Start | None:
    """A little away from the first ``count`` (None: four) of the preprocessed ``images`` (n, ...), or from as many as a
    declared ``batch`` needs.

    None where the input takes whole numbers that are no pixels; 8-bit pixels enter the copy in floats.
    """
    if images.dtype != np.uint8 and not np.issubdtype(images.dtype, np.floating):
        return None
    images = images[: max(count or IMAGES_AT_ONCE, batch or 0)].astype(np.float64)
    deviation = float(images.std()) or 1.0
    # What float32 holds, so that both precisions see the same point.
    moved = (images + _JITTER * deviation * generator.standard_normal(images.shape)).astype(np.float32)
    return Start(moved, deviation)


def followed(shadow: ShadowCopy, images: Array) -> Iterator[Followed]:
    """Passes of the copy over float32 images (n, ...), in batches of the declared size (all at once where dynamic)."""
    size = shadow.batch or max(1, len(images))
    device = next((buffer.device for buffer in shadow.buffers()), torch.device("cpu"))
    for first in range(0, len(images), size):
        chunk = torch.from_numpy(images[first : first + size]).to(device)
        count = len(chunk)
        if count < size:
            chunk = torch.cat([chunk, chunk[-1:].expand(size - count, *chunk.shape[1:])])
        chunk = chunk.detach().requires_grad_()
        yield Followed(chunk, shadow(chunk), count)


def check_gradient(
    shadow: ShadowCopy,
    start: Start,
    passes: Iterable[Followed],
    shape: tuple[int, ...],
    generator: np.random.Generator,
    count: int | None = None,
    workers: int = 1,
) -> GradientCheck | None:
    """Compare directional derivatives of the copy with differences of its forward pass in float64.

    Each image has its own random weights on the first output and its own random directions; the cosine and the error
    are over all images and directions together, at the step where the error is smallest. None where the copy computes
    on the bits of its input. ``start``: of ``start_of``; ``passes``: the copy's over its images, ``followed`` now or
    kept.

    In fp16 and int8 outputs are staircases, whose steps hide the slope. Derivatives and differences are then those of
    the forward pass with rounding left out, which is the function whose gradient a quantised copy gives; the
    certificate compares that pass with the model as well. ``shape``: of the first output for one image. ``count``:
    images that are checked, along two directions each; None: four along four. ``workers``: passes that run at once.
    """
    # As large as the first output of all images.
    weights = generator.standard_normal((len(start.images), *shape))
    along = _DIRECTIONS if count is None else _FEW_DIRECTIONS
    directions = generator.standard_normal((along, *start.images.shape))
    exact, origin = shadow.in_float64(), start.images.astype(np.float64)

    def objective(moved: Array) -> Array:
        with torch.no_grad(), carriers.without_rounding():
            value = to_numpy(run_in_batches(exact, moved, count)[0])
        return np.asarray((value * weights).reshape(len(origin), -1).sum(-1))

    def steps(size: float) -> list[Callable[[], Array]]:
        return [partial(objective, origin + size * direction) for direction in directions]

    size = _STEPS[0] * start.deviation
    calls = [partial(_input_gradient, passes, weights, origin.shape), partial(objective, origin), *steps(size)]
    try:
        gradient, base, *moved = mapped(_called, calls, workers)
    except NotImplementedError:
        # Pixels in floats have no bits: a graph that computes on those has no gradient.
        return None
    ours = (directions * gradient).reshape(along, len(origin), -1).sum(-1)
    best = _compared(ours, moved, base, size)
    for step in _STEPS[1:]:
        if best.error <= LARGEST_ERROR / 2:
            break
        size = step * start.deviation
        found = _compared(ours, mapped(_called, steps(size), workers), base, size)
        best = min(best, found, key=lambda check: check.error)
    return best


def _called(call: Callable[[], Array]) -> Array:
    return call()


def _compared(ours: Array, moved: Iterable[Array], base: Array, size: float) -> GradientCheck:
    """Directional derivatives beside differences over steps of one ``size``."""
    theirs = np.stack([(value - base) / size for value in moved])
    return GradientCheck(_cosine(ours, theirs), _error(ours, theirs))


def _input_gradient(passes: Iterable[Followed], weights: Array, shape: tuple[int, ...]) -> Array:
    """Return the gradient (n, ...) of the first output, weighted, with respect to each image, in float64, without
    rounding where the passes are made now."""
    parts: list[Array] = []
    with carriers.without_rounding():
        for images, (value, *_), count in passes:
            if not value.requires_grad:
                # A label, or another output that no input can change smoothly.
                return np.zeros(shape)
            done = sum(map(len, parts))
            wanted = torch.zeros_like(value)
            wanted[:count] = torch.from_numpy(weights[done : done + count]).to(value)
            # Of one number: torch compares the sizes of a gradient that is handed in by its symbolic algebra, with
            # sympy.
            (gradient,) = torch.autograd.grad((value * wanted).sum(), images, allow_unused=True)
            parts.append(np.zeros((count, *shape[1:])) if gradient is None else to_numpy(gradient[:count]))
    return np.concatenate(parts)


def _cosine(a: Array, b: Array) -> float:
    scale = float(np.linalg.norm(a) * np.linalg.norm(b))
    if scale == 0.0:
        # Both vanish where the output does not depend on the input; one alone means disagreement.
        return 1.0 if not np.any(a) and not np.any(b) else 0.0
    return float((a * b).sum() / scale)


def _error(ours: Array, theirs: Array) -> float:
    distance, length = float(np.linalg.norm(ours - theirs)), float(np.linalg.norm(theirs))
    if length == 0.0:
        return 0.0 if distance == 0.0 else np.inf
    return distance / length
