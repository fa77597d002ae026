"""The pack's file: a safetensors container with a checksum, read as hostile: sizes first, nothing executed.

Tensors: ``manifest`` (JSON), ``digests`` (n, 32) uint8, ``embeddings`` (n, d) float32, ``texts`` (k, d) float64,
and with images ``offsets`` (n + 1,) int64 into ``images``, their encoded bytes one after the other.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from singaudit.disk import FULL, sweep, written_aside
from singaudit.errors import DatasetError, MachineError

VERSION = 1
_KIND = "singaudit pack"
_TENSORS = {
    "manifest": ("U8", 1), "digests": ("U8", 2), "embeddings": ("F32", 2), "texts": ("F64", 2),
    "offsets": ("I64", 1), "images": ("U8", 1),
}  # fmt: skip
_OPTIONAL = {"offsets", "images"}
_DTYPES: dict[str, np.dtype[Any]] = {
    "U8": np.dtype("u1"),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
    "I64": np.dtype("<i8"),
}
_HEADER = 4096
"""Bytes that a pack's header takes."""
_MAX_HEADER = 64 * 2**10
_MAX_MANIFEST = 512 * 2**20
_MAX_BYTES = 2**44
_CHUNK = 2**22
_AGAIN = "pack the images again with singaudit pack"


@dataclass(frozen=True)
class PackFile:
    """A pack's tensors, mapped, after its checksum was found to fit."""

    name: str
    """File name."""
    sha256: str
    """Of the whole file, as sha256sum prints it."""
    manifest: dict[str, Any]
    """The JSON inside, unchecked."""
    tensors: Mapping[str, NDArray[Any]]
    """By name, of the dtypes and numbers of axes above."""


def write_pack(
    path: Path, manifest: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]], images: Iterable[bytes] | None
) -> None:
    """Write a pack: aside, synced, renamed. ``images``, where there are any, are read one by one, in row order.

    Raises ``MachineError`` when the disk is full, ``DatasetError`` when the place cannot be written; nothing is left.
    """
    text = np.frombuffer(json.dumps(manifest, sort_keys=True).encode("ascii"), np.uint8)
    arrays = {name: np.ascontiguousarray(a) for name, a in {**tensors, "manifest": text}.items()}
    try:
        sweep(path.parent)
        with written_aside(path) as file:
            _write(file, arrays, images)
    except OSError as error:
        if error.errno in (*FULL, errno.EIO):
            raise MachineError(
                f"the pack could not be written to {path}: {error.strerror}; nothing was left there", hint="Free space"
            ) from error
        raise DatasetError(
            f"the pack could not be written to {path}: {error.strerror or error}", hint="Choose another file with -o"
        ) from error


def _write(file: BinaryIO, arrays: Mapping[str, NDArray[Any]], images: Iterable[bytes] | None) -> None:
    """Tensors with wide elements first, so that those are aligned; the header last, in the room left for it."""
    table: dict[str, Any] = {}
    digest, start = hashlib.sha256(), 0
    file.write(_header({}, ""))

    def put(name: str, array: NDArray[Any]) -> None:
        nonlocal start
        data = array.data.cast("B") if array.size else b""
        digest.update(data)
        file.write(data)
        add(name, array.dtype, list(array.shape), array.nbytes)

    def add(name: str, dtype: np.dtype[Any], shape: list[int], size: int) -> None:
        nonlocal start
        kind = next(kind for kind, known in _DTYPES.items() if known == dtype)
        table[name] = {"dtype": kind, "shape": shape, "data_offsets": [start, start + size]}
        start += size

    for name in sorted(arrays, key=lambda name: -arrays[name].itemsize):
        put(name, arrays[name])
    if images is not None:
        offsets = [0]
        for data in images:
            digest.update(data)
            file.write(data)
            offsets.append(offsets[-1] + len(data))
        add("images", np.dtype("u1"), [offsets[-1]], offsets[-1])
        put("offsets", np.asarray(offsets, "<i8"))
    digest.update(_described(table))
    file.seek(0)
    file.write(_header(table, digest.hexdigest()))


def _header(table: Mapping[str, Any], checksum: str) -> bytes:
    about = {"format": _KIND, "version": str(VERSION), "sha256": checksum}
    text = json.dumps({"__metadata__": about, **table}, separators=(",", ":")).encode("ascii")
    return (_HEADER - 8).to_bytes(8, "little") + text.ljust(_HEADER - 8)


def _described(table: Mapping[str, Any]) -> bytes:
    """What the checksum ends with: dtypes, shapes and places of the tensors."""
    return json.dumps(table, sort_keys=True, separators=(",", ":")).encode("ascii")


def looks_like_pack(path: Path) -> bool:
    """True for a regular file that begins as packs do; such a file may be replaced by another pack."""
    try:
        if path.is_symlink() or not path.is_file():
            return False
        with path.open("rb") as file:
            return _KIND.encode() in file.read(256)
    except OSError:
        return False


def read_pack(path: Path) -> PackFile:
    """Check and map the pack at ``path``. Raises ``DatasetError`` with one message for anything but a whole pack."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DatasetError(f"expected a pack, but {path} cannot be read: {reason}", hint="Check the path") from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise DatasetError(f"expected a pack, but {path} is not a regular file", hint="Name the file itself")
    with os.fdopen(descriptor, "rb") as file:
        if status.st_size > _MAX_BYTES:
            raise DatasetError(f"expected a pack of at most {_MAX_BYTES >> 40} TiB, {path} is larger", hint=_AGAIN)
        about, table, start = _read_header(file, path)
        _check_table(table, start, status.st_size, path)
        whole, content = hashlib.sha256(), hashlib.sha256()
        file.seek(0)
        whole.update(file.read(start))
        while chunk := file.read(_CHUNK):
            whole.update(chunk)
            content.update(chunk)
        content.update(_described(table))
        if content.hexdigest() != about.get("sha256"):
            raise DatasetError(f"the pack {path} is damaged or was edited: its checksum does not fit", hint=_AGAIN)
        tensors = {name: _mapped(file, start, entry) for name, entry in table.items()}
    return PackFile(path.name, whole.hexdigest(), _manifest(tensors["manifest"], path), tensors)


def _mapped(file: BinaryIO, start: int, entry: Mapping[str, Any]) -> NDArray[Any]:
    """A tensor of the very file that was checked, whatever its name leads to by now."""
    first, last = entry["data_offsets"]
    dtype, shape = _DTYPES[entry["dtype"]], tuple(entry["shape"])
    return np.memmap(file, dtype, "r", start + first, shape) if first < last else np.empty(shape, dtype)


def _read_header(file: BinaryIO, path: Path) -> tuple[dict[str, Any], dict[str, Any], int]:
    """(metadata, table of tensors, where the data starts)."""
    size = int.from_bytes(file.read(8), "little")
    if not 2 <= size <= _MAX_HEADER:
        raise DatasetError(f"expected a pack made by singaudit pack, {path} is none", hint=_AGAIN)
    table = _json(file.read(size), path)
    about = table.pop("__metadata__", None)
    if not isinstance(about, dict) or about.get("format") != _KIND:
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
                and last - first == _DTYPES[entry["dtype"]].itemsize * _product(shape)
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
