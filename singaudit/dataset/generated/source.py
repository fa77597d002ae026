"""The generated world as an image source: ``shapes:N`` or ``shapes:N:SEED``, the same everywhere and every time."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from singaudit.dataset.generated.drawing import SIDE, render
from singaudit.dataset.generated.scenes import ATTRIBUTES, Scenes, draw_scenes
from singaudit.dataset.interface import OWN_LABELS, Content, Image, LabelKind, Skipped
from singaudit.errors import DatasetError

MAX_IMAGES = 10_000_000
_MAX_SEED = 2**63 - 1
_BLOCK = 64
"""Images drawn at once: enough to amortise numpy's overhead, 0.8 MB of pixels."""
_LABELS_AT_ONCE = 1 << 16
"""Scenes drawn at once for their labels alone: 10 MB of random bits."""
_KEPT_BLOCKS = 32
"""Blocks kept, so that threads that read a batch together draw each block once."""


def parse_shapes(spec: str) -> tuple[int, int]:
    """(number of images, seed) of ``shapes:N`` (seed 0) or ``shapes:N:SEED``. Raises ``DatasetError``."""
    expected = f"expected shapes:N or shapes:N:SEED with N from 1 to {MAX_IMAGES}"
    hint = "Try shapes:2000, or shapes:2000:7 for another 2000 images."
    parts = spec.split(":")
    if parts[0] != "shapes" or len(parts) not in (2, 3):
        raise DatasetError(f"{expected}, got {spec[:80]!r}", hint=hint)
    numbers = []
    for part, low, high in zip(parts[1:], (1, 0), (MAX_IMAGES, _MAX_SEED), strict=False):
        # isdigit alone would let "²" and other scripts' digits through to int().
        if not (part.isascii() and part.isdigit() and len(part) <= 19 and low <= int(part) <= high):
            what = "number of images" if low else "seed"
            raise DatasetError(f"{expected}, but the {what} in {spec[:80]!r} is {part[:40]!r}", hint=hint)
        numbers.append(int(part))
    return numbers[0], numbers[1] if len(numbers) == 2 else 0


def _name(index: int) -> str:
    return f"shapes/{index:06d}"


class ShapesSource:
    """Generated images with known attributes; image i is a function of (seed, i). Safe to read from several threads.

    Implements ``ImageSource``; ``labels`` is the shape of each image. The other attributes are no ``columns``: an
    audit of this world reads them as it would of photographs.
    """

    label_kind: LabelKind = "beside"
    labels_from: str = OWN_LABELS
    left_out: tuple[Skipped, ...] = ()

    def __init__(self, count: int, seed: int = 0) -> None:
        self.name = f"shapes:{count}" + (f":{seed}" if seed else "")
        parse_shapes(self.name)
        self.seed = seed
        self._count = count
        self._labels: tuple[str, ...] | None = None
        self._blocks: OrderedDict[int, tuple[Scenes, NDArray[np.uint8]]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._count

    @property
    def names(self) -> Sequence[str]:
        """(N,) shapes/000000 and so on."""
        return [_name(index) for index in range(self._count)]

    @property
    def columns(self) -> Mapping[str, Sequence[str]]:
        """None."""
        return {}

    @property
    def labels(self) -> tuple[str, ...]:
        """The shape of each image, (N,) names."""
        if self._labels is None:
            names = ATTRIBUTES["shape"]
            found: list[str] = []
            for first in range(0, self._count, _LABELS_AT_ONCE):
                rows = np.arange(first, min(first + _LABELS_AT_ONCE, self._count))
                found.extend(names[k] for k in draw_scenes(rows, self.seed).shape)
            self._labels = tuple(found)
        return self._labels

    @property
    def attributes(self) -> Mapping[str, Sequence[str]]:
        """What each image shows beside its shape: attribute name to (N,) values."""
        found: dict[str, list[str]] = {name: [] for name in ATTRIBUTES if name != "shape"}
        for first in range(0, self._count, _LABELS_AT_ONCE):
            rows = np.arange(first, min(first + _LABELS_AT_ONCE, self._count))
            scenes = draw_scenes(rows, self.seed)
            for name, column in found.items():
                column.extend(ATTRIBUTES[name][k] for k in getattr(scenes, name))
        return found

    def read(self, index: int) -> Content:
        """Image ``index`` as content; it is drawn to know its hash. Raises IndexError outside."""
        image = self.load(index)
        return Content(image.name, image.sha256, lambda: image)

    def load(self, index: int) -> Image:
        """Image ``index`` of 0 to N - 1, 64 x 64 pixels. Raises IndexError outside."""
        if not 0 <= index < self._count:
            raise IndexError(f"{self.name} has no image {index}")
        block, row = divmod(index, _BLOCK)
        scenes, pixels = self._block(block)
        own = np.ascontiguousarray(pixels[row])
        digest = hashlib.sha256(f"{SIDE}x{SIDE}x3:".encode() + own.tobytes()).hexdigest()
        return Image(_name(index), digest, own, tuple(scenes.words(row).items()))

    def _block(self, block: int) -> tuple[Scenes, NDArray[np.uint8]]:
        # Drawn under the lock: a thread that wants the same block waits for it instead of drawing it again.
        with self._lock:
            if block not in self._blocks:
                first = block * _BLOCK
                scenes = draw_scenes(np.arange(first, min(first + _BLOCK, self._count)), self.seed)
                pixels = render(scenes)
                pixels.flags.writeable = False
                self._blocks[block] = scenes, pixels
                while len(self._blocks) > _KEPT_BLOCKS:
                    self._blocks.popitem(last=False)
            self._blocks.move_to_end(block)
            return self._blocks[block]


def open_shapes(text: str, label: str | None = None) -> ShapesSource:
    """The images of ``shapes:N[:SEED]``; they have one label each. Raises ``DatasetError``."""
    return ShapesSource(*parse_shapes(text))
