"""Attempts at equivalents: every image is refined from its first start, those that fail from their next, and so on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from singaudit.dataset.interface import Image
from singaudit.pictures.audited import Audited
from singaudit.pictures.inputs import framed, window

if TYPE_CHECKING:
    # Both import torch, which an audit without equivalents does not need.
    from singaudit.pictures.features import FeatureCopy
    from singaudit.pictures.refine import Refined

Array = NDArray[np.float64]

# Pixels at once: 32 images of 64 x 64, 5 of 224 x 224 on a CPU, where larger batches are no faster.
_PIXELS = 2**18
_LARGEST_BATCH = 32
# A GPU needs more to do at once.
_ON_GPU = 8


def batch_of(height: int, width: int, device: str) -> int:
    """Images optimised at once; a matter of memory and speed alone."""
    size = max(1, min(_LARGEST_BATCH, _PIXELS // (height * width)))
    return size * _ON_GPU if device.startswith("cuda") else size


class Attempts:
    """Refines every image from its first start, those that fail from their next, and so on."""

    def __init__(
        self, audited: Audited, copy: FeatureCopy, positions: NDArray[np.intp], null: Array, starts: NDArray[np.intp]
    ) -> None:
        self.positions, self.starts = positions, starts
        self.chosen = np.full(len(positions), -1, np.intp)
        self.windows: list[NDArray[np.uint8] | None] = [None] * len(positions)
        self.frames: dict[int, NDArray[np.uint8]] = {}
        self.steps = np.zeros(len(positions), np.intp)
        self.met, self.finished = np.zeros(len(positions), np.bool_), np.zeros(len(positions), np.bool_)
        self._error = np.full(len(positions), np.inf)
        self._audited, self._copy, self._null = audited, copy, null

    def frame(self, row: int) -> NDArray[np.uint8]:
        """(H, W, 3) the audited image ``row`` as it would be saved."""
        if row not in self.frames:
            image = self._audited.source.load(int(self._audited.indices[row]))
            how = self._audited.classifier.preprocessing
            # A file that vanished since the pass is a grey picture, which no check will let pass.
            pixels = image.pixels if isinstance(image, Image) else np.full((8, 8, 3), 128, np.uint8)
            self.frames[row] = framed(pixels, how)
        return self.frames[row]

    def run(self, stop: Callable[[], bool], progress: Callable[[int, int, float], None]) -> None:
        """All rounds. An image whose starts are used up is finished, met or not."""
        from singaudit.pictures.refine import Optics, refine

        how, audited = self._audited.classifier.preprocessing, self._audited
        optics = Optics(self._copy, how, audited.classifier.head, audited.subject.space, audited.units)
        batch = batch_of(how.height, how.width, self._copy.device)
        for turn in range(self.starts.shape[1]):
            self.finished |= self.starts[:, turn] < 0
            active = np.flatnonzero(~self.met & ~self.finished)
            if not len(active) or stop():
                break
            before = int((self.met | self.finished).sum())
            windows = np.stack([self.frame(int(row))[window(how)] for row in self.starts[active, turn]])

            def tell(done: int, step: int, worst: float, before: int = before) -> None:
                progress(before + done, step, worst)

            goal = audited.logits[self.positions[active]].astype(np.float64)
            found = refine(windows, goal, self._null[active], optics, batch=batch, stop=stop, progress=tell)
            self._take(active, turn, found)
        self.finished |= self.met

    def _take(self, active: NDArray[np.intp], turn: int, found: Refined) -> None:
        """Keep what is nearer to the goal than an earlier start's."""
        last = turn + 1 == self.starts.shape[1]
        for k, image in enumerate(active):
            self.finished[image] = bool(found.met[k]) or (last and bool(found.finished[k]))
            if found.logit_error[k] < self._error[image]:
                self._error[image], self.met[image] = found.logit_error[k], found.met[k]
                self.chosen[image] = self.starts[image, turn]
                self.windows[image], self.steps[image] = found.windows[k], found.steps[k]
