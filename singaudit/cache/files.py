"""Whole files in the cache, beside the rows: one per identity, sealed by it, read as bytes and checked."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from singaudit.cache.shelf import IDENTITY, make_private
from singaudit.cache.store import Cache, surroundings
from singaudit.disk import open_plain, write_aside, written_aside


def keep_file(cache: Cache, kind: str, identity: Mapping[str, Any], parts: Sequence[Any]) -> None:
    """Keep a file of ``kind``, a word, that ``identity``, plain data, and the versions here decide.

    ``parts`` are buffers whose bytes make it, one after the other.

    A cache that cannot be written is said once and does without.
    """
    place = _place(cache, kind, identity)
    if place is None or cache.unwritable.known:
        return
    folder, whole = place
    try:
        make_private(folder)
        write_aside(folder / IDENTITY, whole, mode=0o600, sync=False)
        with written_aside(folder / f"{_seal(whole, parts)}.onnx", mode=0o600, sync=False) as file:
            file.writelines(parts)
    except OSError as error:
        cache.unwritable.say(error)


def kept_file(cache: Cache, kind: str, identity: Mapping[str, Any]) -> bytes | None:
    """What ``keep_file`` kept; None where there is nothing, or nothing sound. What is returned is what was checked."""
    place = _place(cache, kind, identity)
    if place is None:
        return None
    folder, whole = place
    for path in sorted(folder.glob("*.onnx")):
        with contextlib.suppress(OSError, ValueError):
            with open_plain(path, follow=False, own=True) as file:
                data = file.read()
            if _seal(whole, [data]) == path.stem:
                os.utime(path)  # marks it as used: the oldest go first
                return data
            path.unlink()
    return None


def _place(cache: Cache, kind: str, identity: Mapping[str, Any]) -> tuple[Path, bytes] | None:
    """(folder, identity as bytes); None without a cache."""
    if cache.folder is None:
        return None
    whole = json.dumps({"kind": kind, **identity, **surroundings()}, sort_keys=True).encode()
    return cache.folder / f"{kind}-{hashlib.sha256(whole).hexdigest()[:40]}", whole


def _seal(whole: bytes, parts: Iterable[Any]) -> str:
    """sha256 (hex) over identity and content: another identity's file does not fit."""
    content = hashlib.sha256()
    for part in parts:
        content.update(part)
    return hashlib.sha256(hashlib.sha256(whole).digest() + content.digest()).hexdigest()
