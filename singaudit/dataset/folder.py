"""A folder of images: flat, or one subfolder per class."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from singaudit.dataset.decode import SUFFIXES, UndecodableError, content, read_regular_file
from singaudit.dataset.interface import Content, Image, Skipped
from singaudit.errors import DatasetError

_MAX_FILES = 20_000_000


@dataclass(frozen=True)
class FolderSource:
    """Image files below a folder in a deterministic order; labels are the first-level subfolders, if any."""

    name: str
    """As the user named it."""
    root: Path
    """The folder."""
    paths: tuple[str, ...]
    """Relative POSIX paths, sorted by code point."""
    labels: tuple[str, ...] | None
    """First path component of each image when every image lies in a subfolder, else None."""

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, index: int) -> Content | Skipped:
        """The bytes' hash and how to decode them; whatever is wrong becomes a ``Skipped``."""
        # Names of undecodable bytes reach the result as valid text.
        name = os.fsencode(self.paths[index]).decode("utf-8", "backslashreplace")
        try:
            data = read_regular_file(self.root / self.paths[index])
        except UndecodableError as error:
            return Skipped(name, str(error))
        return content(name, data)

    def load(self, index: int) -> Image | Skipped:
        """Decode one image; whatever is wrong with it becomes a ``Skipped``."""
        found = self.read(index)
        return found.decode() if isinstance(found, Content) else found


def open_folder(text: str) -> FolderSource:
    """List the image files below the folder ``text``.

    Subfolders are walked to any depth without following links to folders, so that a link cannot loop. Raises
    ``DatasetError`` when the folder is missing, unreadable or holds no image, or mixes labelled and loose images.
    """
    root = Path(text).expanduser()
    expected = "expected a folder of images (flat, or one subfolder per class)"
    if not root.exists():
        raise DatasetError(f"{expected}, but there is no {text}", hint="Check the path given to --images.")
    if not root.is_dir():
        raise DatasetError(f"{expected}, but {text} is not a folder", hint="Name the folder that holds the images.")
    if not os.access(root, os.R_OK | os.X_OK):
        raise DatasetError(f"{expected}, but {text} cannot be read", hint="Check the folder's permissions.")
    paths = sorted(_walk(root))
    if not paths:
        raise DatasetError(
            f"{expected}, but {text} holds no file ending in {', '.join(SUFFIXES)}",
            hint="Name the folder that holds the images.",
        )
    in_subfolder = ["/" in path for path in paths]
    if any(in_subfolder) and not all(in_subfolder):
        loose = [p for p, inside in zip(paths, in_subfolder, strict=True) if not inside]
        raise DatasetError(
            f"{expected}, but {text} holds both subfolders and {len(loose)} loose images such as {loose[0]!r}",
            hint="Move the loose images into a class's subfolder, or pass --labels none.",
        )
    labels = tuple(path.split("/", 1)[0] for path in paths) if all(in_subfolder) else None
    return FolderSource(text, root, tuple(paths), labels)


def _walk(root: Path) -> list[str]:
    found: list[str] = []
    for folder, subfolders, files in os.walk(root, followlinks=False):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        prefix = Path(folder).relative_to(root)
        for name in files:
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                found.append((prefix / name).as_posix())
        if len(found) > _MAX_FILES:
            raise DatasetError(f"expected at most {_MAX_FILES} images, found more below {root}")
    return found
