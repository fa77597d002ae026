"""What stands for objects of classes that are never imported, while torch's restricted reader reads a pickle."""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Any

_FILLED = re.compile(r"Can only (append|extend|SETITEMS?)\b.* but got <class '[\w.]*Placeholder(\d+)'>", re.DOTALL)
"""What the reader says of a list or dictionary of another library's (MMEngine's settings) that is filled by items."""


class _Placeholder:
    """Stands for an object of a class that is not imported; takes any arguments and any state, and keeps none."""

    def __new__(cls, *_: Any, **__: Any) -> _Placeholder:
        return object.__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def stand_in(number: int, filled: type | None) -> type:
    """A class for one foreign name, told from others by its number; its objects are plain ones of the type ``filled``
    where that is one."""
    own = {} if filled is None else {"__new__": lambda cls, *args, **options: filled()}
    return type(f"Placeholder{number}", (_Placeholder,), own)


def filled_as(error: Exception) -> tuple[int, type] | None:
    """(number of the foreign name, the type to take in its place) where the reader stopped at one that is filled."""
    found = _FILLED.search(str(error))
    if found is None:
        return None
    return int(found[2]), OrderedDict if found[1].startswith("SETITEM") else list
