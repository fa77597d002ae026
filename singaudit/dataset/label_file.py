"""The file that ``--labels`` names: a table of images, each by its path, a folder above it, or its name alone."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from singaudit.dataset.columns import ID_COLUMNS, PATH_COLUMNS, TableFile, named_column, read_csv_file
from singaudit.dataset.interface import ImageSource
from singaudit.errors import DatasetError


@dataclass(frozen=True)
class LabelFile:
    """A label file as it was read, once: whatever is asked of it is answered by the same bytes."""

    text: str
    """As the user named it."""
    columns: Mapping[str, Sequence[str]]
    """(n,) cells by column, one per image of the source, "" for images that it does not name."""
    file: TableFile

    def __str__(self) -> str:
        return self.text


def read_label_file(source: ImageSource, labels: str) -> LabelFile:
    """The label file ``labels``, its rows put to the images of the source.

    An image goes by its path, else by a folder above it, else, where that tells all images apart and no path fits, by
    its file name with or without suffix. Raises ``DatasetError``.
    """
    path = Path(os.path.expanduser(labels))
    if not path.is_file():
        raise DatasetError(
            f"expected --labels auto, none or a CSV file with the columns path,label; there is no file {labels}",
            hint="Check the path given to --labels.",
        )
    columns, file = read_csv_file(path, "a label file, CSV with the columns path,label")
    by = named_column(columns, PATH_COLUMNS) or named_column(columns, ID_COLUMNS)
    if by is None or len(columns) < 2:
        raise DatasetError(
            f"expected the columns path,label in {path}, found {', '.join(columns)[:200]}",
            hint="Further columns may carry the images' own values of concept groups, e.g. path,label,colour.",
        )
    rows = _rows(columns, by, path)
    found = [_row(rows, name) for name in source.names]
    for short in (_file, _stem):
        if any(row is not None for row in found):
            break
        names = [short(name) for name in source.names]
        found = [rows.get(name) for name in names] if len(set(names)) == len(names) else found
    if all(row is None for row in found):
        raise DatasetError(
            f"expected {path} to name images of {source.name}, it names none of its {len(found)}",
            hint=f"Its paths are such as {columns[by][0] if columns[by] else ''!r}, the images' such as "
            f"{source.names[0]!r}; paths are relative to the image folder.",
        )
    own = {
        name: ["" if row is None else cells[row].strip() for row in found]
        for name, cells in columns.items()
        if name != by
    }
    return LabelFile(labels, own, file)


def _plain(path: str) -> str:
    return path.strip().replace("\\", "/").removeprefix("./").rstrip("/")


def _file(path: str) -> str:
    return path.rpartition("/")[2]


def _stem(path: str) -> str:
    return _file(path).rpartition(".")[0]


def _rows(columns: Mapping[str, Sequence[str]], by: str, path: Path) -> dict[str, int]:
    """Each path's row. Raises ``DatasetError`` where two rows say different things of one."""
    rows: dict[str, int] = {}
    for row, name in enumerate(columns[by]):
        first = rows.setdefault(_plain(name), row)
        rows.setdefault(name, row)
        other = next((c for c, cells in columns.items() if c != by and cells[first] != cells[row]), None)
        if other is not None:
            raise DatasetError(
                f"expected one row an image in {path}, {name[:200]!r} has several, with different values of {other!r}",
                hint="Keep the row that says what the image's class is.",
            )
    return rows


def _row(rows: Mapping[str, int], name: str) -> int | None:
    """The row of an image: its own, else that of the nearest folder above it."""
    while name:
        if name in rows:
            return rows[name]
        name = name.rpartition("/")[0]
    return None
