"""The pack's file: a safetensors container with a checksum, read as hostile: sizes first, nothing executed.

Tensors: ``manifest`` (JSON), ``digests`` (n, 32) uint8, ``embeddings`` (n, d) float32, ``texts`` (k, d) float64,
and with images ``offsets`` (n + 1,) int64 into ``images``, their encoded bytes one after the other.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from singaudit.disk import FULL, open_plain
from singaudit.errors import DatasetError, MachineError

VERSION = 1
KIND = "singaudit pack"
_TENSORS = {
    "manifest": ("U8", 1),
    "digests": ("U8", 2),
    "embeddings": ("F32", 2),
    "texts": ("F64", 2),
    "offsets": ("I64", 1),
    "images": ("U8", 1),
}
_OPTIONAL = {"offsets", "images"}
DTYPES: dict[str, np.dtype[Any]] = {
    "U8": np.dtype("u1"),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
    "I64": np.dtype("<i8"),
}
_MAX_HEADER = 64 * 2**10
_MAX_MANIFEST = 512 * 2**20
_MAX_BYTES = 2**44
_CHUNK = 2**22
_AGAIN = "pack the images again with singaudit pack"


@dataclass(frozen=True)
class PackFile:
    """A pack's tensors, of a private copy that was made while they were hashed, after its checksum was found to fit."""

    name: str
    """File name."""
    sha256: str
    """Of the whole file, as sha256sum prints it."""
    manifest: dict[str, Any]
    """The JSON inside, unchecked."""
    tensors: Mapping[str, NDArray[Any]]
    """By name, of the dtypes and numbers of axes above; without the images."""
    images: ImageBytes | None
    """The images' encoded bytes, where they are inside."""


class ImageBytes:
    """The bytes of a pack's images, read when they are asked for from the very file that was checked.

    They are too many to be copied and, unlike the tensors, told by their own hashes whenever they are read.
    """

    def __init__(self, file: io.FileIO, start: int, length: int) -> None:
        self._file, self._start, self._length, self._lock = file, start, length, threading.Lock()

    def __len__(self) -> int:
        return self._length

    def read(self, first: int, last: int) -> bytes:
        """Those from ``first`` up to ``last``, fewer where the file was cut short. Raises OSError."""
        with self._lock:
            self._file.seek(self._start + first)
            return self._file.read(last - first)


def described(table: Mapping[str, Any]) -> bytes:
    """What the checksum ends with: dtypes, shapes and places of the tensors."""
    return json.dumps(table, sort_keys=True, separators=(",", ":")).encode("ascii")


def looks_like_pack(path: Path) -> bool:
    """True for a regular file that begins as packs do; such a file may be replaced by another pack."""
    try:
        if path.is_symlink() or not path.is_file():
            return False
        with path.open("rb") as file:
            return KIND.encode() in file.read(256)
    except OSError:
        return False


def read_pack(path: Path) -> PackFile:
    """Check and copy the pack at ``path``, but for its images.

    Raises ``DatasetError`` with one message for anything but a whole pack, ``MachineError`` where its copy, in the
    folder for temporary files, finds no room.
    """
    file = _opened(path)
    images = None
    try:
        size = file.seek(0, 2)
        file.seek(0)
        if size > _MAX_BYTES:
            raise DatasetError(f"expected a pack of at most {_MAX_BYTES >> 40} TiB, {path} is larger", hint=_AGAIN)
        about, table, start = _read_header(file, path)
        _check_table(table, start, size, path)
        whole, tensors = _copied(file, table, start, about, path)
        manifest = _manifest(tensors["manifest"], path)
        if "images" in table:
            first, last = table["images"]["data_offsets"]
            images = ImageBytes(cast(io.FileIO, file.detach()), start + first, last - first)
        return PackFile(path.name, whole, manifest, tensors, images)
    except OSError as error:
        raise MachineError(
            f"reading the pack {path} failed: {error.strerror or error}", hint="Check the disk or drive that holds it."
        ) from error
    finally:
        if images is None:
            file.close()


def _opened(path: Path) -> io.BufferedReader:
    try:
        return cast(io.BufferedReader, open_plain(path))
    except OSError as error:
        raise DatasetError(
            f"expected a pack, but {path} cannot be read: {error.strerror or error}", hint="Check the path"
        ) from error
    except ValueError as error:
        raise DatasetError(f"expected a pack, but {path} is refused: {error}", hint="Name the file itself") from error


def _copied(
    file: BinaryIO, table: Mapping[str, Any], start: int, about: Mapping[str, Any], path: Path
) -> tuple[str, dict[str, NDArray[Any]]]:
    """(sha256 of the whole file, its tensors but for the images), read once. Raises as ``read_pack``.

    The tensors lie in a file without a name: nobody can change or cut what was hashed, and it takes no memory.
    """
    whole, content = hashlib.sha256(), hashlib.sha256()
    file.seek(0)
    whole.update(file.read(start))
    places: dict[str, int] = {}
    try:
        with tempfile.TemporaryFile() as copy:
            for name, entry in sorted(table.items(), key=lambda item: item[1]["data_offsets"]):
                first, last = entry["data_offsets"]
                places[name], left = copy.tell(), last - first
                while left and (chunk := file.read(min(_CHUNK, left))):
                    left -= len(chunk)
                    whole.update(chunk)
                    content.update(chunk)
                    if name != "images":
                        copy.write(chunk)
            content.update(described(table))
            if file.read(1) or content.hexdigest() != about.get("sha256"):
                raise DatasetError(f"the pack {path} is damaged or was edited: its checksum does not fit", hint=_AGAIN)
            copy.flush()
            return whole.hexdigest(), {
                name: _mapped(copy, places[name], entry) for name, entry in table.items() if name != "images"
            }
    except OSError as error:
        if error.errno in FULL:
            raise MachineError(
                f"there is no room for a copy of the pack {path.name} in {tempfile.gettempdir()}: {error.strerror}",
                hint="Free space on that disk, or set TMPDIR to a folder with more.",
            ) from error
        raise DatasetError(f"the pack {path} cannot be read: {error.strerror or error}", hint=_AGAIN) from error


def _mapped(copy: Any, start: int, entry: Mapping[str, Any]) -> NDArray[Any]:
    first, last = entry["data_offsets"]
    dtype, shape = DTYPES[entry["dtype"]], tuple(entry["shape"])
    return np.memmap(copy, dtype, "r", start, shape) if first < last else np.empty(shape, dtype)


def _read_header(file: BinaryIO, path: Path) -> tuple[dict[str, Any], dict[str, Any], int]:
    """(metadata, table of tensors, where the data starts)."""
    size = int.from_bytes(file.read(8), "little")
    if not 2 <= size <= _MAX_HEADER:
        raise DatasetError(f"expected a pack made by singaudit pack, {path} is none", hint=_AGAIN)
    table = _json(file.read(size), path)
    about = table.pop("__metadata__", None)
    if not isinstance(about, dict) or about.get("format") != KIND:
        raise DatasetError(f"expected a pack made by singaudit pack, {path} is none", hint=_AGAIN)
    version = about.get("version")
    if version != str(VERSION):
        raise DatasetError(
            f"the pack {path} has version {str(version)[:20]!r}, this singaudit reads version {VERSION}",
            hint="Use the singaudit that made it, or pack the images again",
        )
    return about, table, 8 + size


def _check_table(table: dict[str, Any], start: int, size: int, path: Path) -> None:
    """Every tensor known, of its dtype, its bytes following the last one's, up to the file's very end."""
    if set(table) - set(_TENSORS) or set(_TENSORS) - _OPTIONAL - set(table) or len(_OPTIONAL & set(table)) == 1:
        raise DatasetError(f"the pack {path} does not hold what a pack holds: {', '.join(table)[:200]}", hint=_AGAIN)
    end = 0
    try:
        for name, entry in sorted(table.items(), key=lambda item: item[1]["data_offsets"]):
            shape, (first, last) = entry["shape"], entry["data_offsets"]
            numbers = [*shape, first, last]
            sound = (
                set(entry) == {"dtype", "shape", "data_offsets"}
                and (entry["dtype"], len(shape)) == _TENSORS[name]
                and all(type(n) is int and 0 <= n <= _MAX_BYTES for n in numbers)
                and first == end
                and last - first == DTYPES[entry["dtype"]].itemsize * _product(shape)
            )
            if not sound:
                raise ValueError(name)
            end = last
    except (ValueError, TypeError, KeyError) as error:
        raise DatasetError(f"the pack {path} describes its content wrongly: {str(error)[:80]}", hint=_AGAIN) from error
    if start + end != size:
        raise DatasetError(
            f"the pack {path} is {'truncated' if start + end > size else 'followed by foreign bytes'}: expected "
            f"{start + end} bytes, found {size}",
            hint=_AGAIN,
        )
    manifest = table["manifest"]["shape"][0]
    if manifest > _MAX_MANIFEST:
        raise DatasetError(f"the pack {path} has a manifest of {manifest} bytes, over the limit", hint=_AGAIN)


def _product(shape: list[int]) -> int:
    total = 1
    for length in shape:
        total *= length
    return total


def _manifest(data: NDArray[np.uint8], path: Path) -> dict[str, Any]:
    return _json(data.tobytes(), path)


def _json(data: bytes, path: Path) -> dict[str, Any]:
    """An object without repeated keys or numbers that are none. Raises ``DatasetError``."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a key occurs twice")
        return found

    def no_constant(name: str) -> Any:
        raise ValueError(f"{name} is no number")

    try:
        if not re.match(rb"\s*\{", data):
            raise ValueError("it is no object")
        found = json.loads(data, object_pairs_hook=once, parse_constant=no_constant)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"the pack {path} cannot be read: {str(error)[:200]}", hint=_AGAIN) from error
    assert isinstance(found, dict)
    return found
