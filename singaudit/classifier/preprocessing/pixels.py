"""One decoded image as the classifier's input: resize, crop, channels, scale, mean, std, layout."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from singaudit.classifier.interface import Preprocessing

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


_WHOLE = 1e-6
"""What division may lack of whole pixels: 224 / (224 / 232) is 232."""
_TALL = 1.5
"""Height over width from which Pillow may resample along columns first (it does so beyond 2)."""


def crop_window(how: Preprocessing) -> tuple[int, int]:
    """(height, width) that an image covers, or has with ``mode="squash"``, before its centre is cut out."""
    return math.floor(how.height / how.crop + _WHOLE), math.floor(how.width / how.crop + _WHOLE)


def crop_offset(side: int, kept: int, how: Preprocessing) -> int:
    """Where ``kept`` pixels start in the middle of ``side``; below 0 where ``side`` is smaller and is surrounded."""
    if how.offset == "floor":
        return (side - kept) // 2
    return round((side - kept) / 2) if side >= kept else -((kept - side) // 2)


def prepare(pixels: NDArray[np.uint8], how: Preprocessing) -> NDArray[Any]:
    """One image (h, w, 3) uint8 RGB as the classifier's input, without the batch axis.

    Returns (C, height, width) or (height, width, C) by ``how.layout``, C-contiguous, of ``how.dtype``.

    Rounding. ``crop``: the window of (height, width) / crop is truncated to whole pixels, as timm does; the image
    is scaled so that it just covers it, its other side truncated; the crop starts where ``crop_offset`` says.
    ``squash``: scaled to that window, as timm does. ``pad``: scaled to fit inside it, sides rounded, at least 1. Where
    the input is larger than what was resized, that lies in the middle of ``fill``, the odd pixel below and to the right
    (above and to the left with ``offset="floor"``). Pillow resamples in 8 bits, so values stay whole up to ``scale``.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"expected uint8 pixels (h, w, 3), got {pixels.dtype} {pixels.shape}")
    image = _resized(Image.fromarray(pixels), how)
    if how.channels == "gray":
        array = np.asarray(image.convert("L"))[:, :, None]
    else:
        array = np.asarray(image)
        if how.channels == "bgr":
            array = array[:, :, ::-1]
    if how.layout == "nchw":
        array = array.transpose(2, 0, 1)
    if how.dtype == "uint8":
        return np.ascontiguousarray(array)
    std = np.asarray(how.std, dtype=np.float64)
    factor = (how.scale / std).astype(np.float32)
    shift = (-np.asarray(how.mean, dtype=np.float64) / std).astype(np.float32)
    if how.layout == "nchw":
        factor, shift = factor.reshape(-1, 1, 1), shift.reshape(-1, 1, 1)
    out = np.empty(array.shape, dtype=np.float32)
    np.multiply(array, factor, out=out, casting="unsafe")
    out += shift
    return out if how.dtype == "float32" else out.astype(np.float16)


def _resized(image: Image.Image, how: Preprocessing) -> Image.Image:
    """The image at exactly (height, width)."""
    width, height = image.size
    sampling = _FILTERS[how.interpolation]
    window_height, window_width = crop_window(how)
    if how.mode == "pad":
        factor = min(window_height / height, window_width / width)
        new_width = min(window_width, max(1, round(width * factor)))
        new_height = min(window_height, max(1, round(height * factor)))
    elif how.mode == "squash":
        new_height, new_width = window_height, window_width
    elif window_height * width >= window_width * height:
        new_height, new_width = window_height, window_height * width // height
    else:
        new_width, new_height = window_width, window_width * height // width
    left, top = crop_offset(new_width, how.width, how), crop_offset(new_height, how.height, how)
    if new_width * new_height > 16 * window_width * window_height:
        # A strip thousands of times longer than wide would be blown up to gigapixels only to be cut.
        x_scale, y_scale = width / new_width, height / new_height
        first, above = max(left, 0), max(top, 0)
        last, below = min(left + how.width, new_width), min(top + how.height, new_height)
        box = (first * x_scale, above * y_scale, last * x_scale, below * y_scale)
        return _placed(image.resize((last - first, below - above), sampling, box=box), min(left, 0), min(top, 0), how)
    if left < 0 or top < 0:
        return _placed(_resize(image, new_width, new_height, sampling), left, top, how)
    if how.mode == "crop" and sampling is not Image.Resampling.NEAREST and height <= _TALL * width:
        # Pillow resamples along rows, rounds to 8 bits, then along columns: cut between the two, the columns outside
        # need no second pass, and every pixel is the same.
        across = _cut(_resize(image, new_width, height, sampling), left, 0, how.width, height)
        return _cut(_resize(across, how.width, new_height, sampling), 0, top, how.width, how.height)
    return _cut(_resize(image, new_width, new_height, sampling), left, top, how.width, how.height)


def _placed(image: Image.Image, left: int, top: int, how: Preprocessing) -> Image.Image:
    """The part of an image that starts at (left, top), surrounded where that lies outside."""
    canvas = Image.new("RGB", (how.width, how.height), how.fill)
    seen = image.crop((max(left, 0), max(top, 0), image.width, image.height)) if left > 0 or top > 0 else image
    canvas.paste(seen, (max(-left, 0), max(-top, 0)))
    return canvas


def _cut(image: Image.Image, left: int, top: int, width: int, height: int) -> Image.Image:
    return image if image.size == (width, height) else image.crop((left, top, left + width, top + height))


def _resize(image: Image.Image, width: int, height: int, sampling: Image.Resampling) -> Image.Image:
    return image if image.size == (width, height) else image.resize((width, height), sampling)
