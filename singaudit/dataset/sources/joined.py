"""Several sets of images as one, by index."""

from __future__ import annotations

from dataclasses import dataclass

from singaudit.dataset.interface import Image, ImageLoader, Skipped


@dataclass(frozen=True)
class Joined:
    """Images of several sources, in a stated order."""

    places: tuple[tuple[ImageLoader, int], ...]
    """(source, index in it) of each image."""

    def load(self, index: int) -> Image | Skipped:
        """Read and decode image ``index``, as its own source does."""
        source, own = self.places[index]
        return source.load(own)
