"""Messages between singaudit and the process a model runs in: plain fields as JSON, arrays as their bytes.

Nothing is pickled, so that neither side runs what the other sends.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import struct
import tempfile
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]

_LARGEST_HEADER = 256 << 20
_ALIGNMENT = 64
_HEAD = struct.Struct("<Q")


class SharedBytes:
    """A file in memory that both processes map: batches of images cross over without a copy through a pipe."""

    def __init__(self) -> None:
        if hasattr(os, "memfd_create"):
            self.descriptor, name = os.memfd_create("singaudit", 0), None
        else:
            self.descriptor, name = tempfile.mkstemp(prefix="singaudit-")
        self._file = name
        self.path = name or f"/proc/self/fd/{self.descriptor}"
        self._map: mmap.mmap | None = None

    def put(self, arrays: Mapping[str, NDArray[Any]]) -> list[int]:
        """Copy arrays into the file, which grows as needed; returns where each starts, in bytes."""
        starts, end = [], 0
        for array in arrays.values():
            starts.append(end)
            end += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
        if self._map is None or len(self._map) < end:
            if self._map is not None:
                self._map.close()
            os.ftruncate(self.descriptor, max(end, 1))
            self._map = mmap.mmap(self.descriptor, max(end, 1))
        for start, array in zip(starts, arrays.values(), strict=True):
            np.frombuffer(self._map, array.dtype, array.size, start).reshape(array.shape)[...] = array
        return starts

    def close(self) -> None:
        """Free the memory; the other side's mapping, if it still lives, keeps its own."""
        if self._map is not None:
            self._map.close()
        os.close(self.descriptor)
        if self._file is not None:
            os.unlink(self._file)


def send(stream: BinaryIO, fields: Mapping[str, Any], arrays: Arrays | None = None, shared: Any = None) -> None:
    """Write one message; arrays go through ``shared`` (a ``SharedBytes``) where it is given, else into the stream."""
    arrays = {name: np.ascontiguousarray(array) for name, array in (arrays or {}).items()}
    starts = shared.put(arrays) if shared is not None and arrays else None
    described = [[name, array.dtype.str, array.shape] for name, array in arrays.items()]
    header = json.dumps({"fields": fields, "arrays": described, "starts": starts}).encode()
    stream.write(_HEAD.pack(len(header)))
    stream.write(header)
    if starts is None:
        for array in arrays.values():
            stream.write(array.tobytes())
    stream.flush()


def receive(stream: BinaryIO, shared_path: str | None = None) -> tuple[dict[str, Any], Arrays]:
    """Read one message. Arrays from the shared file are read-only views of it, good until the next message.

    Raises EOFError where the stream ends before the message does, ValueError where it is no message.
    """
    (length,) = _HEAD.unpack(_exactly(stream, _HEAD.size))
    if length > _LARGEST_HEADER:
        raise ValueError(f"a message's header cannot have {length} bytes")
    header = json.loads(_exactly(stream, length))
    arrays: Arrays = {}
    for index, (name, code, shape) in enumerate(header["arrays"]):
        dtype, count = np.dtype(code), math.prod(shape)
        if dtype.hasobject:
            raise ValueError("a message holds numbers only")
        if header["starts"] is None:
            flat = np.frombuffer(_exactly(stream, count * dtype.itemsize), dtype)
        elif count:
            assert shared_path is not None
            flat = np.memmap(shared_path, dtype, "r", header["starts"][index], (count,))
        else:
            flat = np.empty(0, dtype)
        arrays[name] = np.asarray(flat).reshape(shape)
    return header["fields"], arrays


def _exactly(stream: BinaryIO, count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise EOFError
    return data
