"""What every image source offers: a length, and images by index, safe to call from several threads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Image:
    """One decoded image."""

    name: str
    """What a person would call it: the path below the source's root, or "shapes/000017"."""
    sha256: str
    """Of the file's bytes; of shape and pixels where there is no file. Folds and duplicates go by it."""
    pixels: NDArray[np.uint8]
    """(height, width, 3), RGB, orientation applied."""
    attributes: tuple[tuple[str, str], ...] = ()
    """Known attributes of generated images, e.g. (("shape", "star"), ("colour", "red")); empty for files."""


@dataclass(frozen=True)
class Skipped:
    """An image that was left out, and why."""

    name: str
    """As ``Image.name``."""
    reason: str
    """One clause, e.g. "cannot be decoded: truncated"."""


@dataclass(frozen=True)
class Content:
    """An image whose content is known and that is not decoded yet: what is cached by content never has to be."""

    name: str
    """As ``Image.name``."""
    sha256: str
    """As ``Image.sha256``."""
    decode: Callable[[], Image | Skipped]
    """The image itself. Raises nothing for a bad image: that is a ``Skipped``."""


class ImageSource(Protocol):
    """A finite, ordered set of images."""

    @property
    def name(self) -> str:
        """As the user named it."""
        ...

    @property
    def labels(self) -> tuple[str, ...] | None:
        """A label per image where the source knows them (a subfolder per class), else None."""
        ...

    def __len__(self) -> int:
        """Number of images, unreadable ones included."""
        ...

    def read(self, index: int) -> Content | Skipped:
        """Read one image's bytes without decoding them. What cannot be read is a ``Skipped``."""
        ...

    def load(self, index: int) -> Image | Skipped:
        """Read and decode one image. Raises nothing for a bad image: that is a ``Skipped``."""
        ...
