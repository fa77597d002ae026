"""A language model's files, copied once: what is hashed is what is opened, whatever the names lead to a moment later.

The copy is this user's alone and gone once the model is open: weights stay mapped into memory, and of a file that
somebody else can cut short the next look would kill the process.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from singaudit.classifier.files.folder import blobs, inner_file
from singaudit.classifier.files.taken import take
from singaudit.disk import PrivateFolder, folder_aside, open_plain
from singaudit.errors import LanguageError

_SHA256, _GIT = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{40}")


class TakenFolder:
    """Copies of files of a model's folder, in a private one; the files themselves where they lie in one already."""

    def __init__(self, source: Path, folder: Path) -> None:
        self.source, self.folder = source, folder
        self.digests: dict[str, str] = {}
        """sha256 (hex) of what was copied, by file name."""

    def take(self, names: Sequence[str]) -> list[Path]:
        """Copies of these files. Raises LanguageError, ModelError, and MachineError where they find no room."""
        copies = []
        for name in names:
            copy, digest = self.folder / name, hashlib.sha256()
            if name not in self.digests:
                path = inner_file(self.source, name)
                if self.folder == self.source:
                    with path.open("rb") as file:
                        digest = hashlib.file_digest(file, "sha256")
                else:
                    take(path, copy, digest)
                self._check_blob(path, copy, digest.hexdigest())
                self.digests[name] = digest.hexdigest()
            copies.append(copy)
        return copies

    def _check_blob(self, path: Path, copy: Path, sha256: str) -> None:
        """In the hub's cache a file's own name says its hash: sha256 of large files and git's of others."""
        blob = path.resolve()
        if blob.parent != blobs(self.source.resolve()):
            return
        if _GIT.fullmatch(blob.name):
            content = copy.read_bytes()
            found = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
        else:
            found = sha256
        if (_SHA256.fullmatch(blob.name) or _GIT.fullmatch(blob.name)) and found != blob.name:
            raise LanguageError(
                f"{path.name} in the hub's cache is not what was downloaded: it has the hash {found[:12]}..., its name "
                f"says {blob.name[:12]}...",
                hint=f"Remove {blob} and {path}, and download it again.",
            )


@contextmanager
def taken(source: Path | PrivateFolder) -> Iterator[TakenFolder]:
    """Copies of files of the folder ``source``, gone at the end. Raises OSError where they can have no folder.

    Of a private folder no copies are made: nobody else writes there.
    """
    if isinstance(source, PrivateFolder):
        yield TakenFolder(source.path, source.path)
        return
    with folder_aside(Path(tempfile.gettempdir())) as folder:
        yield TakenFolder(source, folder)


def weights_digest(copy: TakenFolder, names: Sequence[str]) -> tuple[str, dict[str, str]]:
    """sha256 (hex) over weights, in the order of ``names``; and of each that was not copied, because it is not opened.

    Raises OSError.
    """
    if len(names) == 1 and names[0] in copy.digests:
        return copy.digests[names[0]], {}
    whole, each = hashlib.sha256(), {}
    for name in names:
        own = hashlib.sha256()
        with open_plain((copy.folder if name in copy.digests else copy.source) / name) as file:
            while chunk := file.read(1 << 20):
                whole.update(chunk)
                own.update(chunk)
        each[name] = own.hexdigest()
    return whole.hexdigest(), each
