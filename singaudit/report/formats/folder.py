"""The output folder: what may be written into, and which of its files are an earlier audit's."""

from __future__ import annotations

import json
import os
import re
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from singaudit.disk import LOCK, is_aside, sweep
from singaudit.errors import ReportError
from singaudit.report.formats.table import FORMATS

RUN_FILE = "run.json"
"""Time, host, durations: what differs between two runs; and the mark of a folder that an audit made."""
COMPARISON_FILE = "compare.json"
"""Written by compare, beside the page."""
PICTURES = "pictures"
"""Folder of generated pictures."""
TOOL = "singaudit"
"""As run.json names it."""
_OWN = frozenset([*(line.file for line in FORMATS.values()), RUN_FILE, COMPARISON_FILE])
_PICTURE = re.compile(r"\d{3,6}-[a-z]+\.png")
_OLD_ASIDE = re.compile(r"\.(?:" + "|".join(re.escape(n) for n in sorted(_OWN)) + r")\.[a-z0-9_]{8}")
"""How earlier versions named what they were writing."""
_PAGE_MARK = b'<meta name="generator" content="singaudit">'


def check_output_folder(
    path: Path, force: bool = False, folders: Iterable[str] = (), pages: Iterable[str] = ()
) -> None:
    """Refuse a folder that an audit must not write into; call it before any work. Writes nothing.

    Allowed are a folder that does not exist, is empty, or holds nothing but an earlier audit's own files; beside them
    ``folders`` that pass the same check and ``pages`` that singaudit made. ``force`` allows other files too. What a
    dead process left half-written there is singaudit's own, and removed.
    Raises ReportError.
    """
    hint = "choose another folder with -o, or --force"
    if path.is_symlink() and not force:
        raise ReportError(f"expected a folder to write into, but {path} is a symbolic link", hint=hint)
    _try_writing(path)
    if not path.exists():
        parent = next(p for p in path.absolute().parents if p.exists())
        if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
            raise ReportError(f"cannot create {path}: {parent} is not a writable folder", hint="Choose another with -o")
        return
    if not path.is_dir():
        raise ReportError(f"expected a folder to write into, but {path} is a file", hint="Choose another with -o")
    if not os.access(path, os.W_OK | os.X_OK):
        raise ReportError(f"the folder {path} is not writable", hint="Choose another folder with -o")
    if force:
        return
    foreign = _foreign(path, set(folders), set(pages))
    if foreign:
        more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
        raise ReportError(
            f"{path} holds files that are not an earlier audit's: {', '.join(foreign[:3])}{more}; nothing was written",
            hint=hint,
        )
    for name in folders:
        check_output_folder(path / name)


def _try_writing(path: Path) -> None:
    """Some folders refuse files whatever their permission bits say: try with one that has no name."""
    folder = next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as e:
            raise ReportError(
                f"expected a folder that can be written, but {folder} refuses files: {e.strerror}",
                hint="Choose another folder with -o",
            ) from e


def _foreign(path: Path, folders: set[str], pages: set[str]) -> list[str]:
    """Names in ``path`` that no earlier audit wrote. Without run.json nothing there counts as an audit's."""
    ours = is_audit(path)
    made = {name for name in pages if is_page(path / name)}
    out = []
    sweep(path)
    for entry in sorted(path.iterdir()):
        if is_aside(entry.name) or entry.name.startswith(LOCK) or _OLD_ASIDE.fullmatch(entry.name):
            continue
        plain = entry.is_file() and not entry.is_symlink()
        known = (
            (plain and ours and entry.name in _OWN)
            or (ours and entry.name == PICTURES and _holds_pictures(entry))
            or (entry.name in folders and entry.is_dir())
            or (plain and entry.name in made)
            or (entry.name in {pictures_of(name) for name in made} and _holds_pictures(entry))
        )
        if not known:
            out.append(repr(entry.name)[1:-1])
    return out


def _holds_pictures(path: Path) -> bool:
    """Whether a folder holds nothing but pictures as an audit names them."""
    if path.is_symlink() or not path.is_dir():
        return False
    sweep(path)
    return all(e.is_file() and not e.is_symlink() and _PICTURE.fullmatch(e.name) for e in path.iterdir())


def stale_pictures(folder: Path, kept: set[str]) -> list[str]:
    """Another result's pictures, by their path beside ``folder``; none in a folder that holds anything else."""
    if not (folder.is_dir() and _holds_pictures(folder)):
        return []
    names = [f"{folder.name}/{entry.name}" for entry in folder.iterdir() if not is_aside(entry.name)]
    return sorted(name for name in names if name not in kept)


def pictures_of(page: str) -> str:
    """The folder, beside ``page``, of the pictures that belong to it."""
    return f"{Path(page).stem}-{PICTURES}"


def is_audit(path: Path) -> bool:
    """Whether run.json says that singaudit made the folder."""
    return bool(run_info_of(path))


def run_info_of(path: Path) -> dict[str, Any]:
    """run.json of a folder that singaudit made; empty for any other."""
    try:
        run = json.loads(start_of(path / RUN_FILE, 2**22))
    except (ValueError, RecursionError):
        return {}
    return run if isinstance(run, dict) and run.get("tool") == TOOL else {}


def is_page(path: Path) -> bool:
    """Whether a file is a page that singaudit made."""
    return _PAGE_MARK in start_of(path)


def start_of(path: Path, size: int = 4096) -> bytes:
    """The first ``size`` bytes of a file; nothing of one that cannot be read."""
    try:
        # A FIFO in its place must not hang the audit.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "rb") as file:
            return file.read(size) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
    except OSError:
        return b""
