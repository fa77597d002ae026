"""Refined equivalents: a real image that shows the target, with a small residual that gives it the original's logits.

Gradient descent from the original itself gives adversarial noise. Here the meaning comes from a real image, and the
optimisation only settles what is left between the two: the logits are led to the original's and the null component is
held at the target, within a residual too small to carry meaning.

The image that is scored at every step is the one that would be saved: rounded to 8 bits, with the gradient at the
rounded point moving the unrounded one (straight-through). An image is done as soon as its rounded pixels meet the goal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from singaudit.classifier.interface import Head, Preprocessing
from singaudit.geometry.null_space import NullSpace
from singaudit.pictures.features import FeatureCopy
from singaudit.pictures.inputs import to_inputs
from singaudit.pictures.units import LOGIT_BOUND, Units

Array = NDArray[np.float64]

_GAIN = 0.9


@dataclass(frozen=True)
class Settings:
    """How residuals are optimised; Adam (Kingma and Ba 2015) with a cosine-decayed rate."""

    steps: int = 200
    """Most steps an image is given."""
    rate: float = 1.0
    """First step size, in 8-bit levels."""
    bound: float = 12.0
    """Largest residual of any pixel, in 8-bit levels: about 5 % of their range."""
    null_weight: float = 0.05
    """Weight of the squared null distance (typical null norms) against the mean squared logit error (standard
    deviations)."""
    held: float = 0.5
    """Share of the steps over which that weight falls to 0: what the two disagree about is then left to the logits."""
    margin: float = 0.8
    """An image is done at this share of ``LOGIT_BOUND``: the deployed model's own rounding needs room."""


@dataclass(frozen=True)
class Optics:
    """What turns windows of pixels into logits and null components, and the units these are compared in."""

    copy: FeatureCopy
    """Certified."""
    how: Preprocessing
    """How pixels become inputs."""
    head: Head
    """Logits from features."""
    space: NullSpace
    """The head's split of feature space."""
    units: Units
    """What logit errors and null distances are counted in."""


@dataclass(frozen=True)
class Refined:
    """What the optimisation came to; one row per image."""

    windows: NDArray[np.uint8]
    """(n, h, w, 3) 8-bit pixels at the classifier's input resolution."""
    logit_error: Array
    """(n,) largest |logit - goal| of the shadow copy, in standard deviations."""
    steps: NDArray[np.intp]
    """(n,) steps taken."""
    met: NDArray[np.bool_]
    """(n,) whether the goal was met on the rounded pixels."""
    finished: NDArray[np.bool_]
    """(n,) False where the work was stopped before the image was done or given up."""


def refine(
    starts: NDArray[np.uint8],
    logits: Array,
    null: Array,
    optics: Optics,
    *,
    batch: int,
    settings: Settings | None = None,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int, float], None] = lambda done, step, worst: None,
) -> Refined:
    """Lead windows ``starts`` (n, h, w, 3) uint8 to ``logits`` (n, c) with null components at ``null`` (n, m).

    ``batch`` images are optimised at once and leave the batch one by one as they are done. ``stop`` is asked before
    every step; what is not done by then keeps its best pixels. ``progress`` is told (images done, step, worst logit
    error of those at work). The same inputs give the same pixels; there is no draw.
    """
    settings = settings or Settings()
    n = len(starts)
    best = starts.copy()
    error, steps = np.full(n, np.inf), np.zeros(n, np.intp)
    met, finished = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    for first in range(0, n, batch):
        rows = np.arange(first, min(first + batch, n))
        work = _Batch(starts[rows], logits[rows], null[rows], optics, settings)
        for step in range(settings.steps + 1):
            if not len(work.rows) or stop():
                break
            found, done = work.evaluate(step)
            here = rows[work.rows]
            # Copying pixels costs as much as a tenth of a small network's step: little gains are not kept.
            improved = done | (found < _GAIN * error[here])
            if improved.any():
                error[here[improved]] = found[improved]
                best[here[improved]] = work.pixels(improved)
            steps[here] = step
            met[here[done]] = True
            progress(int(met.sum() + (finished & ~met).sum()), step, float(found.max()))
            if step < settings.steps:
                work.advance(step)
            work.keep(~done)
        else:
            finished[rows[work.rows]] = True
        finished |= met
        if stop():
            break
    return Refined(best, error, steps, met, finished)


class _Batch:
    """Images at work: start, residual, Adam's moments and goals, as tensors that shrink together."""

    def __init__(
        self, starts: NDArray[np.uint8], logits: Array, null: Array, optics: Optics, settings: Settings
    ) -> None:
        device = optics.copy.device

        def tensor(values: NDArray[np.generic]) -> torch.Tensor:
            return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(device)

        self.rows = np.arange(len(starts))
        self._optics, self._settings = optics, settings
        self._weight, self._bias = tensor(optics.head.weight), tensor(optics.head.bias)
        self._basis, self._spread = tensor(optics.space.basis), tensor(optics.units.spread)
        # Pixels lie channel by channel of each pixel, as in the images: convolutions on a CPU take a quarter less time.
        self._state = {
            "start": tensor(starts).permute(0, 3, 1, 2),
            "logits": tensor(logits),
            "null": tensor(null),
        }
        start = self._state["start"]
        for name in ("residual", "mean", "square"):
            self._state[name] = torch.zeros_like(start)
        self._low = torch.clamp(-start, min=-settings.bound)
        self._high = torch.clamp(255 - start, max=settings.bound)
        self._gradient = torch.zeros_like(start)
        self._evaluated = start

    def pixels(self, some: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """(k, h, w, 3) pixels of ``some`` of the images at work, as they were evaluated last."""
        found: NDArray[np.uint8] = self._evaluated.permute(0, 2, 3, 1).to(torch.uint8).cpu().numpy()[some]
        return found

    def evaluate(self, step: int) -> tuple[Array, NDArray[np.bool_]]:
        """Largest logit error (k,) at the rounded pixels, and which images are done; keeps the gradient there."""
        leaf = (self._state["start"] + self._state["residual"]).round_()
        self._evaluated = leaf.detach()
        leaf.requires_grad_()
        features = self._optics.copy(to_inputs(leaf, self._optics.how))
        error = (torch.nn.functional.linear(features, self._weight, self._bias) - self._state["logits"]) / self._spread
        inside = (features @ self._basis) @ self._basis.T
        null = inside if self._optics.space.basis_is_null else features - inside
        apart = (null - self._state["null"]) / self._optics.units.typical_null
        weight = self._settings.null_weight * max(0.0, 1 - step / (self._settings.held * self._settings.steps))
        loss = error.square().mean(dim=1).sum() + weight * apart.square().sum()
        (gradient,) = torch.autograd.grad(loss, leaf)
        self._gradient = gradient.contiguous(memory_format=torch.channels_last)
        worst = error.detach().abs().amax(dim=1).cpu().numpy().astype(np.float64)
        # What is no number is no success, and never the best so far.
        worst = np.where(np.isfinite(worst), worst, np.inf)
        return worst, worst <= self._settings.margin * LOGIT_BOUND

    def advance(self, step: int) -> None:
        """One step of Adam on the residual, kept within its bound and the pixels' range."""
        s, g = self._state, self._gradient
        rate = self._settings.rate * (0.05 + 0.95 * 0.5 * (1 + np.cos(np.pi * step / self._settings.steps)))
        s["mean"].lerp_(g, 0.1)
        s["square"].mul_(0.999).addcmul_(g, g, value=0.001)
        # Both corrections of the moments' bias go into the rate; the gradient is not needed any more.
        scale = torch.sqrt(s["square"], out=g).add_(1e-12)
        rate *= np.sqrt(1 - 0.999 ** (step + 1)) / (1 - 0.9 ** (step + 1))
        s["residual"].addcdiv_(s["mean"], scale, value=-rate)
        torch.clamp(s["residual"], self._low, self._high, out=s["residual"])

    def keep(self, kept: NDArray[np.bool_]) -> None:
        """Drop the images that are done."""
        if kept.all():
            return
        index = torch.from_numpy(np.flatnonzero(kept)).to(self._low.device)
        self.rows = self.rows[kept]
        self._state = {name: _rows(value, index) for name, value in self._state.items()}
        self._low, self._high, self._gradient = (_rows(v, index) for v in (self._low, self._high, self._gradient))


def _rows(values: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Some rows of images (n, 3, h, w) or of numbers (n, k), laid out in memory as they were."""
    return values[index] if values.ndim < 4 else values.permute(0, 2, 3, 1)[index].permute(0, 3, 1, 2)
