"""Images named one a line in a text file, or in a column of a CSV file."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from singaudit.dataset.columns import (
    PATH_COLUMNS,
    TableFile,
    label_column,
    named_column,
    read_csv_file,
    read_text_file,
)
from singaudit.dataset.decode import read_regular_file
from singaudit.dataset.formats import SUFFIXES
from singaudit.dataset.interface import Skipped
from singaudit.dataset.sources.listing import Listing
from singaudit.dataset.sources.metadata_table import read_jsonl
from singaudit.errors import DatasetError

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:(//|(?=data:))|data:", re.ASCII)
_NUMBERED = re.compile(r"\d+\t(?P<label>\d+(?:\.\d+)?)\t(?P<path>\S.*)", re.ASCII)
"""As MXNet's im2rec lists images: number, label, path."""
_LABELLED = re.compile(rf"(?P<path>.+?(?:{'|'.join(map(re.escape, SUFFIXES))}))[ \t]+(?P<label>\S.*)", re.IGNORECASE)


def open_list(text: str, label: str | None = None) -> Listing:
    """Images of a text file: a path a line, relative to the file's folder or absolute, in the file's order.

    Where every line has a label after the path, as in "a/b.jpg 17", that is the image's label: a class name or its
    position; so it is in lines of number, label and path (MXNet's .lst). URLs are left out and counted: nothing is
    fetched. Raises ``DatasetError``.
    """
    path = Path(os.path.expanduser(text))
    whole, file = read_text_file(path, "a list of images, a path a line")
    lines = [line.strip() for line in whole.splitlines()]
    lines = [line for line in lines if line]
    for pattern in (_NUMBERED, _LABELLED):
        pairs = [pattern.fullmatch(line) for line in lines]
        if not (lines and all(pairs)):
            continue
        return _listing(text, file, [p["path"] for p in pairs if p], [p["label"] for p in pairs if p], {})
    return _listing(text, file, lines, None, {})


def open_csv(text: str, label: str | None = None) -> Listing:
    """Images of a CSV file with a column path (relative to the file's folder or absolute), in the file's order.

    A column label (``label``: of another name) gives class names or their positions; every other column is kept by its
    name, for concept groups.
    Raises ``DatasetError``.
    """
    path = Path(os.path.expanduser(text))
    return _open_table(text, *read_csv_file(path, "a table of images, CSV with a column path"), label)


def open_jsonl(text: str, label: str | None = None) -> Listing:
    """As ``open_csv``, of a file with a JSON object a line. Raises ``DatasetError``."""
    path = Path(os.path.expanduser(text))
    return _open_table(text, *read_jsonl(path), label)


def _open_table(text: str, columns: Mapping[str, Sequence[str]], file: TableFile, label: str | None) -> Listing:
    by = named_column(columns, PATH_COLUMNS)
    if by is None:
        raise DatasetError(
            f"expected a column path in {text}, found {', '.join(columns)[:200]}",
            hint="The first line names the columns, e.g. path,label; paths are relative to the file's folder.",
        )
    chosen = label_column({name: cells for name, cells in columns.items() if name != by}, label, text)
    others = {name: column for name, column in columns.items() if name not in (by, chosen)}
    return _listing(text, file, columns[by], columns[chosen] if chosen else None, others)


def _here(root: Path, name: str) -> str:
    """The path, with slashes where it was written on Windows and names no file as it stands."""
    return name.replace("\\", "/") if "\\" in name and not os.path.lexists(root / name) else name


def _listing(
    text: str, file: TableFile, files: Sequence[str], labels: Sequence[str] | None, columns: Mapping[str, Sequence[str]]
) -> Listing:
    kept = [i for i, name in enumerate(files) if name.strip() and not _URL.match(name)]
    left_out = tuple(
        Skipped(name[:500], "is a URL; nothing is fetched" if name.strip() else "names no file")
        for name in files
        if not name.strip() or _URL.match(name)
    )
    if not kept:
        first = f"; the first of its {len(left_out)} lines {left_out[0].reason}" if left_out else ""
        raise DatasetError(
            f"expected paths of images in {text}, found none{first}",
            hint="Give the path of an image file a line; download what a URL names yourself.",
        )
    root = file.path.parent
    names = [_here(root, files[i].strip()) for i in kept]
    return Listing(
        text,
        names,
        lambda index: read_regular_file(root / names[index]),
        tuple(labels[i].strip() or None for i in kept) if labels is not None else None,
        "column",
        {name: [column[i].strip() for i in kept] for name, column in columns.items()},
        left_out,
        tables=(file,),
    )
