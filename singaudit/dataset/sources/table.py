"""Open an image source by the text a user gives: each kind is one file and one line in this table."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from singaudit.dataset.formats import SUFFIXES
from singaudit.dataset.generated.source import ShapesSource, parse_shapes
from singaudit.dataset.interface import ImageSource
from singaudit.dataset.sources.file_list import open_csv, open_list
from singaudit.dataset.sources.folder import open_folder
from singaudit.dataset.sources.hub import open_hub_dataset
from singaudit.dataset.sources.parquet import open_parquet
from singaudit.dataset.sources.tar_shards import open_shards

_PREFIXES: dict[str, Callable[[str, str | None], ImageSource]] = {
    "shapes:": lambda text, label: ShapesSource(*parse_shapes(text)),
    "hf:": open_hub_dataset,
}
_SUFFIXES: dict[str, Callable[[str, str | None], ImageSource]] = {
    ".txt": open_list,
    ".lst": open_list,
    ".csv": open_csv,
    ".tsv": open_csv,
    ".parquet": open_parquet,
    ".tar": open_shards,
    # Refused with what to do: members of a compressed archive cannot be reached one by one.
    ".tar.gz": open_shards,
    ".tgz": open_shards,
}


def open_source(text: str, label_column: str | None = None) -> ImageSource:
    """The image source that ``text`` names.

    ``shapes:N[:SEED]``, ``hf:ORG/NAME[:SPLIT]``, a list (.txt), a table (.csv, .tsv, .parquet), .tar shards, or a
    folder: of images, or of shards or Parquet files alone. ``label_column`` names the column of a table that holds the
    labels, where several could be meant. Raises ``DatasetError``.
    """
    for prefix, opened in _PREFIXES.items():
        if text.startswith(prefix):
            return opened(text, label_column)
    folder = Path(os.path.expanduser(text))
    if not folder.is_dir():
        for suffix, opened in _SUFFIXES.items():
            if text.lower().endswith(suffix):
                return opened(text, label_column)
        return open_folder(text, label_column)
    for suffix, opened in ((".tar", open_shards), (".parquet", open_parquet)):
        if _holds_only(folder, suffix):
            return opened(text, label_column)
    return open_folder(text, label_column)


def _holds_only(folder: Path, suffix: str) -> bool:
    """True for a folder of files with this suffix and no subfolder; other files, such as a licence, may lie beside."""
    try:
        entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    except OSError:
        return False
    names = [entry.name.lower() for entry in entries]
    return (
        any(name.endswith(suffix) for name in names)
        and not any(name.endswith(SUFFIXES) for name in names)
        and not any(entry.is_dir() for entry in entries)
    )
