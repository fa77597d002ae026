"""Tables that people write: a CSV file as columns of text, with everything that can be wrong in it explained."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from singaudit.dataset.decode import UndecodableError, read_regular_file
from singaudit.errors import DatasetError

PATH_COLUMNS = ("path", "file_name", "filename", "file", "image_path", "image")
LABEL_COLUMNS = ("label", "labels", "class")
MAX_TEXT_BYTES = 256 * 2**20
_MAX_COLUMNS = 1000


def read_text(path: Path, what: str) -> str:
    """The UTF-8 text of a regular file of at most 256 MiB; ``what`` it is, for messages. Raises ``DatasetError``."""
    try:
        data = read_regular_file(path, MAX_TEXT_BYTES)
    except UndecodableError as error:
        raise DatasetError(f"expected {what}, but {path} {error}", hint="Check the path.") from error
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DatasetError(f"expected {what} as UTF-8 text, {path} is UTF-16", hint="Save it as UTF-8.")
    if b"\0" in data:
        raise DatasetError(
            f"expected {what} as text, {path} holds a NUL byte at position {data.index(0)}",
            hint="Save it as UTF-8 text.",
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"expected {what} as UTF-8 text, {path} has other bytes at position {error.start}",
            hint="Save it as UTF-8.",
        ) from error


def read_csv(path: Path, what: str) -> dict[str, list[str]]:
    """Columns of a CSV file with a header line; separated by commas, or by semicolons or tabs where the header is.

    Raises ``DatasetError`` naming the line for a row that is longer or shorter than the header.
    """
    text = read_text(path, what)
    header = text.split("\n", 1)[0]
    separator = next((c for c in ",;\t" if c in header), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        names = [name.strip() for name in next(reader, [])]
        if not any(names) or len(names) > _MAX_COLUMNS or len(set(names)) < len(names):
            raise DatasetError(
                f"expected {what} with a header line of distinct names, found {', '.join(names)[:200]!r} in {path}",
                hint="The first line names the columns, e.g. path,label.",
            )
        rows = []
        for row in reader:
            if row and len(row) != len(names):
                raise DatasetError(
                    f"expected {len(names)} values in each line of {path}, line {reader.line_num} has {len(row)}",
                    hint="Put values that hold the separator in double quotes.",
                )
            if row:
                rows.append(row)
    except csv.Error as error:
        raise DatasetError(
            f"expected {what} in {path}, line {reader.line_num} is no CSV: {error}", hint="Save it as CSV again."
        ) from error
    columns = zip(*rows, strict=True) if rows else ([] for _ in names)
    return {name: list(column) for name, column in zip(names, columns, strict=True)}


def named_column(columns: Iterable[str], candidates: Sequence[str]) -> str | None:
    """The first of ``candidates`` that is a column, letter case aside."""
    known = {name.casefold(): name for name in columns}
    return next((known[name] for name in candidates if name in known), None)
