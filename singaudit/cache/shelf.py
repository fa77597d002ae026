"""Rows of one computation, found by content: the cache's files, written aside, named by their hash, mapped."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import stat
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = tuple[NDArray[np.floating[Any]], ...]

FILE = re.compile(r"[0-9a-f]{64}\.npy")
"""Name of a file of rows: the sha256 of its bytes."""
IDENTITY = "identity.json"
"""Name of the file that says, for people, what the rows beside it are of."""
ASIDE = ".aside-"
"""Start of the name of a file that is being written."""
_FILE_BYTES = 32 * 2**20
"""Rows are written in files of about this size: what an interrupted audit loses, and what memory they take."""
_KEY = np.dtype("S32")
_log = logging.getLogger(__name__)


class Shelf:
    """Rows of one computation, by content hash; reading is safe from several threads, adding from one.

    ``folder`` None keeps rows in memory, for one audit.
    """

    def __init__(self, folder: Path | None, identity: Mapping[str, Any]) -> None:
        self._folder, self._writable = folder, True
        self._identity = dict(identity)
        self._tables: list[Arrays] = []
        self._keys = self._keys_by_table = np.empty(0, _KEY)
        self._where = np.empty((0, 2), np.intp)
        self._new: list[tuple[NDArray[Any], Arrays]] = []
        if folder is not None and folder.is_dir():
            self._open(folder)

    @classmethod
    def of(cls, sha256: NDArray[np.uint8], arrays: Arrays) -> Shelf:
        """A shelf of rows that exist already: content hashes (n, 32) uint8 and (n, width) per output."""
        shelf = cls(None, {})
        shelf._writable = False
        shelf._index([_key_column(sha256)], [arrays])
        return shelf

    def __contains__(self, sha256: str) -> bool:
        return len(self._keys) > 0 and self._find(_keys([sha256]))[0] >= 0

    def take(self, sha256: Sequence[str]) -> Arrays:
        """The rows of contents that are all here: (n, width) per output, as they were added."""
        where = self._where[self._find(_keys(sha256))]
        found = tuple(np.empty((len(sha256), *column.shape[1:]), column.dtype) for column in self._tables[0])
        for table in np.unique(where[:, 0]):
            mine = where[:, 0] == table
            for array, column in zip(found, self._tables[table], strict=True):
                array[mine] = column[where[mine, 1]]
        return found

    def add(self, sha256: Sequence[str], arrays: Arrays) -> None:
        """Keep a row of each of ``arrays`` (n, width) per content; found again after the next ``flush``."""
        if self._writable and len(sha256):
            self._new.append((_keys(sha256), tuple(np.array(a) for a in arrays)))
            if sum(a.nbytes for _, kept in self._new for a in kept) >= _FILE_BYTES:
                self.flush()

    def flush(self) -> None:
        """Write what was added. A cache that cannot be written is said once and does without."""
        if not self._new:
            return
        arrays = [np.concatenate(column) for column in zip(*(kept for _, kept in self._new), strict=True)]
        fields = [(f"f{i}", a.dtype.newbyteorder("<"), a.shape[1:]) for i, a in enumerate(arrays)]
        table = np.empty(len(arrays[0]), [("key", _KEY), *fields])
        table["key"] = np.concatenate([keys for keys, _ in self._new])
        for i, array in enumerate(arrays):
            table[f"f{i}"] = array
        self._new = []
        if self._folder is not None:
            try:
                make_private(self._folder)
                write_aside(self._folder / IDENTITY, json.dumps(self._identity, indent=1, sort_keys=True).encode())
                table = _mapped(_write_table(self._folder, table))
            except OSError as error:
                self._writable = False
                _log.warning("the cache %s cannot be written: %s", self._folder.parent, error.strerror or error)
                return
        self._index([self._keys_by_table, table["key"]], [*self._tables, _columns(table)])

    def _find(self, keys: NDArray[Any]) -> NDArray[np.intp]:
        """(n,) positions in the sorted keys, -1 where there is none."""
        at = np.searchsorted(self._keys, keys)
        inside = np.minimum(at, len(self._keys) - 1)
        return np.where(self._keys[inside] == keys, inside, -1)

    def _open(self, folder: Path) -> None:
        if not is_private(folder):
            _log.warning("the cache %s is another user's, or can be written by others, and is not used", folder)
            self._writable = False
            return
        tables: list[NDArray[Any]] = []
        for path in sorted(p for p in folder.iterdir() if FILE.fullmatch(p.name)):
            try:
                table = _checked(path)
            except (OSError, ValueError) as error:
                _log.warning("the cache's file %s is damaged (%s) and is made again", path, error)
                with contextlib.suppress(OSError):
                    path.unlink()
                continue
            if tables and table.dtype != tables[0].dtype:
                continue
            tables.append(table)
            with contextlib.suppress(OSError):
                os.utime(path)  # marks it as used: the oldest go first
        self._index([table["key"] for table in tables], [_columns(table) for table in tables])

    def _index(self, keys: list[NDArray[Any]], tables: list[Arrays]) -> None:
        """Take ``tables``, of which ``keys`` are the content hashes in the same order."""
        self._tables = tables
        self._keys_by_table = np.concatenate([np.empty(0, _KEY), *keys])
        where = [np.column_stack([np.full(len(t[0]), i), np.arange(len(t[0]))]) for i, t in enumerate(tables)]
        order = np.argsort(self._keys_by_table, kind="stable")
        self._keys = self._keys_by_table[order]
        self._where = np.concatenate([np.empty((0, 2), np.intp), *where])[order]


def _columns(table: NDArray[Any]) -> Arrays:
    return tuple(table[name] for name in (table.dtype.names or ())[1:])


def _key_column(sha256: NDArray[np.uint8]) -> NDArray[Any]:
    return np.ascontiguousarray(sha256).view(_KEY)[:, 0]


def _keys(sha256: Sequence[str]) -> NDArray[Any]:
    return np.array([bytes.fromhex(one) for one in sha256], _KEY)


def is_private(folder: Path) -> bool:
    """False where another user could have put rows of their own: their folders, and shared ones such as /tmp."""
    try:
        status = folder.stat()
    except OSError:
        return True
    return os.name != "posix" or (status.st_uid == os.geteuid() and not status.st_mode & stat.S_IWOTH)


def make_private(folder: Path) -> None:
    """Make ``folder`` for this user alone."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def write_aside(path: Path, data: bytes) -> None:
    """Write aside, then rename; not synced, because a damaged file is found by its hash."""
    handle, aside = tempfile.mkstemp(prefix=ASIDE, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(aside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(aside)
        raise


def _write_table(folder: Path, table: NDArray[Any]) -> Path:
    handle, aside = tempfile.mkstemp(prefix=ASIDE, dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            np.save(file, table, allow_pickle=False)
        path = folder / f"{_sha256(Path(aside))}.npy"
        os.replace(aside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(aside)
        raise
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _mapped(path: Path) -> NDArray[Any]:
    table: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return table


def _checked(path: Path) -> NDArray[Any]:
    """The table in ``path``, mapped. Raises ``ValueError`` for a file that is not what was written."""
    if path.is_symlink() or not path.is_file() or _sha256(path) != path.stem:
        raise ValueError("its content is not what its name says")
    table = _mapped(path)
    names = table.dtype.names or ()
    floats = all(table.dtype[name].base.kind == "f" for name in names[1:])
    if table.ndim != 1 or len(names) < 2 or table.dtype[0] != _KEY or not floats:
        raise ValueError("it holds no rows")
    return table
