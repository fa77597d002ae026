"""The large weights of a model apart from its graph: what is parsed is small, and runtimes read weights where they lie.

A model in one file is copied whole by every parser, session and list of outputs, hundreds of megabytes each time. Its
bytes are read here as protocol buffers encode them, without the weights; what no exporter writes is left alone.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from singaudit.classifier.graph.wire import BYTES, EIGHT, FOUR, VARINT, message, number

LARGE = 64 << 20
"""Bytes of a model from which on this is worth a second copy of its weights."""
SMALLEST = 1 << 16
"""Bytes of a weight that is set apart."""
_PAGE = 1 << 16
"""Weights begin at multiples of it, as ONNX recommends."""
_NAME = "weights"
_NUMBERS = frozenset({1, 2, 3, 10, 11, 16})
"""Element types whose bytes are the numbers: floats, and integers of 8 bits."""
GRAPH, INITIALIZER, RAW_DATA = 7, 5, 9
"""Field numbers of ModelProto, GraphProto and TensorProto (onnx.proto)."""
_ELEMENT, _EXTERNAL, _LOCATION = 2, 13, 14
"""The same of TensorProto."""


_Put = Callable[[memoryview], tuple[str, int]]
"""Takes the bytes of a weight; (name, offset) of the file in which the graph is to find them."""


class _Field(NamedTuple):
    number: int
    wire: int
    start: int
    """Where its tag begins."""
    value: int
    """Where its content begins; numbers of variable length begin there too."""
    end: int


def set_apart(path: Path, folder: Path) -> Path | None:
    """The model at ``path`` with its large weights in a file beside it, both in ``folder``, a new one.

    None where there is nothing to set apart, or something that exporters do not write: another graph, weights in other
    files already, bytes that no message has. Raises OSError where the copy cannot be written.
    """
    folder.mkdir()
    target = folder / path.name
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        memoryview(data) as view,
        (folder / _NAME).open("xb") as weights,
    ):

        def put(weight: memoryview) -> tuple[str, int]:
            start = weights.seek(-(-weights.tell() // _PAGE) * _PAGE)
            weights.write(weight)
            return _NAME, start

        try:
            graph = _model(view, put)
        except ValueError:
            return None
        if weights.tell() == 0:
            return None
    target.write_bytes(graph)
    return target


def split(data: bytes) -> tuple[bytes, dict[str, memoryview]] | None:
    """(the model without its large weights, these by the names of the files that it says they lie in); no copies.

    None as ``set_apart``, where nothing large is found or something that exporters do not write.
    """
    weights: dict[str, memoryview] = {}

    def put(weight: memoryview) -> tuple[str, int]:
        name = f"{_NAME}-{len(weights)}"
        weights[name] = weight
        return name, 0

    try:
        graph = _model(memoryview(data), put)
    except ValueError:
        return None
    return (graph, weights) if weights else None


def external(about: bytes, name: str, offset: int, size: int) -> bytes:
    """The message of an initializer whose bytes lie in the file ``name``; ``about`` are its other fields."""
    where = [("location", name), ("offset", str(offset)), ("length", str(size))]
    parts = [message(_EXTERNAL, message(1, k.encode()) + message(2, v.encode())) for k, v in where]
    return message(INITIALIZER, about + b"".join(parts) + number(_LOCATION << 3 | VARINT) + number(1))


def _model(view: memoryview, put: _Put) -> bytes:
    fields = list(_fields(view, 0, len(view)))
    if [field.wire for field in fields if field.number == GRAPH] != [BYTES]:
        raise ValueError("expected one graph")
    return b"".join(
        message(GRAPH, _graph(view, field, put)) if field.number == GRAPH else _as_it_is(view, field)
        for field in fields
    )


def _graph(view: memoryview, graph: _Field, put: _Put) -> bytes:
    parts = []
    for field in _fields(view, graph.value, graph.end):
        tensor = field.number == INITIALIZER and field.wire == BYTES
        parts.append(_tensor(view, field, put) if tensor else _as_it_is(view, field))
    return b"".join(parts)


def _tensor(view: memoryview, tensor: _Field, put: _Put) -> bytes:
    fields = list(_fields(view, tensor.value, tensor.end))
    if any(field.number in (_EXTERNAL, _LOCATION) for field in fields):
        raise ValueError("expected all weights in this file")
    raw = [field for field in fields if field.number == RAW_DATA]
    elements = [_varint(view, field.value, field.end)[0] for field in fields if field.number == _ELEMENT]
    plain = len(raw) == len(elements) == 1 and raw[0].wire == BYTES and elements[0] in _NUMBERS
    if not plain or raw[0].end - raw[0].value < SMALLEST:
        return _as_it_is(view, tensor)
    weight = view[raw[0].value : raw[0].end]
    about = b"".join(_as_it_is(view, field) for field in fields if field.number != RAW_DATA)
    return external(about, *put(weight), len(weight))


def _as_it_is(view: memoryview, field: _Field) -> bytes:
    return bytes(view[field.start : field.end])


def _fields(view: memoryview, at: int, end: int) -> Iterator[_Field]:
    """The fields of the message in these bytes. ValueError where they are none."""
    while at < end:
        tag, value = _varint(view, at, end)
        wire = tag & 7
        if wire == VARINT:
            _, stop = _varint(view, value, end)
        elif wire == BYTES:
            size, value = _varint(view, value, end)
            stop = value + size
        elif wire in (EIGHT, FOUR):
            stop = value + (8 if wire == EIGHT else 4)
        else:
            raise ValueError(f"wire type {wire}")
        if stop > end or tag >> 3 == 0:
            raise ValueError("a field beyond its message")
        yield _Field(tag >> 3, wire, at, value, stop)
        at = stop


def _varint(view: memoryview, at: int, end: int) -> tuple[int, int]:
    """(number, where it ends)."""
    value = 0
    for shift in range(0, 64, 7):
        if at >= end:
            break
        byte = view[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number without an end")
