"""Image sources by the text a user gives: each kind is one file and one line in this table, its words in --help too.

A module is imported when its kind is opened, so that the help of a command costs nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from singaudit.dataset.interface import ImageSource


@dataclass(frozen=True)
class Source:
    """One kind of image source."""

    help: str
    """What a user may write, as --images' help lists it."""
    module: str
    """Where its ``open_...`` is, below ``singaudit.dataset``."""
    function: str
    """Opens a text, with the name of the column of labels or None."""
    prefix: str | tuple[str, ...] = ""
    """The start of every text that means it, or one of several."""
    suffixes: tuple[str, ...] = ()
    """Endings of the files that mean it."""
    shards: str = ""
    """A folder of files with this ending, and no other images, means it too."""

    def open(self, text: str, label_column: str | None) -> ImageSource:
        """The source that ``text`` names. Raises ``DatasetError``."""
        module = import_module(f"singaudit.dataset.{self.module}")
        opened: ImageSource = getattr(module, self.function)(text, label_column)
        return opened


FOLDER = Source("folder (flat, or one subfolder per class)", "sources.folder", "open_folder")
SOURCES = (
    FOLDER,
    Source("list (.txt)", "sources.file_list", "open_list", suffixes=(".txt", ".lst")),
    Source(
        "table (.csv, .tsv) with a column path or image", "sources.file_list", "open_csv", suffixes=(".csv", ".tsv")
    ),
    Source("lines of JSON (.jsonl)", "sources.file_list", "open_jsonl", suffixes=(".jsonl", ".ndjson")),
    Source(".parquet tables", "sources.parquet", "open_parquet", suffixes=(".parquet",), shards=".parquet"),
    # Compressed archives are refused with what to do: their members cannot be reached one by one.
    Source(".tar shards", "sources.tar_shards", "open_shards", suffixes=(".tar", ".tar.gz", ".tgz"), shards=".tar"),
    Source(
        "folder of an object store (s3://, gs://, az://)",
        "sources.object_store",
        "open_objects",
        prefix=("s3://", "gs://", "gcs://", "az://", "abfs://", "abfss://"),
    ),
    Source("hf:ORG/NAME[:SPLIT]", "sources.hub", "open_hub_dataset", prefix="hf:"),
    Source("shapes:N[:SEED]", "generated.source", "open_shapes", prefix="shapes:"),
)
"""In the order in which help lists them."""


def source_help() -> str:
    """What --images takes."""
    words = [source.help for source in SOURCES]
    text = f"{', '.join(words[:-1])} or {words[-1]}."
    return text[0].upper() + text[1:]


def open_source(text: str, label_column: str | None = None) -> ImageSource:
    """The image source that ``text`` names, as ``SOURCES`` say.

    ``label_column`` names the column of a table that holds the labels, where several could be meant. Raises
    ``DatasetError``.
    """
    return _meant(text).open(text, label_column)


def _meant(text: str) -> Source:
    for source in SOURCES:
        if source.prefix and text.startswith(source.prefix):
            return source
    folder = Path(os.path.expanduser(text))
    if folder.is_dir():
        return next((source for source in SOURCES if source.shards and _holds_only(folder, source.shards)), FOLDER)
    return next((source for source in SOURCES if source.suffixes and text.lower().endswith(source.suffixes)), FOLDER)


def _holds_only(folder: Path, suffix: str) -> bool:
    """True for a folder of files with this suffix and no subfolder; other files, such as a licence, may lie beside."""
    from singaudit.dataset.formats import SUFFIXES

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
