"""Decode an image file that nobody vouches for: allow-listed formats, bounded size, orientation applied."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import warnings
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageOps
from numpy.typing import NDArray

from singaudit.dataset.interface import Content, Image, Skipped

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
MAX_PIXELS = 100_000_000
MAX_BYTES = 512 * 2**20

# Integer and 16-bit modes in which Pillow opens greyscale PNG and TIFF files.
_WIDE_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N")


class UndecodableError(Exception):
    """An image that cannot or must not be decoded; its text is one clause that says why."""


def read_regular_file(path: Path, limit: int = MAX_BYTES) -> bytes:
    """The bytes of a regular file of at most ``limit`` bytes.

    Opened without blocking, so that a FIFO or a device cannot hang the audit. Raises ``UndecodableError``.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except OSError as error:
        raise UndecodableError(f"cannot be opened: {error.strerror}") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise UndecodableError("is not a regular file")
        if status.st_size > limit:
            raise UndecodableError(f"is {status.st_size} bytes, over the limit of {limit}")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(limit + 1)
    finally:
        os.close(descriptor)


def decode(data: bytes) -> tuple[NDArray[np.uint8], str]:
    """Pixels (height, width, 3) uint8 RGB and the sha256 (hex) of the encoded bytes.

    The first frame of animations; EXIF orientation applied; transparency laid over white; 16-bit values scaled,
    not clipped. Raises ``UndecodableError`` for anything else than a whole image of an allowed format.
    """
    if not data:
        raise UndecodableError("is empty")
    digest = hashlib.sha256(data).hexdigest()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with PIL.Image.open(io.BytesIO(data), formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise UndecodableError(f"has {image.width} x {image.height} pixels, over the cap of {MAX_PIXELS}")
                image.load()
                return np.asarray(_to_rgb(PIL.ImageOps.exif_transpose(image))), digest
    except UndecodableError:
        raise
    except PIL.UnidentifiedImageError as error:
        # Pillow's own text holds a memory address, which would differ between two runs.
        raise UndecodableError(f"is no image of the formats {', '.join(FORMATS)}") from error
    except PIL.Image.DecompressionBombError as error:
        raise UndecodableError(f"has too many pixels: {error}") from error
    except Exception as error:  # Pillow raises whatever a broken file provokes, and none of it is our bug
        raise UndecodableError(f"cannot be decoded: {type(error).__name__}: {str(error)[:200]}") from error


def content(name: str, data: bytes) -> Content:
    """The image ``name`` with the encoded bytes ``data``; decoding them gives an ``Image`` or a ``Skipped``."""

    def image() -> Image | Skipped:
        try:
            pixels, digest = decode(data)
        except UndecodableError as error:
            return Skipped(name, str(error))
        return Image(name, digest, pixels)

    return Content(name, hashlib.sha256(data).hexdigest(), image)


def _to_rgb(image: PIL.Image.Image) -> PIL.Image.Image:
    if image.mode in _WIDE_MODES:
        wide = np.asarray(image).astype(np.float64)
        return PIL.Image.fromarray(np.clip(np.rint(wide / 257), 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        values = np.nan_to_num(np.asarray(image, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)
        # Floating-point TIFFs carry 0-1 by convention; larger values are taken as 0-255.
        scale = 255.0 if values.max(initial=0.0) <= 1.0 else 1.0
        return PIL.Image.fromarray(np.clip(np.rint(values * scale), 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = PIL.Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return PIL.Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB") if image.mode != "RGB" else image
