"""Images of Parquet files: their bytes in a column, as the datasets library stores them, or paths beside the file."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from singaudit.dataset.columns import LABEL_COLUMNS, PATH_COLUMNS, label_column, named_column, text_of
from singaudit.dataset.decode import UndecodableError, read_regular_file
from singaudit.dataset.sources.listing import Listing
from singaudit.dataset.sources.tar_shards import expand
from singaudit.disk import version_of
from singaudit.errors import DatasetError

_IMAGE_COLUMNS = ("image", "img", "bytes", "image_bytes", "jpg", "png")
_MAX_GROUP_BYTES = 2 * 2**30
"""Of one column in one row group, unpacked: the smallest piece that can be read."""
_KEPT_GROUPS = 2
_MAX_ROWS = 100_000_000


def open_parquet(text: str, label: str | None = None) -> Listing:
    """Images of one Parquet file or several (a glob, a brace pattern, a folder), rows in their order.

    A column image holds each image's bytes, plain or as ``{bytes, path}``; without one, a column path names files
    below the Parquet file's folder. Labels are a column label, by name or position, or with the class names that the
    datasets library keeps in the file; further columns of text or whole numbers are kept. Raises ``DatasetError``.
    """
    files = [ParquetFile(path, label) for path in expand(text, ".parquet")]
    first = files[0]
    for file in files[1:]:
        if set(file.columns) != set(first.columns):
            raise DatasetError(
                f"expected the same columns in every file of {text}, {file.path.name} has {_some(file.columns)} and "
                f"{first.path.name} {_some(first.columns)}",
                hint="Name the files that belong together.",
            )
    image, path = first.image_column(), named_column(first.texts, PATH_COLUMNS)
    if image is None and path is None:
        raise DatasetError(
            f"expected a column image with bytes or a column path in {text}, found {_some(first.columns)}",
            hint="Rename the column; the datasets library writes images as {bytes, path}.",
        )
    ends = np.cumsum([file.rows for file in files])
    if not ends[-1] or ends[-1] > _MAX_ROWS:
        raise DatasetError(f"expected 1 to {_MAX_ROWS} rows in {text}, found {ends[-1]}")
    columns = {name: [cell for file in files for cell in file.text(name)] for name in first.texts}
    chosen = label_column({n: c for n, c in columns.items() if n != path}, label, text)
    names = columns[path] if path and image is None else [f"{i:08d}" for i in range(ends[-1])]

    def fetch(index: int) -> bytes:
        number = int(np.searchsorted(ends, index, side="right"))
        file, row = files[number], index - int(ends[number] - files[number].rows)
        return file.image(image, row) if image is not None else read_beside(file.path, names[index])

    labels = tuple(cell or None for cell in columns.pop(chosen)) if chosen else None
    return Listing(text, names, fetch, labels, "column", {n: c for n, c in columns.items() if n != path})


def read_beside(file: Path, name: str) -> bytes:
    """The bytes of the file ``name`` below the folder of ``file``; such a path may not lead out of it."""
    root = file.parent.resolve()
    target = (root / name).resolve() if "\0" not in name else root
    if not name or Path(name).is_absolute() or root not in target.parents:
        raise UndecodableError("names a file outside the table's folder")
    return read_regular_file(target)


class ParquetFile:
    """One Parquet file: its columns of text now, images when they are asked for."""

    def __init__(self, path: Path, label: str | None = None, data: bytes | None = None) -> None:
        """``data``: the file's bytes, where they were read already; ``path`` then serves for messages alone."""
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError as error:
            raise DatasetError(
                "expected pyarrow, which reads Parquet files; it is not installed",
                hint="Run pip install 'singaudit[parquet]'",
            ) from error
        self.path = path
        if data is None and not path.is_file():
            raise DatasetError(f"expected a Parquet file, {path} is no regular file", hint="Check the path.")
        try:
            self._version = version_of(path.stat()) if data is None else None
            self._file = pq.ParquetFile(path if data is None else pa.BufferReader(data))
            self._schema = self._file.schema_arrow
            facts = self._file.metadata
            groups = [facts.row_group(i).num_rows for i in range(facts.num_row_groups)]
            if min(groups, default=0) < 0 or sum(groups) != facts.num_rows:
                raise ValueError(f"its row groups hold {groups[:9]} rows, {facts.num_rows} are announced")
        except Exception as error:  # pyarrow raises many kinds for a damaged file
            raise DatasetError(
                f"expected a Parquet file in {path}, it cannot be read: {str(error)[:200]}", hint="Write it again."
            ) from error
        self.columns = list(self._schema.names)
        if len(set(self.columns)) < len(self.columns):
            raise DatasetError(
                f"expected distinct names of columns in {path}, found {_some(self.columns)}", hint="Rename one of them."
            )
        self.rows = int(facts.num_rows)
        self._names = _class_names(self._schema.metadata or {})
        tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_integer, pa.types.is_dictionary)
        self.texts = [n for n in self.columns if any(test(self._type(n)) for test in tests)]
        named = [n for n in self.columns if n.casefold() in (LABEL_COLUMNS if label is None else (label.casefold(),))]
        # pandas makes whole numbers with gaps floating.
        self.texts += [n for n in named if n not in self.texts and pa.types.is_floating(self._type(n))]
        if named and not set(named) & set(self.texts):
            raise DatasetError(
                f"expected names or positions of classes in the column {named[0]!r} of {path}, its type is "
                f"{str(self._type(named[0]))[:100]}",
                hint="Write one label an image, rename the column, or name another with --label-column.",
            )
        self._ends = np.cumsum(groups)
        self._kept: OrderedDict[int, Any] = OrderedDict()
        self._lock = threading.Lock()

    def _type(self, name: str) -> Any:
        return self._schema.field(name).type

    def image_column(self) -> str | None:
        """The column that holds images as bytes: one that is called so, else the only one."""
        import pyarrow as pa

        def is_bytes(kind: Any) -> bool:
            if pa.types.is_struct(kind):
                return any(kind.field(i).name == "bytes" for i in range(kind.num_fields))
            return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))

        found = [name for name in self.columns if is_bytes(self._type(name))]
        named = named_column(found, _IMAGE_COLUMNS)
        if named is None and len(found) > 1:
            raise DatasetError(
                f"expected one column of images in {self.path}, found {_some(found)}", hint="Call the right one image."
            )
        return named or (found[0] if found else None)

    def text(self, name: str) -> list[str]:
        """A column as texts, class numbers as their names, "" for null."""
        try:
            cells = self._file.read(columns=[name]).column(name).to_pylist()
            if len(cells) != self.rows:
                raise ValueError(f"it holds {len(cells)} cells, not {self.rows}")
            self._check_same()
        except Exception as error:  # as above
            raise DatasetError(
                f"the column {name!r} of {self.path} cannot be read: {str(error)[:200]}", hint="Write it again."
            ) from error
        names = self._names.get(name)
        if names:
            return [names[c] if isinstance(c, int) and 0 <= c < len(names) else "" for c in cells]
        return ["" if c is None or c != c else text_of(c) if isinstance(c, float) else str(c).strip() for c in cells]

    def image(self, column: str, row: int) -> bytes:
        """The encoded bytes in a row."""
        number = int(np.searchsorted(self._ends, row, side="right"))
        try:
            cell = self._group(column, number)[row - int(self._ends[number - 1] if number else 0)].as_py()
        except UndecodableError:
            raise
        except Exception as error:  # as above
            raise UndecodableError(f"cannot be read: {str(error)[:200]}") from error
        if isinstance(cell, dict):
            data = cell.get("bytes")
            if data is None and isinstance(cell.get("path"), str):
                return read_beside(self.path, cell["path"])
        else:
            data = cell
        if not isinstance(data, bytes):
            raise UndecodableError("has no bytes")
        return data

    def _check_same(self) -> None:
        """Labels and images are of one file: ValueError where it was written to, or replaced, since it was opened."""
        if self._version is not None and version_of(self.path.stat()) != self._version:
            raise ValueError("the file changed since it was opened")

    def _group(self, column: str, number: int) -> Any:
        # Read under the lock: threads that want the same row group wait for it instead of reading it again.
        with self._lock:
            if number not in self._kept:
                facts = self._file.metadata.row_group(number)
                size = sum(
                    facts.column(i).total_uncompressed_size
                    for i in range(facts.num_columns)
                    if facts.column(i).path_in_schema.split(".")[0] == column
                )
                if size > _MAX_GROUP_BYTES:
                    raise UndecodableError(
                        f"lies in a row group of {size} bytes, over the limit of {_MAX_GROUP_BYTES}: write the file "
                        "with smaller row groups"
                    )
                try:
                    group = self._file.read_row_group(number, columns=[column]).column(column)
                finally:
                    self._check_same()  # says better than pyarrow why it is damaged
                self._kept[number] = group
                while len(self._kept) > _KEPT_GROUPS:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(number)
            return self._kept[number]


def _class_names(metadata: dict[bytes, bytes]) -> dict[str, Sequence[str]]:
    """Class names by column that the datasets library stored in the file's schema."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        return {
            name: [str(n) for n in feature["names"]]
            for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and isinstance(feature["names"], list)
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _some(names: Sequence[str]) -> str:
    return ", ".join(names)[:200]
