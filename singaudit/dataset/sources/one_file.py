"""One image file as a source of its own."""

from __future__ import annotations

from pathlib import Path

from singaudit.dataset.decode import read_regular_file
from singaudit.dataset.interface import Skipped
from singaudit.dataset.sources.listing import Listing
from singaudit.errors import DatasetError

_TRY = "Name one image file: JPEG, PNG, WebP, BMP, TIFF or GIF."


def open_file(path: Path) -> Listing:
    """The image at ``path``, decoded once to be sure of it. Raises ``DatasetError``."""
    if not path.is_file():
        raise DatasetError(f"expected an image, there is no file {path}", hint=_TRY)
    source = Listing(path.name, [path.name], lambda index: read_regular_file(path))
    found = source.load(0)
    if isinstance(found, Skipped):
        raise DatasetError(f"expected an image, but {path} {found.reason}", hint=_TRY)
    return source
