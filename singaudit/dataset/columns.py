"""Tables that people write: a CSV file as columns of text, with everything that can be wrong in it explained."""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from singaudit.dataset.decode import UndecodableError, read_regular_file
from singaudit.errors import DatasetError

PATH_COLUMNS = (
    "path", "file_name", "filename", "file", "filepath", "file_path", "image_path", "img_path", "image_name", "image",
    "img",
)  # fmt: skip
ID_COLUMNS = ("image_id", "imageid", "img_id", "id")
"""Names of columns that hold an image's name without folder and suffix, where there is none of its path."""
LABEL_COLUMNS = (
    "label", "labels", "class", "class_name", "label_name", "target", "category", "cls", "class_id",
    "choice",
)  # fmt: skip
"""Names of columns that hold an image's class, by name or position."""
MAX_TEXT_BYTES = 256 * 2**20
_MAX_COLUMNS = 1000


@dataclass(frozen=True)
class TableFile:
    """A file that says which images there are, or what they show, as it was read."""

    path: Path
    """Where it was."""
    sha256: str
    """Of the bytes that were read, hex."""

    def changed(self) -> bool:
        """Whether its name leads to other bytes by now, or to nothing."""
        try:
            return hashlib.sha256(read_regular_file(self.path, MAX_TEXT_BYTES)).hexdigest() != self.sha256
        except UndecodableError:
            return True


def read_text(path: Path, what: str) -> str:
    """The UTF-8 text of a regular file of at most 256 MiB; ``what`` it is, for messages. Raises ``DatasetError``."""
    return read_text_file(path, what)[0]


def read_table_bytes(path: Path, what: str) -> tuple[bytes, TableFile]:
    """A regular file of at most 256 MiB, read once, and its hash; ``what`` it is, for messages. Raises
    ``DatasetError``."""
    try:
        data = read_regular_file(path, MAX_TEXT_BYTES)
    except UndecodableError as error:
        raise DatasetError(f"expected {what}, but {path} {error}", hint="Check the path.") from error
    return data, TableFile(path, hashlib.sha256(data).hexdigest())


def read_text_file(path: Path, what: str) -> tuple[str, TableFile]:
    """As ``read_text``, and the hash of what was read."""
    data, file = read_table_bytes(path, what)
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DatasetError(f"expected {what} as UTF-8 text, {path} is UTF-16", hint="Save it as UTF-8.")
    if b"\0" in data:
        raise DatasetError(
            f"expected {what} as text, {path} holds a NUL byte at position {data.index(0)}",
            hint="Save it as UTF-8 text.",
        )
    try:
        return data.decode("utf-8-sig"), file
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"expected {what} as UTF-8 text, {path} has other bytes at position {error.start}",
            hint="Save it as UTF-8.",
        ) from error


def read_csv(path: Path, what: str) -> dict[str, list[str]]:
    """Columns of a CSV file with a header line; separated by commas, or by semicolons or tabs where the header is.

    Raises ``DatasetError`` naming the line for a row that is longer or shorter than the header.
    """
    return read_csv_file(path, what)[0]


def read_csv_file(path: Path, what: str) -> tuple[dict[str, list[str]], TableFile]:
    """As ``read_csv``, and the hash of what was read."""
    text, file = read_text_file(path, what)
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
    return {name: list(column) for name, column in zip(names, columns, strict=True)}, file


def named_column(columns: Iterable[str], candidates: Sequence[str]) -> str | None:
    """The first of ``candidates`` that is a column, letter case aside."""
    known = {name.casefold(): name for name in columns}
    return next((known[name] for name in candidates if name in known), None)


def label_column(columns: Mapping[str, Sequence[str]], wanted: str | None, where: str) -> str | None:
    """The column that holds an image's class: the ``wanted`` one, else the only one of such a name; None for none.

    Several that say the same of every image (a number and its name) count as one, that of names first. Raises
    ``DatasetError`` where ``wanted`` is no column, or where several could be meant; ``where`` names the table.
    """
    known = {name.casefold(): name for name in columns}
    if wanted is not None:
        if wanted.casefold() not in known:
            raise DatasetError(
                f"expected a column {wanted!r} of labels in {where}, found {', '.join(columns)[:200] or 'no columns'}",
                hint="Correct --label-column.",
            )
        return known[wanted.casefold()]
    found = [known[name] for name in LABEL_COLUMNS if name in known]
    if len(found) > 1 and not all(_agree(columns[found[0]], columns[name]) for name in found[1:]):
        raise DatasetError(
            f"expected one column of labels in {where}, the columns {', '.join(found)} could all be meant",
            hint=f"Name it: --label-column {found[0]}.",
        )
    return min(found, key=lambda name: all(cell.replace(".", "").isdigit() for cell in columns[name]), default=None)


def one_hot(columns: Mapping[str, Sequence[str]], names: Sequence[str]) -> list[str] | None:
    """The class of each row where every class has a column of its own, 1 in the rows of that class and 0 elsewhere.

    None where a class has no column (letter case aside), or a row not exactly one 1.
    """
    known = {name.casefold(): name for name in columns}
    if len(names) < 2 or not all(name.casefold() in known for name in names):
        return None
    found: list[str | None] = [None] * len(columns[known[names[0].casefold()]])
    for name in names:
        for row, cell in enumerate(columns[known[name.casefold()]]):
            value = {"0": 0, "0.0": 0, "1": 1, "1.0": 1}.get(cell.strip())
            if value is None or (value and found[row] is not None):
                return None
            found[row] = name if value else found[row]
    return [name for name in found if name is not None] if None not in found else None


def _agree(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether each value of one column always stands beside the same value of the other."""
    return len(set(zip(one, other, strict=True))) == len(set(one)) == len(set(other))


def text_of(value: Any) -> str:
    """A cell as text; "" for none. Whole numbers that a table keeps as floats are written as such."""
    if value is None or value != value:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
