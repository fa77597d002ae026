"""Encoded images of one value each, and what a source reads of them."""

import io

import numpy as np
import PIL.Image

from singaudit.dataset.interface import Image


def png(value):
    buffer = io.BytesIO()
    PIL.Image.fromarray(np.full((4, 4, 3), value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def values(source):
    """The value of each image, or why it was skipped."""
    loaded = [source.load(i) for i in range(len(source))]
    return [int(item.pixels[0, 0, 0]) if isinstance(item, Image) else item.reason for item in loaded]


def put(root, **files):
    """The folder ``root`` as text, with these files below it, text or bytes by their paths."""
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return str(root)
