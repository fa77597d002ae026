"""The thumbnail of an image by which copies and frames of a scene are told from look-alikes."""

from __future__ import annotations

import numpy as np
import PIL.Image
from numpy.typing import NDArray

SIDE = 16
"""Of a thumbnail, in pixels. Enough to tell two views apart, too few for noise, sharpness or JPEG to matter."""


def thumbnail(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(256,) grey levels 0-255 of ``pixels`` (height, width, 3) averaged over 16 x 16 fields, whatever its shape."""
    grey = PIL.Image.fromarray(pixels).convert("L")
    small = grey.resize((SIDE, SIDE), PIL.Image.Resampling.BOX)
    return np.asarray(small, np.float32).ravel()
