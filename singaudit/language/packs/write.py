"""Writing a pack's file, in one pass, aside."""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from singaudit.disk import FULL, sweep, written_aside
from singaudit.errors import DatasetError, MachineError
from singaudit.language.packs.file import DTYPES, KIND, VERSION, described

_HEADER = 4096
"""Bytes that a pack's header takes."""


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
            _put_all(file, arrays, images)
    except OSError as error:
        if error.errno in (*FULL, errno.EIO):
            raise MachineError(
                f"the pack could not be written to {path}: {error.strerror}; nothing was left there", hint="Free space"
            ) from error
        raise DatasetError(
            f"the pack could not be written to {path}: {error.strerror or error}", hint="Choose another file with -o"
        ) from error


def _put_all(file: BinaryIO, arrays: Mapping[str, NDArray[Any]], images: Iterable[bytes] | None) -> None:
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
        kind = next(kind for kind, known in DTYPES.items() if known == dtype)
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
    digest.update(described(table))
    file.seek(0)
    file.write(_header(table, digest.hexdigest()))


def _header(table: Mapping[str, Any], checksum: str) -> bytes:
    about = {"format": KIND, "version": str(VERSION), "sha256": checksum}
    text = json.dumps({"__metadata__": about, **table}, separators=(",", ":")).encode("ascii")
    return (_HEADER - 8).to_bytes(8, "little") + text.ljust(_HEADER - 8)
