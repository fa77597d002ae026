"""Rows of one computation, found by content: the cache's files, written aside, named by their hash."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import stat
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singaudit.cache.table import FILE, KEY, Arrays, FileTable, MemoryTable, Table, read_table, write_table
from singaudit.disk import is_own, sweep, write_aside

IDENTITY = "identity.json"
"""Name of the file that says, for people, what the rows beside it are of."""
_FILE_BYTES = 32 * 2**20
"""Rows are written in files of about this size, which bounds what memory they take before."""
_SECONDS = 15.0
"""Rows wait no longer than this to be written: what a killed audit loses. The file they are in grows with them."""
_log = logging.getLogger(__name__)


class Said:
    """Says once why a cache cannot be written; its shelves share one."""

    def __init__(self, folder: Path | None) -> None:
        self._folder, self.known = folder, False

    def say(self, error: OSError) -> None:
        """Warn, the first time."""
        if not self.known:
            reason = error.strerror or error
            _log.warning("the cache %s cannot be written: %s; the audit goes on without it", self._folder, reason)
        self.known = True


class Shelf:
    """Rows of one computation, by content hash; reading is safe from several threads, adding from one.

    ``folder`` None keeps rows in memory, for one audit. ``unwritable`` says it once where nothing can be written.
    """

    def __init__(self, folder: Path | None, identity: Mapping[str, Any], unwritable: Said | None = None) -> None:
        self._folder, self._writable = folder, True
        self.added = 0
        """Rows that were added since it was opened."""
        self._identity = dict(identity)
        self._unwritable = unwritable or Said(folder)
        self._seal = hashlib.sha256(json.dumps(self._identity, sort_keys=True).encode()).digest()
        self._tables: list[Table] = []
        self._keys = self._keys_by_table = np.empty(0, KEY)
        self._where = np.empty((0, 2), np.intp)
        self._new: list[tuple[NDArray[Any], Arrays]] = []
        self._growing: FileTable | None = None
        """The last of the tables, where it holds only the first of ``_new`` and is to be replaced."""
        self._flushed = time.monotonic()
        if folder is not None and os.path.lexists(folder):
            self._open(folder)

    @classmethod
    def of(cls, sha256: NDArray[np.uint8], arrays: Arrays) -> Shelf:
        """A shelf of rows that exist already: content hashes (n, 32) uint8 and (n, width) per output."""
        shelf = cls(None, {})
        shelf._writable = False
        shelf._index([_key_column(sha256)], [MemoryTable(arrays)])
        return shelf

    @property
    def folder(self) -> Path | None:
        """Where its rows are kept; None in memory."""
        return self._folder

    def __len__(self) -> int:
        """Rows that are found."""
        return len(self._keys)

    def contents(self) -> NDArray[Any]:
        """(n,) S32, sorted: the content hashes of the rows that are found."""
        return self._keys

    def __contains__(self, sha256: str) -> bool:
        return len(self._keys) > 0 and self._find(_keys([sha256]))[0] >= 0

    def take(self, sha256: Sequence[str]) -> Arrays:
        """The rows of contents that are all here: (n, width) per output, as they were added.

        Raises MachineError where a file was cut short meanwhile.
        """
        where = self._where[self._find(_keys(sha256))]
        found = tuple(np.empty((len(sha256), *shape), dtype) for dtype, shape in self._tables[0].columns)
        for table in np.unique(where[:, 0]):
            mine = where[:, 0] == table
            for array, rows in zip(found, self._tables[table].take(where[mine, 1]), strict=True):
                array[mine] = rows
        return found

    def add(self, sha256: Sequence[str], arrays: Arrays) -> None:
        """Keep a row of each of ``arrays`` (n, width) per content; found again after the next ``flush``."""
        self.added += len(sha256)
        if self._writable and len(sha256):
            self._new.append((_keys(sha256), tuple(np.array(a) for a in arrays)))
            late = self._folder is not None and time.monotonic() - self._flushed >= _SECONDS
            if late or sum(a.nbytes for _, kept in self._new for a in kept) >= _FILE_BYTES:
                self.flush()

    def flush(self) -> None:
        """Write what was added. A cache that cannot be written is said once and does without."""
        keys = np.concatenate([np.empty(0, KEY), *(keys for keys, _ in self._new)])
        if len(keys) == (len(self._growing) if self._growing is not None else 0):
            return
        arrays = tuple(np.concatenate(column) for column in zip(*(kept for _, kept in self._new), strict=True))
        earlier, known = self._tables, self._keys_by_table
        if self._growing is not None:
            earlier, known = earlier[:-1], known[: len(known) - len(self._growing)]
        table: Table
        if self._folder is None:
            table, self._new = MemoryTable(arrays), []
        else:
            written = self._write(self._folder, keys, arrays)
            if written is None:
                return
            table = written
        self._index([known, keys], [*earlier, table])
        if self._new:
            self._new = [(keys, arrays)]  # in one piece, which goes back to the system when it is let go
        self._flushed = time.monotonic()

    def settle(self) -> None:
        """Write what was added, and hold none of it in memory: what comes later begins a file of its own."""
        self.flush()
        if self._folder is not None:
            self._growing, self._new = None, []

    def _write(self, folder: Path, keys: NDArray[Any], arrays: Arrays) -> FileTable | None:
        """The rows in a file, in place of the one that held the first of them; None where it cannot be written."""
        try:
            if self._unwritable.known:
                raise OSError("known")
            make_private(folder)
            write_aside(
                folder / IDENTITY, json.dumps(self._identity, indent=1, sort_keys=True).encode(), mode=0o600, sync=False
            )
            table = write_table(folder, self._seal, keys, arrays)
        except (OSError, ValueError) as error:
            self._writable, self._new = False, []
            self._unwritable.say(error if isinstance(error, OSError) else OSError(str(error)))
            return None
        if self._growing is not None:
            with contextlib.suppress(OSError):
                self._growing.path.unlink()
        self._growing = table
        if sum(a.nbytes for a in arrays) >= _FILE_BYTES:
            self._growing, self._new = None, []
        return table

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
        sweep(folder)
        tables: list[FileTable] = []
        hashes: list[NDArray[Any]] = []
        for path in sorted(p for p in folder.iterdir() if FILE.fullmatch(p.name)):
            try:
                table, keys = read_table(path, self._seal)
            except FileNotFoundError:  # another audit's, which has put a longer one in its place
                continue
            except (OSError, ValueError) as error:
                _log.warning("the cache's file %s is damaged (%s) and is made again", path, error)
                with contextlib.suppress(OSError):
                    path.unlink()
                continue
            if tables and table.columns != tables[0].columns:
                continue
            tables.append(table)
            hashes.append(keys)
            with contextlib.suppress(OSError):
                os.utime(path, follow_symlinks=False)  # marks it as used: the oldest go first
        self._index(hashes, tables)

    def _index(self, keys: list[NDArray[Any]], tables: Sequence[Table]) -> None:
        """Take ``tables``, of which ``keys`` are the content hashes in the same order."""
        self._tables = list(tables)
        self._keys_by_table = np.concatenate([np.empty(0, KEY), *keys])
        where = [np.column_stack([np.full(len(t), i), np.arange(len(t))]) for i, t in enumerate(tables)]
        order = np.argsort(self._keys_by_table, kind="stable")
        self._keys = self._keys_by_table[order]
        self._where = np.concatenate([np.empty((0, 2), np.intp), *where])[order]


def _key_column(sha256: NDArray[np.uint8]) -> NDArray[Any]:
    return np.ascontiguousarray(sha256).view(KEY)[:, 0]


def _keys(sha256: Sequence[str]) -> NDArray[Any]:
    return np.array([bytes.fromhex(one) for one in sha256], KEY)


def is_private(folder: Path) -> bool:
    """False where another user, or the group, could have put rows of their own; where it is a link; or no folder."""
    try:
        status = folder.lstat()
    except OSError:
        return True
    return stat.S_ISDIR(status.st_mode) and is_own(status)


def make_private(folder: Path) -> None:
    """Make ``folder``, and what is missing above it, for this user alone. Raises OSError."""
    for missing in reversed([p for p in (folder, *folder.parents) if not p.exists()]):
        with contextlib.suppress(FileExistsError):
            missing.mkdir(mode=0o700)
