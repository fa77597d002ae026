"""Pictures and inputs: a file that the classifier's preprocessing passes on unchanged, and that arithmetic in torch.

A generated picture is worked on where the classifier sees it, at its input's resolution, and must survive being saved
and prepared again like any other image. Preprocessing is therefore undone before saving: a picture that will be cropped
gets the margin that the crop takes away (from the image it was made from), so that resizing and cropping touch no pixel
of the window, and what was optimised is what the deployed model is given.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from singaudit.classifier.interface import Preprocessing
from singaudit.classifier.preprocessing.pixels import crop_offset, crop_window
from singaudit.classifier.preprocessing.resolve import prepare

if TYPE_CHECKING:
    import torch

# Pillow's fixed-point ITU-R 601 luma, in units of 2^-16.
_LUMA = (19595, 38470, 7471)


def frame_size(how: Preprocessing) -> tuple[int, int]:
    """(height, width) of a saved picture: the window's that is cropped, and the input's where nothing is."""
    return crop_window(how)


def window(how: Preprocessing) -> tuple[slice, slice]:
    """(rows, columns) of a frame that become the input."""
    height, width = frame_size(how)
    top, left = crop_offset(height, how.height, how), crop_offset(width, how.width, how)
    return slice(top, top + how.height), slice(left, left + how.width)


def framed(pixels: NDArray[np.uint8], how: Preprocessing) -> NDArray[np.uint8]:
    """An image (h, w, 3) uint8 as a frame (H, W, 3): ``prepare`` gives the same input for both, to the last bit."""
    plain = replace(how, channels="rgb", layout="nhwc", dtype="uint8", scale=1.0, mean=(0.0,), std=(1.0,))
    height, width = frame_size(how)
    frame = prepare(pixels, replace(plain, height=height, width=width, crop=1.0)).copy()
    # The margin may lie a pixel aside, because offsets are rounded; it is cropped away. The window is exact.
    frame[window(how)] = prepare(pixels, plain)
    return frame


def to_inputs(pixels: torch.Tensor, how: Preprocessing) -> torch.Tensor:
    """Windows (n, 3, h, w) of whole numbers 0 to 255 in float32, RGB, as inputs of the classifier, differentiably.

    The same arithmetic in the same order as ``prepare``: (n, C, h, w) or (n, h, w, C) float32, bit for bit what
    ``prepare`` gives. Where that rounds (gray, float16), gradients pass straight through. A uint8 input comes as whole
    numbers in float32.
    """
    import torch

    if how.channels == "gray":
        red, green, blue = (pixels[:, k : k + 1] * factor for k, factor in enumerate(_LUMA))
        luma = (red + green + blue) / 65536
        array = luma + (torch.floor(luma.detach() + 0.5) - luma.detach())
    else:
        array = pixels.flip(1) if how.channels == "bgr" else pixels
    if how.dtype != "uint8":
        std = np.asarray(how.std, dtype=np.float64)
        factor = (how.scale / std).astype(np.float32)
        shift = (-np.asarray(how.mean, dtype=np.float64) / std).astype(np.float32)
        array = array * _channels(factor, array) + _channels(shift, array)
    if how.dtype == "float16":
        array = array + (array.detach().half().float() - array.detach())
    return array.permute(0, 2, 3, 1) if how.layout == "nhwc" else array


def _channels(values: NDArray[np.float32], like: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.from_numpy(np.atleast_1d(values)).to(like.device).view(1, -1, 1, 1)
