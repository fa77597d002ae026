"""One file of rows: sealed by its shelf's identity, checked when it is opened, read row by row from one descriptor.

Rows are read, not mapped: of a mapped file that somebody cuts short, the next look kills the process.
"""

from __future__ import annotations

import hashlib
import io
import re
import threading
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from singaudit.disk import open_plain, write_aside
from singaudit.errors import MachineError

Arrays = tuple[NDArray[np.floating[Any]], ...]

FILE = re.compile(r"[0-9a-f]{64}\.(npy|onnx)")
"""Name of a file of rows, the sha256 of its shelf's seal and its bytes; or of a whole file (files.py)."""
KEY = np.dtype("S32")
_LARGEST = 2**30
"""Bytes of a file of rows: far more than one is ever given."""


class MemoryTable:
    """Rows in memory: (n, width) per output."""

    def __init__(self, arrays: Arrays) -> None:
        self._arrays = arrays
        self.columns = [(a.dtype, a.shape[1:]) for a in arrays]

    def __len__(self) -> int:
        return len(self._arrays[0])

    def take(self, rows: NDArray[np.intp]) -> Arrays:
        """These rows, in this order."""
        return tuple(array[rows] for array in self._arrays)


class FileTable:
    """Rows in a file that stays open, so that it stays what was checked whatever its name leads to by now."""

    def __init__(self, path: Path, file: BinaryIO, start: int, dtype: np.dtype[Any], count: int) -> None:
        self.path = path
        self._file, self._start, self._dtype, self._count = file, start, dtype, count
        self._lock = threading.Lock()
        fields = [dtype[name] for name in (dtype.names or ())[1:]]
        self.columns = [(field.base, field.shape) for field in fields]

    def __len__(self) -> int:
        return self._count

    def take(self, rows: NDArray[np.intp]) -> Arrays:
        """These rows, in this order. Raises MachineError where the file is no longer what it was."""
        order = np.argsort(rows, kind="stable")
        wanted, size = rows[order], self._dtype.itemsize
        found = np.empty(len(rows), self._dtype)
        data = found.view(np.uint8).data
        cuts = [0, *(np.flatnonzero(np.diff(wanted) != 1) + 1).tolist(), len(wanted)]
        with self._lock:
            for first, last in pairwise(cuts):
                if first == last:
                    continue
                self._file.seek(self._start + int(wanted[first]) * size)
                part = data[first * size : last * size]
                if self._file.readinto(part) != len(part):  # type: ignore[attr-defined]
                    raise MachineError(
                        f"the cache's file {self.path} was cut short while it was read",
                        hint="Run the same command again, or with --no-cache.",
                    )
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return tuple(found[name][back] for name in (self._dtype.names or ())[1:])


Table = MemoryTable | FileTable


def write_table(folder: Path, seal: bytes, keys: NDArray[Any], arrays: Arrays) -> FileTable:
    """Write rows aside, under the name that their content has on the shelf of this ``seal``. Raises OSError.

    Not synced, because a damaged file is found by its hash; written by hand, because NumPy loses the error of a last
    block that finds the disk full.
    """
    fields = [(f"f{i}", a.dtype.newbyteorder("<"), a.shape[1:]) for i, a in enumerate(arrays)]
    table = np.empty(len(keys), [("key", KEY), *fields])
    table["key"] = keys
    for i, array in enumerate(arrays):
        table[f"f{i}"] = array
    content = io.BytesIO()
    np.save(content, table, allow_pickle=False)
    data = content.getbuffer()
    path = folder / f"{_sealed(seal, data)}.npy"
    write_aside(path, data, mode=0o600, sync=False)
    return FileTable(path, open_plain(path, follow=False, own=True), len(data) - table.nbytes, table.dtype, len(table))


def read_table(path: Path, seal: bytes) -> tuple[FileTable, NDArray[Any]]:
    """The table in ``path`` and the content hashes of its rows.

    Raises ``ValueError`` for a file that is not what was written on the shelf of this ``seal``, OSError for one that
    cannot be read.
    """
    file = open_plain(path, follow=False, own=True)
    try:
        data = file.read(_LARGEST)
        if _sealed(seal, data) != path.stem:
            raise ValueError("its content is not what its name says")
        dtype, count, start = _described(data)
        keys = np.frombuffer(data, dtype, count, start)["key"].copy()
    except BaseException:
        file.close()
        raise
    return FileTable(path, file, start, dtype, count), keys


def _sealed(seal: bytes, data: bytes | memoryview) -> str:
    """Names a file by what it holds and by whose it is: under another shelf's folder it does not fit."""
    digest = hashlib.sha256(seal)
    digest.update(data)
    return digest.hexdigest()


def _described(data: bytes) -> tuple[np.dtype[Any], int, int]:
    """(type of a row, number of rows, where they begin)."""
    head = io.BytesIO(data[: 2**16])
    version = np.lib.format.read_magic(head)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError("it holds no rows")
    shape, _, dtype = read(head)
    names = dtype.names or ()
    floats = not dtype.hasobject and all(dtype[name].base.kind == "f" for name in names[1:])
    if len(shape) != 1 or len(names) < 2 or dtype[0] != KEY or not floats:
        raise ValueError("it holds no rows")
    if len(data) - head.tell() != shape[0] * dtype.itemsize:
        raise ValueError("it is cut short")
    return dtype, shape[0], head.tell()
