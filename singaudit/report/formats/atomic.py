"""A report's files appear together or not at all: drawn in a folder beside, then exchanged for the old one at once.

Where folders cannot be exchanged (a mount point, a link, the current folder, one with folders of others, a system
without such a call) the old files go before the new ones come, so that no moment shows files of two results; what the
folder is known as an audit's by stays all the while.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import stat
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

from singaudit.disk import FULL, folder_aside, is_aside, sweep, sync_folder, umask, write_aside
from singaudit.errors import MachineError, ReportError, SingauditError

_FAILED = (*FULL, errno.EIO)
_UNABLE = (errno.EINVAL, errno.ENOSYS, errno.EXDEV, errno.EBUSY, errno.ENOTSUP, errno.EPERM, errno.EMLINK)
"""What a file system answers that cannot link files or exchange folders."""
_EXCHANGE = 2
"""renameat2's flag."""
_HERE = -100
"""AT_FDCWD."""


def write_files(folder: Path, files: Mapping[str, bytes], dropped: Collection[str] = ()) -> list[Path]:
    """Write ``files`` (name: content) into ``folder`` as one unit, and remove those named in ``dropped`` with it.

    A name may lead into a folder inside, which is made where it is missing. The first one, where it was there before,
    is there at every moment: it is to be what the folder is known by, or what nobody but its user can make again.
    When one cannot be written, none appears, and a folder made for them is removed again; leftovers of dead processes
    are removed first.
    Raises MachineError when the disk is full or fails, ReportError for any other reason.
    """
    made: list[Path] = []
    try:
        made = _make(folder)
        for place in (folder, folder.absolute().parent):
            sweep(place)
        if len(files) == 1 and not dropped and "/" not in next(iter(files)):
            [(name, content)] = files.items()
            write_aside(folder / name, content)
            sync_folder(folder)
        elif not (_exchangeable(folder, files) and _by_exchange(folder, files, dropped)):
            _in_place(folder, files, dropped)
    except OSError as e:
        raise _explain(e, folder) from e
    finally:
        for new in made:
            with contextlib.suppress(OSError):  # not empty, or gone
                new.rmdir()
    return [folder / name for name in files]


def _make(folder: Path) -> list[Path]:
    """Create ``folder`` and return what had to be created, innermost first."""
    missing = [p for p in (folder, *folder.parents) if not p.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def _exchangeable(folder: Path, files: Mapping[str, bytes]) -> bool:
    """Whether another folder can stand in this one's place: plain files stay by hard links, folders cannot."""
    if _renameat2() is None or folder.is_symlink() or os.path.ismount(folder):
        return False
    parent = folder.absolute().parent
    if not os.access(parent, os.W_OK | os.X_OK) or Path.cwd().is_relative_to(folder.resolve()):
        return False
    ours = {name.partition("/")[0] for name in files if "/" in name}
    entries = [e for e in os.scandir(folder) if not is_aside(e.name)]
    return all(e.is_file(follow_symlinks=False) or (e.name in ours and _is_flat(Path(e.path))) for e in entries)


def _is_flat(folder: Path) -> bool:
    """Whether a folder, no link, holds plain files alone."""
    plain = folder.is_dir() and not folder.is_symlink()
    return plain and all(e.is_file(follow_symlinks=False) for e in os.scandir(folder))


def _by_exchange(folder: Path, files: Mapping[str, bytes], dropped: Collection[str]) -> bool:
    """Whether it could be done; False where the file system has no such call, with everything as it was."""
    with folder_aside(folder.absolute().parent) as new:
        _fill(new, files)
        gone = {*files, *dropped}
        kept = [path.relative_to(folder).as_posix() for path in _plain_files(folder)]
        os.chmod(new, stat.S_IMODE(folder.stat().st_mode))
        try:
            for name in kept:
                if name not in gone:
                    (new / name).parent.mkdir(exist_ok=True)
                    os.link(folder / name, new / name, follow_symlinks=False)
            sync_folder(new)
            _exchange(new, folder.absolute())
        except OSError as error:
            if error.errno in _UNABLE:
                return False
            raise
        for path in _plain_files(new):  # the old folder now
            name = path.relative_to(new).as_posix()
            if name not in gone and name not in kept:  # it came while this was written
                os.replace(path, folder / name)
        sync_folder(folder.absolute().parent)
        return True


def _plain_files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and not is_aside(path.name)]


def _fill(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a folder that nobody sees yet, synced."""
    for name, content in files.items():
        path = folder / name
        if not path.parent.exists():
            path.parent.mkdir(mode=0o777 & ~umask())
        with path.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())


def _in_place(folder: Path, files: Mapping[str, bytes], dropped: Collection[str]) -> None:
    """Draw aside inside the folder; then the old files out, then the new ones in; back again where one fails.

    Who is killed in between leaves a folder that the next audit knows as its own.
    """
    moves: list[tuple[Path, Path]] = []
    with folder_aside(folder) as aside:
        try:
            (aside / "new").mkdir()
            (aside / "old").mkdir()
            _fill(aside / "new", files)
            for name in (*files, *dropped):
                if (folder / name).is_dir() and not (folder / name).is_symlink():
                    raise IsADirectoryError(errno.EISDIR, f"{name} is a folder")
            first, *others = files
            stays = _is_plain(folder / first)
            if stays:
                shutil.copy2(folder / first, aside / "old" / "first")
                moves.append((folder / first, aside / "old" / "first"))
            leaving = {**dict.fromkeys(() if stays else (first,)), **dict.fromkeys((*others, *dropped))}
            for i, name in enumerate(name for name in leaving if os.path.lexists(folder / name)):
                _move(folder / name, aside / "old" / str(i), moves)
            for name in files:
                (folder / name).parent.mkdir(exist_ok=True)
                _move(aside / "new" / name, folder / name, [] if stays and name == first else moves)
            for inside in {(folder / name).parent for name in files}:
                sync_folder(inside)
            for emptied in {(folder / name).parent for name in dropped} - {folder}:
                with contextlib.suppress(OSError):  # not empty
                    emptied.rmdir()
        except BaseException:
            for source, target in reversed(moves):
                with contextlib.suppress(OSError):
                    os.replace(target, source)
            raise


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _move(source: Path, target: Path, moves: list[tuple[Path, Path]]) -> None:
    os.replace(source, target)
    moves.append((source, target))


def _renameat2() -> object | None:
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)


def _exchange(one: Path, other: Path) -> None:
    """Two folders take each other's names, at once. Raises OSError."""
    call = _renameat2()
    if call is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if call(_HERE, os.fsencode(one), _HERE, os.fsencode(other), ctypes.c_uint(_EXCHANGE)) != 0:  # type: ignore[operator]
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _explain(error: OSError, folder: Path) -> SingauditError:
    if error.errno in _FAILED:
        return MachineError(
            f"the report could not be written to {folder}: {error.strerror}; what was there stays",
            hint="Free space on that disk, or choose another folder with -o.",
        )
    return ReportError(
        f"the report could not be written to {folder}: {error.strerror or error}", hint="Choose another folder with -o"
    )
