"""Files appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from singaudit.errors import MachineError, ReportError, SingauditError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def write_files(folder: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Write ``files`` (name: content) into ``folder``: all of them aside and synced first, then renamed in order.

    A name may lead into a folder inside, which is made where it is missing.

    When one cannot be written, none appears, and a folder made for them is removed again.
    Raises MachineError when the disk is full or fails, ReportError for any other reason.
    """
    made = _make(folder)
    aside: dict[Path, Path] = {}
    try:
        for name, content in files.items():
            path = folder / name
            made = [*(m for m in _make(path.parent) if m not in made), *made]
            aside[path] = _write_aside(path.parent, path.name, content)
        for path in aside:
            if path.is_dir() and not path.is_symlink():  # before the first is renamed
                raise IsADirectoryError(errno.EISDIR, f"{path.name} is a folder")
        for path, temporary in aside.items():
            os.replace(temporary, path)
        for inside in {path.parent for path in aside}:
            sync_folder(inside)
    except OSError as e:
        raise _explain(e, folder) from e
    finally:
        for temporary in aside.values():
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        for new in made:
            with contextlib.suppress(OSError):  # not empty, or gone
                new.rmdir()
    return list(aside)


def _make(folder: Path) -> list[Path]:
    """Create ``folder`` and return what had to be created, innermost first."""
    missing = [p for p in (folder, *folder.parents) if not p.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise _explain(e, folder) from e
    return missing


def _write_aside(folder: Path, name: str, content: bytes) -> Path:
    handle, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
    except BaseException:
        os.unlink(temporary)
        raise
    return Path(temporary)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def sync_folder(folder: Path) -> None:
    """Make the renames last; a file system that cannot sync a folder has nothing to add."""
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


def _explain(error: OSError, folder: Path) -> SingauditError:
    if error.errno in FULL:
        return MachineError(f"the report could not be written to {folder}: {error.strerror}; nothing was left there")
    return ReportError(
        f"the report could not be written to {folder}: {error.strerror or error}", hint="choose another folder with -o"
    )
