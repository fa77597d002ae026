"""Image files that are broken, endless, or other things under an image's name."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import PIL.Image

NOISE = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))


def encoded(image: PIL.Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def half(kind: str) -> bytes:
    data = encoded(NOISE, kind)
    return data[: len(data) // 2]


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, *more: bytes, rows: bytes | None = None, depth: int = 8, colour: int = 0) -> bytes:
    """A PNG with this header, whatever its rows are."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = zlib.compress(rows if rows is not None else b"\0" * 64)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(more) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def tiff(*entries: tuple[int, int, int, int], offset: int = 8) -> bytes:
    table = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *e) for e in entries)
    return b"II*\0" + struct.pack("<I", offset) + table + struct.pack("<I", offset)


def bmp(width: int, height: int) -> bytes:
    return (
        b"BM" + struct.pack("<IHHIIiiHHIIiiII", 70, 0, 0, 54, 40, width, height, 1, 24, 0, 16, 0, 0, 0, 0) + b"\0" * 16
    )


def _exif(orientation: int) -> bytes:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    return encoded(NOISE, "JPEG", exif=exif)


def _bit() -> bytes:
    data = bytearray(encoded(NOISE, "PNG"))
    data[len(data) // 2] ^= 1
    return bytes(data)


def _gif(width: int, height: int) -> bytes:
    data = bytearray(encoded(NOISE.convert("P"), "GIF"))
    data[6:10] = struct.pack("<HH", width, height)
    return bytes(data)


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%touch ran) (w) file\n"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><image href="file:///etc/passwd"/></svg>'
REFUSED: dict[str, tuple[str, Callable[[], bytes]]] = {
    "nothing": ("x.png", lambda: b""),
    "a text": ("x.jpg", lambda: b"this is no picture"),
    "a page": ("x.png", lambda: b"<html><img src=x onerror=alert(1)></html>"),
    "a drawing with addresses": ("x.png", lambda: SVG),
    "PostScript that runs a program": ("x.jpg", lambda: POSTSCRIPT),
    "a PDF": ("x.png", lambda: b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n"),
    "an icon": ("x.png", lambda: encoded(NOISE, "ICO")),
    "a TGA": ("x.bmp", lambda: encoded(NOISE, "TGA")),
    "JPEG 2000 under another name": ("x.jpg", lambda: b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0" * 100),
    "a program": ("x.png", lambda: b"\x7fELF" + b"\0" * 200),
    "a zip": ("x.png", lambda: b"PK\x03\x04" + b"\0" * 100),
    **{f"half a {k}": (f"x.{k.lower()}", lambda k=k: half(k)) for k in ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP")},
    "a PNG with a flipped bit": ("x.png", _bit),
    "a PNG without rows": ("x.png", lambda: png(64, 64)),
    "a PNG of no size": ("x.png", lambda: png(0, 64)),
    "a PNG of 2.5 gigapixels": ("x.png", lambda: png(50_000, 50_000)),
    "a PNG of 2**62 pixels": ("x.png", lambda: png(2**31 - 1, 2**31 - 1)),
    "a PNG a million wide": ("x.png", lambda: png(10**6, 1000)),
    "a PNG with a text of a gigabyte": (
        "x.png", lambda: png(8, 8, chunk(b"zTXt", b"a\0\0" + zlib.compress(b"\0" * 2**27)), rows=b"\0" * 72)),
    "a PNG with an impossible depth": ("x.png", lambda: png(8, 8, depth=7)),
    "a GIF of four gigapixels": ("x.gif", lambda: _gif(65535, 65535)),
    "a TIFF in a circle": ("x.tif", lambda: tiff()),
    "a TIFF of 2**60 pixels": (
        "x.tif", lambda: tiff((256, 4, 1, 2**30), (257, 4, 1, 2**30), (258, 3, 1, 8), (262, 3, 1, 1), (273, 4, 1, 8),
                              (278, 4, 1, 2**30), (279, 4, 1, 9))),
    "a TIFF that starts past its end": ("x.tif", lambda: tiff(offset=2**31)),
    "a TIFF with 65,535 entries": ("x.tif", lambda: b"II*\0\x08\0\0\0\xff\xff" + b"\0" * 99),
    "a BMP of 2**60 pixels": ("x.bmp", lambda: bmp(2**30, 2**30)),
    "a BMP of negative width": ("x.bmp", lambda: bmp(-64, 64)),
    "a TIFF of numbers that are none": (
        "x.tif", lambda: encoded(PIL.Image.fromarray(np.full((4, 4), np.nan, np.float32)), "TIFF")),
    "a TIFF with one infinite pixel": (
        "x.tif", lambda: encoded(PIL.Image.fromarray(np.float32([[0, 1], [np.inf, 0]])), "TIFF")),
    "a WebP of the largest size": (
        "x.webp", lambda: b"RIFF\x1e\0\0\0WEBPVP8L\x11\0\0\0\x2f\xff\xff\xff\x0f" + b"\0" * 20),
}  # fmt: skip
RIGHT: dict[str, tuple[str, Callable[[], bytes], tuple[int, int]]] = {
    "an orientation of 99": ("x.jpg", lambda: _exif(99), (64, 64)),
    "an orientation of 0": ("x.jpg", lambda: _exif(0), (64, 64)),
    "broken EXIF": ("x.jpg", lambda: encoded(NOISE, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"), (64, 64)),
    "bytes after the end": ("x.png", lambda: encoded(NOISE, "PNG") + b"<?php system('touch ran') ?>", (64, 64)),
    "another format's name": ("x.png", lambda: encoded(NOISE, "JPEG"), (64, 64)),
    "one pixel": ("x.png", lambda: encoded(NOISE.crop((0, 0, 1, 1)), "PNG"), (1, 1)),
    "one pixel high and 9,000 wide": ("x.png", lambda: encoded(NOISE.resize((9000, 1)), "PNG"), (1, 9000)),
    "16 bits": ("x.png", lambda: encoded(PIL.Image.fromarray(np.full((4, 4), 65535, np.uint16)), "PNG"), (4, 4)),
    "CMYK": ("x.jpg", lambda: encoded(NOISE.convert("CMYK"), "JPEG"), (64, 64)),
    "grey with alpha": ("x.png", lambda: encoded(NOISE.convert("LA"), "PNG"), (64, 64)),
    "a palette": ("x.gif", lambda: encoded(NOISE.convert("P"), "GIF"), (64, 64)),
    "black and white": ("x.tif", lambda: encoded(NOISE.convert("1"), "TIFF"), (64, 64)),
    "a text chunk of a script": (
        "x.png",
        lambda: png(8, 8, chunk(b"tEXt", b"a\0<script>alert(1)</script>"), rows=b"\0" * 72),
        (8, 8),
    ),
}
