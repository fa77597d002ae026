"""What every image source offers: a length, and images by index, safe to call from several threads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

LabelKind = Literal["folders", "column", "beside"]
"""Where labels stand. ``folders``: each must be a class name. ``column``: class names, or positions of classes.
``beside``: texts that may be something else, such as captions, and are labels only where some are class names."""

OWN_LABELS = "the source's own labels"


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
    note: str = ""
    """What a reader of the report should know of how it was read, e.g. "only the first frame"; empty for most."""


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
    note: str = ""
    """As ``Image.note``."""


class ImageLoader(Protocol):
    """Images by index."""

    def load(self, index: int) -> Image | Skipped:
        """Read and decode one image. Raises nothing for a bad image: that is a ``Skipped``."""
        ...


class ImageSource(ImageLoader, Protocol):
    """A finite, ordered set of images."""

    @property
    def name(self) -> str:
        """As the user named it."""
        ...

    @property
    def names(self) -> Sequence[str]:
        """(n,) the name of each image, as ``Image.name``; a label file refers to images by it."""
        ...

    @property
    def labels(self) -> tuple[str | None, ...] | None:
        """(n,) a label per image, None for an image without one; None where the source knows no labels at all."""
        ...

    @property
    def label_kind(self) -> LabelKind:
        """Where the labels stand, which decides what they may be."""
        ...

    @property
    def labels_from(self) -> str:
        """Where the labels stand, in words for the report."""
        ...

    @property
    def columns(self) -> Mapping[str, Sequence[str]]:
        """Further values per image by column name, (n,) texts each; an empty text is unknown."""
        ...

    @property
    def left_out(self) -> tuple[Skipped, ...]:
        """What was found while listing and can never be an image: unreadable folders, URLs, links that loop."""
        ...

    def __len__(self) -> int:
        """Number of images, undecodable ones included."""
        ...

    def read(self, index: int) -> Content | Skipped:
        """Read one image's bytes without decoding them. What cannot be read is a ``Skipped``."""
        ...
