"""Small pictures inside the page, as data URIs of bounded size."""

from __future__ import annotations

import base64
import io

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from singaudit.dataset.interface import ImageLoader, Skipped

SIDE = 160
"""Longest side in pixels."""


def thumbnail(pixels: NDArray[np.uint8] | None) -> str:
    """Pixels (h, w, 3) uint8 as a data URI; grey where there are none."""
    if pixels is None:
        picture = PIL.Image.new("RGB", (8, 8), (128, 128, 128))
    else:
        picture = PIL.Image.fromarray(pixels)
        picture.thumbnail((SIDE, SIDE), PIL.Image.Resampling.LANCZOS)
    # JPEG for photographs keeps the page small; tiny pictures stay exact.
    buffer = io.BytesIO()
    if max(picture.size) > 96:
        picture.save(buffer, "JPEG", quality=85)
        kind = "jpeg"
    else:
        picture.save(buffer, "PNG", optimize=True)
        kind = "png"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


class Thumbnails:
    """Thumbnails of audited images, decoded once each."""

    def __init__(self, source: ImageLoader, indices: NDArray[np.intp]) -> None:
        self._source, self._indices = source, indices
        self._made: dict[int, str] = {}

    def __call__(self, row: int) -> str:
        """Of the image at position ``row`` among the audited."""
        if row not in self._made:
            image = self._source.load(int(self._indices[row]))
            # A file can vanish between the pass and the gallery.
            self._made[row] = thumbnail(None if isinstance(image, Skipped) else image.pixels)
        return self._made[row]
