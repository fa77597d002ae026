"""Decode an image file that nobody vouches for: allow-listed formats, bounded size, orientation applied."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageOps
from numpy.typing import NDArray

from singaudit.dataset.formats import START, lacking, readable_formats
from singaudit.dataset.interface import Content, Image, Skipped

MAX_PIXELS = 100_000_000
MAX_BYTES = 512 * 2**20
_BLOCK_PIXELS = 2**20
FIRST_FRAME = "only the first of several frames was used"

# Whatever Pillow warns of (sizes near its own cap, odd metadata) is decided here by the caps and checks below. Set
# once: warnings.catch_warnings is not safe in the threads that decode.
warnings.filterwarnings("ignore", module=r"PIL\.")

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
            # A read of n bytes sets n aside, however short the file is.
            return file.read(status.st_size + 1)
    except OSError as error:  # a damaged disk, a network drive that is gone
        raise UndecodableError(f"cannot be read: {error.strerror}") from error
    finally:
        os.close(descriptor)


def decode(data: bytes) -> NDArray[np.uint8]:
    """Pixels (height, width, 3) uint8 RGB of an encoded image.

    The first frame of animations and the first page of documents; EXIF orientation applied; transparency laid over
    white; 16-bit values scaled, not clipped, and numbers whose range no format states refused; colour profiles left
    aside, as in the training of classifiers. Raises ``UndecodableError`` for anything else than a whole image of an
    allowed format.
    """
    if not data:
        raise UndecodableError("is empty")
    try:
        with PIL.Image.open(io.BytesIO(data), formats=readable_formats()) as image:
            if image.width * image.height > MAX_PIXELS:
                raise UndecodableError(f"has {image.width} x {image.height} pixels, over the cap of {MAX_PIXELS}")
            image.load()
            black, white = _range(image) if image.mode in _WIDE_MODES else (0, 255)
            return np.asarray(_to_rgb(PIL.ImageOps.exif_transpose(image), black, white))
    except UndecodableError:
        raise
    except PIL.UnidentifiedImageError as error:
        # Pillow's own text holds a memory address, which would differ between two runs.
        raise UndecodableError(
            lacking(data[:START]) or f"is no image of the formats {', '.join(readable_formats())}"
        ) from error
    except PIL.Image.DecompressionBombError as error:
        raise UndecodableError(f"has too many pixels: {error}") from error
    except Exception as error:  # Pillow raises whatever a broken file provokes, and none of it is our bug
        raise UndecodableError(f"cannot be decoded: {type(error).__name__}: {str(error)[:200]}") from error


def content(name: str, data: bytes) -> Content:
    """The image ``name`` with the encoded bytes ``data``; decoding them gives an ``Image`` or a ``Skipped``."""
    digest = hashlib.sha256(data).hexdigest()
    note = FIRST_FRAME if has_several_frames(data) else ""

    def image() -> Image | Skipped:
        try:
            return Image(name, digest, decode(data), note=note)
        except UndecodableError as error:
            return Skipped(name, str(error))

    return Content(name, digest, image, note)


def has_several_frames(data: bytes) -> bool:
    """True for an animation or a document of several pages, told from the headers: nothing is decoded."""
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return b"acTL" in data[:65536]  # the chunk must stand before the pixels
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return data[12:16] == b"VP8X" and len(data) > 20 and bool(data[20] & 2)
    if data[4:12] == b"ftypavis":
        return True
    if data[:4] not in (b"GIF8", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return False
    try:
        with PIL.Image.open(io.BytesIO(data), formats=("GIF", "TIFF")) as image:
            return bool(getattr(image, "is_animated", False))
    except Exception:  # a broken file, of which decoding says more
        return False


def _range(image: PIL.Image.Image) -> tuple[int, int]:
    """The values that mean black and white in an image of wide integers. Raises ``UndecodableError``."""
    tags = getattr(image, "tag_v2", None)
    if tags is None:
        return 0, 65535
    (bits, *_), (kind, *_) = tags.get(258, (16,)), tags.get(339, (1,))
    if kind != 1 or bits > 16:
        what = "signed " if kind == 2 else ""
        raise UndecodableError(f"has {bits}-bit {what}pixels, of which no format says what white is")
    largest = (1 << int(bits)) - 1
    return (largest, 0) if tags.get(262) == 0 else (0, largest)  # photometric interpretation 0: white is zero


def _grey(values: NDArray[Any], shade: Callable[[NDArray[Any]], NDArray[np.float64]]) -> PIL.Image.Image:
    """Pixels of one channel as RGB, a block of rows at a time: float64 copies of a whole image would take gigabytes."""
    shown = np.empty(values.shape, np.uint8)
    rows = max(1, _BLOCK_PIXELS // max(1, values.shape[1]))
    for start in range(0, len(values), rows):
        shown[start : start + rows] = np.clip(np.rint(shade(values[start : start + rows])), 0, 255)
    return PIL.Image.fromarray(shown).convert("RGB")


def _to_rgb(image: PIL.Image.Image, black: int, white: int) -> PIL.Image.Image:
    """``black`` and ``white``: the values that mean so where the image holds wide integers."""
    if image.mode in _WIDE_MODES:
        wide, transparent = np.asarray(image), image.info.get("transparency")

        def shade(block: NDArray[Any]) -> NDArray[np.float64]:
            values = block.astype(np.float64)
            if isinstance(transparent, int):
                values[values == transparent] = white
            return (values - black) * (255 / (white - black))

        return _grey(wide, shade)
    if image.mode == "F":
        floats = np.asarray(image)
        largest = float(floats.max(initial=0.0))
        if not (np.isfinite(largest) and np.isfinite(floats.min(initial=0.0))):
            raise UndecodableError("has pixels that are no finite numbers")
        # Floating-point TIFFs carry 0-1 by convention, or 0-255.
        if largest > 255.5:
            raise UndecodableError(f"has pixels of up to {largest:.4g}, of which no format says what white is")
        return _grey(floats, lambda block: block.astype(np.float64) * (255.0 if largest <= 1.0 else 1.0))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        ground = PIL.Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return PIL.Image.alpha_composite(ground, rgba).convert("RGB")
    return image.convert("RGB") if image.mode != "RGB" else image
