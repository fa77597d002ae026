"""How protocol buffers are written: numbers of variable length, and fields that hold bytes.

Encoding as https://protobuf.dev/programming-guides/encoding states it.
"""

from __future__ import annotations

VARINT, EIGHT, BYTES, FOUR = 0, 1, 2, 5
"""Wire types."""


def number(value: int) -> bytes:
    """A number that is not negative, seven bits a byte."""
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def begin(field: int, length: int) -> bytes:
    """How the ``field`` begins that holds so many bytes, which follow."""
    return number(field << 3 | BYTES) + number(length)


def message(field: int, content: bytes) -> bytes:
    """The ``field`` that holds ``content``."""
    return begin(field, len(content)) + content
