"""Open an image source by the text a user gives: each kind is one file and one line in this table."""

from __future__ import annotations

from singaudit.dataset.folder import open_folder
from singaudit.dataset.interface import ImageSource
from singaudit.dataset.shapes import ShapesSource, parse_shapes


def open_source(text: str) -> ImageSource:
    """The image source that ``text`` names: ``shapes:N[:SEED]`` or a folder. Raises ``DatasetError``."""
    if text.startswith("shapes:"):
        return ShapesSource(*parse_shapes(text))
    return open_folder(text)
