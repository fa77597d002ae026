"""Where the members of a tar archive lie, told from its headers alone: nothing is unpacked, no link followed."""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from singaudit.dataset.decode import MAX_BYTES, UndecodableError
from singaudit.disk import open_plain, version_of
from singaudit.errors import DatasetError

_BLOCK = tarfile.BLOCKSIZE
_MAX_HEADER = 2**20
"""Bytes of an extended header (a long name); a larger one has no other use than to fill memory."""
_MAX_MEMBERS = 20_000_000
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstandard"}
_RECORD = re.compile(rb"(\d{1,7}) ([^=]{1,200})=")


@dataclass(frozen=True)
class Member:
    """An entry of an archive."""

    name: str
    """As stored; nothing is ever written or read under it."""
    offset: int
    """Of its content, bytes from the archive's beginning."""
    size: int
    """Of its content, bytes."""
    reason: str
    """Why it cannot be read, one clause; empty for a regular file."""


@dataclass(frozen=True)
class Shard:
    """A tar archive as it was when its headers were read; of another in its place nothing is read."""

    path: Path
    members: Sequence[Member]
    """Every entry but folders, in its order."""
    version: tuple[int, ...]
    """As ``version_of``."""

    @property
    def name(self) -> str:
        """File name."""
        return self.path.name

    def read(self, offset: int, size: int) -> bytes:
        """``size`` bytes from ``offset``. Raises ``UndecodableError`` where they are fewer, too many, or others by now.

        Opened for each: there may be more shards than one process may hold open.
        """
        if size > MAX_BYTES:
            raise UndecodableError(f"is {size} bytes, over the limit of {MAX_BYTES}")
        try:
            with open_plain(self.path) as file:
                file.seek(offset)
                data = file.read(size)
                same = version_of(os.fstat(file.fileno())) == self.version
        except (OSError, ValueError) as error:
            raise UndecodableError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from error
        if not same:
            raise UndecodableError("lies in an archive that changed since its members were listed")
        if len(data) < size:
            raise UndecodableError("is cut short")
        return data


def index_tar(path: Path) -> Shard:
    """An uncompressed tar archive and its entries.

    Reads headers only, each bounded. An archive that is cut short or damaged ends in a member that says so. Raises
    ``DatasetError`` for what is no tar archive, or a compressed one: its members could not be reached one by one.
    """
    if not path.is_file():
        raise DatasetError(f"expected a tar archive, {path} is no regular file", hint="Check the path.")
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            start = file.read(6)
            for magic, kind in _COMPRESSED.items():
                if start.startswith(magic):
                    raise DatasetError(
                        f"expected an uncompressed tar archive, {path} is compressed ({kind})",
                        hint="Decompress it first: images are compressed already, and members are read one by one.",
                    )
            members = _Walk(file.fileno(), status.st_size, path).members()
            if version_of(os.fstat(file.fileno())) != version_of(status):
                raise DatasetError(f"{path} changed while its members were listed", hint="Run the same command again.")
            return Shard(path, members, version_of(status))
    except OSError as error:
        raise DatasetError(f"expected a tar archive, {path} cannot be read: {error.strerror}") from error


class _Walk:
    def __init__(self, descriptor: int, size: int, path: Path) -> None:
        self._descriptor, self._size, self._path = descriptor, size, path
        self._long_name: str | None = None
        self._pax: dict[str, str] = {}

    def members(self) -> list[Member]:
        """All of them."""
        found: list[Member] = []
        position = 0
        while position + _BLOCK <= self._size:
            header = os.pread(self._descriptor, _BLOCK, position)
            if not header.strip(b"\0"):
                break
            try:
                info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
            except tarfile.HeaderError as error:
                if not position:
                    raise DatasetError(
                        f"expected a tar archive, {self._path} is none", hint="Check the file; make it again with tar."
                    ) from error
                found.append(self._damage(position))
                break
            content = position + _BLOCK
            size = self._length(info)
            if size < 0 or size > self._size - content:
                found.append(Member(info.name, content, 0, "is cut short: the archive ends within it"))
                break
            self._take(info, content, size, found)
            if len(found) > _MAX_MEMBERS:
                raise DatasetError(f"expected at most {_MAX_MEMBERS} members in {self._path}, it has more")
            position = content + (size + _BLOCK - 1) // _BLOCK * _BLOCK
        return found

    def _damage(self, position: int) -> Member:
        return Member(f"byte {position}", position, 0, "is no tar header: the rest of the archive is left out")

    def _length(self, info: tarfile.TarInfo) -> int:
        if info.type in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE):
            return 0
        stated = self._pax.get("size", "") if info.type in tarfile.REGULAR_TYPES else ""
        return int(stated) if stated.isascii() and stated.isdigit() and len(stated) < 19 else info.size

    def _take(self, info: tarfile.TarInfo, content: int, size: int, found: list[Member]) -> None:
        """One entry: an extended header is kept for the next entry, a file or link is told."""
        if info.type in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
            data = os.pread(self._descriptor, min(size, _MAX_HEADER), content)
            if info.type == tarfile.GNUTYPE_LONGNAME:
                self._long_name = data.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
            elif info.type != tarfile.GNUTYPE_LONGLINK:
                self._pax = _records(data)
            return
        if info.type == tarfile.XGLTYPE:
            return
        name = self._pax.get("path") or self._long_name or info.name
        sparse = info.type == tarfile.GNUTYPE_SPARSE or any(key.startswith("GNU.sparse") for key in self._pax)
        self._long_name, self._pax = None, {}
        if info.isdir():
            return
        reason = "is a sparse member" if sparse else "" if info.type in tarfile.REGULAR_TYPES else "is no regular file"
        if info.issym() or info.islnk():
            reason = "is a link, which is not followed"
        shown = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        found.append(Member(shown, content, size, reason))


def _records(data: bytes) -> dict[str, str]:
    """The records "LENGTH KEY=VALUE\\n" of an extended header (POSIX.1-2001, pax)."""
    found, position = {}, 0
    while match := _RECORD.match(data, position):
        end = position + int(match[1])
        if end <= match.end() or end > len(data):
            break
        found[match[2].decode("utf-8", "replace")] = data[match.end() : end - 1].decode("utf-8", "surrogateescape")
        position = end
    return found
