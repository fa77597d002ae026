"""Files appear whole or not at all; what a dead process left is known as such; locks end with their process.

Whatever is being written has a name that begins with ``ASIDE`` and is locked by its writer (flock, which the system
drops when a process dies, however it dies). Who finds such a name and can lock it knows that nobody writes it any more.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import stat
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # not POSIX: nothing is locked there, and leftovers stay
    fcntl = None  # type: ignore[assignment]

ASIDE = ".singaudit-"
"""Start of the name of whatever is being written, files and folders."""
LOCK = ".singaudit-lock-"
"""Start of the name of the file by which one run keeps others out of its output folder."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What a full disk answers, a quota and a limit on the size of files included."""
_NAME = re.compile(re.escape(ASIDE) + r"[0-9a-f]{16}")
_READ = os.O_RDONLY
for _flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
    _READ |= getattr(os, _flag, 0)
_FOLLOW = _READ & ~getattr(os, "O_NOFOLLOW", 0)


@contextmanager
def written_aside(path: Path, mode: int | None = None, sync: bool = True) -> Iterator[BinaryIO]:
    """A file to write into, which takes the place of ``path`` when the block ends; after an error nothing is left.

    ``mode``: permissions; None those of a new file. ``sync`` False where damage is noticed when the file is read.
    Raises OSError.
    """
    aside, descriptor = _new_file(path.parent)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            yield file
            file.flush()
            if sync:
                os.fsync(file.fileno())
            os.chmod(aside, 0o666 & ~umask() if mode is None else mode)
            os.replace(aside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise


def write_aside(path: Path, data: bytes | memoryview, mode: int | None = None, sync: bool = True) -> None:
    """Write a whole file, as ``written_aside``. Raises OSError."""
    with written_aside(path, mode, sync) as file:
        file.write(data)


def _new_file(folder: Path) -> tuple[Path, int]:
    """A new file with an own name, locked; and its descriptor."""
    while True:
        path = folder / f"{ASIDE}{secrets.token_hex(8)}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _READ, 0o600)
        if _locked(descriptor, path):
            return path, descriptor
        os.close(descriptor)


def new_folder(parent: Path) -> tuple[Path, int]:
    """A new folder with an own name, this user's alone, locked; and the descriptor that holds the lock, -1 for none."""
    while True:
        path = parent / f"{ASIDE}{secrets.token_hex(8)}"
        path.mkdir(mode=0o700)
        if os.name != "posix":
            return path, -1
        descriptor = os.open(path, _READ)
        if _locked(descriptor, path):
            return path, descriptor
        os.close(descriptor)


def _locked(descriptor: int, path: Path) -> bool:
    """Lock a new file or folder; False where somebody took it for a leftover before that and removed it."""
    if fcntl is None:
        return True
    with contextlib.suppress(OSError):  # a file system without locks: its leftovers stay
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        return os.stat(path, follow_symlinks=False).st_ino == os.fstat(descriptor).st_ino
    except OSError:
        return False


def is_aside(name: str) -> bool:
    """Whether a name is one that only singaudit gives, to what it is about to write."""
    return _NAME.fullmatch(name) is not None


def sweep(folder: Path) -> None:
    """Remove from ``folder`` what processes that are dead left half-written there; never what somebody still writes."""
    if fcntl is None:
        return
    try:
        found = [entry for entry in os.scandir(folder) if is_aside(entry.name)]
    except OSError:
        return
    for entry in found:
        with contextlib.suppress(OSError):
            descriptor = os.open(entry.path, _READ)
            try:
                if hasattr(os, "geteuid") and os.fstat(descriptor).st_uid != os.geteuid():
                    continue
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                    shutil.rmtree(entry.path, ignore_errors=True)
                else:
                    os.unlink(entry.path)
            finally:
                os.close(descriptor)


@contextmanager
def folder_aside(parent: Path) -> Iterator[Path]:
    """A new folder to draw in, this user's alone, gone at the end unless renamed; leftovers of the dead go first.

    Raises OSError.
    """
    sweep(parent)
    path, descriptor = new_folder(parent)
    try:
        yield path
    finally:
        _drop(path, descriptor)


class PrivateFolder:
    """A folder for temporary files of this user alone, removed with this object; others' leftovers go at once."""

    def __init__(self) -> None:
        parent = Path(tempfile.gettempdir())
        sweep(parent)
        self.path, descriptor = new_folder(parent)
        self.cleanup = weakref.finalize(self, _drop, self.path, descriptor)
        """Remove it now."""


def _drop(path: Path, descriptor: int) -> None:
    shutil.rmtree(path, ignore_errors=True)
    if descriptor >= 0:
        os.close(descriptor)


def open_plain(path: str | Path, follow: bool = True, own: bool = False) -> BinaryIO:
    """A regular file, opened to read without waiting: a FIFO, a device or a folder in its place is refused.

    ``follow`` False refuses a link; ``own`` True refuses what another user, or the group, could have written.
    Raises OSError where it cannot be opened, ValueError with the reason for what is refused.
    """
    descriptor = os.open(path, _FOLLOW if follow else _READ)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is not a regular file")
        if own and not is_own(status):
            raise ValueError("it is another user's, or can be written by others")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def is_own(status: os.stat_result) -> bool:
    """Whether only this user can write what has this status: neither others nor the group. True where no bits tell."""
    if os.name != "posix":
        return True
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def version_of(status: os.stat_result) -> tuple[int, ...]:
    """What is no longer the same once a file was written to, or another took its name: inode, size and times.

    A change sets the time of the inode, which no program can set back.
    """
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def umask() -> int:
    """The permissions that new files do not get."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def sync_folder(folder: Path) -> None:
    """Make renames in ``folder`` last; a file system that cannot sync a folder has nothing to add. Raises OSError."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as e:
        if e.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)
