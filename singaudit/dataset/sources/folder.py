"""A folder of images: flat, or one subfolder per class."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from singaudit.dataset.decode import SUFFIXES, read_regular_file
from singaudit.dataset.interface import Skipped
from singaudit.dataset.sources.listing import Listing
from singaudit.errors import DatasetError

_MAX_FILES = 20_000_000
_EXPECTED = "expected a folder of images (flat, or one subfolder per class)"


def open_folder(text: str) -> Listing:
    """List the image files below the folder ``text``, names sorted by code point.

    Subfolders are walked to any depth; links to folders are followed, each real folder once, so that no link can
    loop. What cannot be listed is left out and counted. Labels are the first-level subfolders, if there are any.
    Raises ``DatasetError`` when the folder is missing, unreadable or holds no image.
    """
    root = Path(os.path.expanduser(text))
    if not root.exists():
        raise DatasetError(f"{_EXPECTED}, but there is no {text}", hint="Check the path given to --images.")
    if not root.is_dir():
        raise DatasetError(f"{_EXPECTED}, but {text} is not a folder", hint="Name the folder that holds the images.")
    if not os.access(root, os.R_OK | os.X_OK):
        raise DatasetError(f"{_EXPECTED}, but {text} cannot be read", hint="Check the folder's permissions.")
    walk = _Walk(root)
    walk.all()
    files = sorted(walk.files)
    if not files:
        first = f"; left out: {walk.left_out[0].name} {walk.left_out[0].reason}" if walk.left_out else ""
        raise DatasetError(
            f"{_EXPECTED}, but {text} holds no file ending in {', '.join(SUFFIXES)}{first}",
            hint="Name the folder that holds the images.",
        )
    names = [readable(path) for path in files]
    labels = tuple(name.split("/", 1)[0] if "/" in name else None for name in names)
    return Listing(
        text, names, lambda index: read_regular_file(root / files[index]),
        labels if any(label is not None for label in labels) else None,
        left_out=tuple(sorted(walk.left_out, key=lambda skipped: skipped.name)),
    )  # fmt: skip


def readable(path: str) -> str:
    """A path as valid text: bytes that are no UTF-8 are shown escaped."""
    return path if path.isascii() else os.fsencode(path).decode("utf-8", "backslashreplace")


@dataclass
class _Walk:
    """Every image file below ``root``: real folders first, then links to folders that were not seen yet."""

    root: Path
    files: list[str] = field(default_factory=list)
    left_out: list[Skipped] = field(default_factory=list)
    _seen: set[tuple[int, int]] = field(default_factory=set)
    _links: list[str] = field(default_factory=list)

    def all(self) -> None:
        """Walk the root, then what links point to; a link to a folder already seen is left out."""
        self._tree("")
        while self._links:
            link = self._links.pop(0)
            self._tree(link, "is a link to a folder that was read already")

    def _tree(self, start: str, seen_reason: str = "was read already") -> None:
        pending = [start]
        while pending:
            folder = pending.pop()
            try:
                status = os.stat(self.root / folder)
                if (status.st_dev, status.st_ino) in self._seen:
                    self.left_out.append(Skipped(readable(folder), seen_reason))
                    continue
                self._seen.add((status.st_dev, status.st_ino))
                with os.scandir(self.root / folder) as entries:
                    found = sorted(entries, key=lambda entry: entry.name)
            except OSError as error:
                self.left_out.append(Skipped(readable(folder), f"cannot be read: {error.strerror}"))
                continue
            pending += [path for entry in reversed(found) if (path := self._subfolder(folder, entry)) is not None]
            if len(self.files) > _MAX_FILES:
                raise DatasetError(f"expected at most {_MAX_FILES} images, found more below {self.root}")

    def _subfolder(self, folder: str, entry: os.DirEntry[str]) -> str | None:
        """Take the entry as what it is; the path of a real subfolder is handed back."""
        path = f"{folder}/{entry.name}" if folder else entry.name
        if entry.name.startswith("."):
            return None
        is_image = entry.name.lower().endswith(SUFFIXES)
        try:
            is_folder = entry.is_dir()
        except OSError:  # a link in a circle
            is_folder = False
        if is_folder and is_image:
            self.left_out.append(Skipped(readable(path), "is a folder"))
        elif is_folder and entry.is_symlink():
            self._links.append(path)
        elif is_folder:
            return path
        elif is_image:
            self.files.append(path)
        return None
