"""A pipeline's files bound to their hashes: too large to copy, they are refused once they are not what was hashed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from singaudit.classifier.files.folder import inner_file
from singaudit.disk import open_plain, version_of
from singaudit.errors import LanguageError

_BLOCK = 2**20
Version = tuple[int, ...]


@dataclass(frozen=True)
class BoundFiles:
    """Files of some parts of a folder, as they were hashed."""

    folder: Path
    parts: Sequence[str]
    read: Callable[[str], bool] = field(repr=False)
    """Whether a file of this name is read."""
    versions: dict[str, Version]
    """By path below the folder: inode, size and times of what was hashed."""
    sha256: str
    """Over every path and the sha256 of its bytes, by path."""

    @classmethod
    def of(cls, folder: Path, parts: Sequence[str], read: Callable[[str], bool]) -> BoundFiles:
        """Hash what is read. Raises LanguageError, and ModelError for a link out of the folder."""
        whole, versions = hashlib.sha256(), {}
        for name, path in sorted(_files(folder, parts, read).items()):
            digest = hashlib.sha256()
            try:
                with open_plain(path) as file:
                    versions[name] = version_of(os.fstat(file.fileno()))
                    while block := file.read(_BLOCK):
                        digest.update(block)
            except (OSError, ValueError) as error:
                raise LanguageError(f"{name} cannot be read: {error}", hint="Check the files.") from error
            whole.update(f"{name}\0{digest.hexdigest()}\n".encode("utf-8", "surrogateescape"))
        found = cls(folder, parts, read, versions, whole.hexdigest())
        found.check()
        return found

    def check(self) -> None:
        """Raise LanguageError where a file was written to, replaced, added or removed since it was hashed."""
        try:
            now = {n: version_of(p.stat()) for n, p in _files(self.folder, self.parts, self.read).items()}
        except OSError as error:
            raise _changed(str(error.filename or "")) from error
        for name in sorted({*now, *self.versions}):
            if now.get(name) != self.versions.get(name):
                raise _changed(name)


def _files(folder: Path, parts: Sequence[str], read: Callable[[str], bool]) -> dict[str, Path]:
    return {
        f"{part}/{path.name}": inner_file(folder / part, path.name)
        for part in parts
        for path in (folder / part).iterdir()
        if read(path.name)
    }


def _changed(name: str) -> LanguageError:
    return LanguageError(
        f"{name} changed since it was hashed: what would be opened is not what the report speaks of",
        hint="Leave the files of the decoder as they are while it is in use.",
    )
