"""metadata.csv, metadata.jsonl and metadata.parquet in an image folder, read as the datasets library does."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from singaudit.dataset.columns import TableFile, read_csv_file, read_table_bytes, read_text_file, text_of
from singaudit.errors import DatasetError

METADATA_FILES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_FILE_NAME = "file_name"
_MOST_COLUMNS = 1000


@dataclass(frozen=True)
class MetadataTable:
    """The rows of all metadata files of a folder, by the images they name."""

    where: str
    """The files, in words."""
    rows: Mapping[str, int]
    """Image's path below the folder -> its row."""
    columns: Mapping[str, Sequence[str]]
    """(rows,) texts by name, the paths aside."""
    files: tuple[TableFile, ...] = ()
    """As they were read."""


def read_metadata_tables(root: Path, files: Sequence[str]) -> MetadataTable | None:
    """What the files (paths below ``root``) say of the images beside or below them; None where none names images.

    A row names its image by the column ``file_name`` (or the only ``*_file_name``), relative to the metadata file.
    Raises ``DatasetError`` for a file that cannot be read, for files with different columns, and for an image that is
    named twice.
    """
    rows: dict[str, int] = {}
    joined: dict[str, list[str]] = {}
    used: list[str] = []
    read: list[TableFile] = []
    for file in files:
        columns, table = _READERS[Path(file).suffix](root / file)
        by = _path_column(columns)
        if by is None:
            continue
        others = {name: cells for name, cells in columns.items() if name != by}
        if used and others.keys() != joined.keys():
            raise DatasetError(
                f"expected the same columns in {used[0]} and {file}, they are {', '.join(joined)[:200]} and "
                f"{', '.join(others)[:200]}",
                hint="Give one folder of images at a time.",
            )
        start = len(rows)
        for index, name in enumerate(columns[by]):
            path = posixpath.normpath(posixpath.join(posixpath.dirname(file), name.strip().replace("\\", "/")))
            if path in rows:
                raise DatasetError(f"expected each image once in {file}, {name[:200]!r} stands there twice")
            rows[path] = start + index
        for name, cells in others.items():
            joined.setdefault(name, []).extend(cell.strip() for cell in cells)
        used.append(file)
        read.append(table)
    return MetadataTable(", ".join(used), rows, joined, tuple(read)) if used else None


def _path_column(columns: Mapping[str, Sequence[str]]) -> str | None:
    if _FILE_NAME in columns:
        return _FILE_NAME
    found = [name for name in columns if name.endswith(f"_{_FILE_NAME}")]
    return found[0] if len(found) == 1 else None


def _csv(path: Path) -> tuple[dict[str, list[str]], TableFile]:
    return read_csv_file(path, "a metadata file of images, CSV with a column file_name")


def read_jsonl(path: Path) -> tuple[dict[str, list[str]], TableFile]:
    """Columns of a file with a JSON object a line, those of plain values, and its hash. Raises ``DatasetError``."""
    found: list[dict[str, Any]] = []
    names: dict[str, None] = {}
    text, file = read_text_file(path, "a metadata file of images, a JSON object a line")
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DatasetError(
                f"expected a JSON object in each line of {path}, line {number} is none: {str(error)[:100]}"
            ) from error
        if not isinstance(row, dict):
            raise DatasetError(f"expected a JSON object in each line of {path}, line {number} is none")
        found.append(row)
        names |= dict.fromkeys(row)
        if len(names) > _MOST_COLUMNS:
            raise DatasetError(f"expected at most {_MOST_COLUMNS} columns in {path}, it has more")
    plain = [name for name in names if not any(isinstance(row.get(name), dict | list) for row in found)]
    return {name: [text_of(row.get(name)) for row in found] for name in plain}, file


def _parquet(path: Path) -> tuple[dict[str, list[str]], TableFile]:
    from singaudit.dataset.sources.parquet import ParquetFile

    data, table = read_table_bytes(path, "a metadata file of images, Parquet with a column file_name")
    file = ParquetFile(path, data=data)
    return {name: file.text(name) for name in file.texts}, table


_READERS = {".csv": _csv, ".jsonl": read_jsonl, ".parquet": _parquet}
