"""One process at a time writes into an output folder: a lock that ends with its process, however that dies."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from pathlib import Path

from singaudit.disk import LOCK
from singaudit.errors import ReportError

try:
    import fcntl
except ImportError:  # not POSIX
    fcntl = None  # type: ignore[assignment]

_held: dict[Path, int] = {}
"""Lock files of this process, and their descriptors."""


def hold(folder: Path) -> None:
    """Keep ``folder``, which need not exist, to this process until ``release``; call it before any work.

    The lock is a file beside it, hidden and gone with the process's work. Where a file system knows no locks, nothing
    is held. Raises ReportError where another process that lives holds it.
    """
    if fcntl is None:
        return
    path = _place(folder)
    while path not in _held:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
        except OSError:
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                return
            raise ReportError(
                f"another run is writing into {folder} right now", hint="Wait for it, or choose another folder with -o"
            ) from error
        try:
            ours = os.stat(path).st_ino == os.fstat(descriptor).st_ino
        except OSError:
            ours = False
        if ours:
            _held[path] = descriptor
        else:  # its holder ended between the two calls, and took the file along
            os.close(descriptor)


def release() -> None:
    """Give all folders free again."""
    while _held:
        path, descriptor = _held.popitem()
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(descriptor)


def _place(folder: Path) -> Path:
    """The lock's file: in the nearest folder above that exists and can be written, else in the folder itself."""
    real = folder.resolve()
    name = LOCK + hashlib.sha256(os.fsencode(real)).hexdigest()[:16]
    above = next((p for p in real.parents if p.is_dir()), real)
    return (above if os.access(above, os.W_OK | os.X_OK) else real) / name
