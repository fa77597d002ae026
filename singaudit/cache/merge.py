"""Caches that were filled on several machines, put together; what was made otherwise is told, never mixed in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from singaudit.cache.shelf import IDENTITY, make_private
from singaudit.cache.store import FACTS, Cache, shelf_folders, surroundings
from singaudit.cache.table import FILE
from singaudit.disk import open_plain, write_aside
from singaudit.errors import ConfigError, MachineError

_MAX_IDENTITY = 2**20
_MODEL_KEYS = ("kind", "classifier", "encoder")
"""What makes rows of the same model, whatever else decided their numbers."""


def merge(into: Cache, source: Path) -> dict[str, Any]:
    """Copy what the cache in ``source`` holds and ``into`` lacks; files, bytes, and what here will not use, in words.

    Rows and exports are checked when they are used, against the seal that their names carry. Raises ``ConfigError``
    for a folder that is no cache, ``MachineError`` where nothing can be written; what was copied by then stays.
    """
    assert into.folder is not None
    if not source.is_dir() or not shelf_folders(source):
        raise ConfigError(f"expected a folder that singaudit filled, {source} is none", hint="Name a --cache folder.")
    files = size = 0
    try:
        make_private(into.folder)
        for path in _theirs(source):
            target = into.folder / path.relative_to(source)
            if target.exists() and path.name != IDENTITY:
                continue
            with open_plain(path, follow=False) as file:
                data = file.read()
            make_private(target.parent)
            write_aside(target, data, mode=0o600, sync=False)
            if path.name != IDENTITY:
                files, size = files + 1, size + len(data)
    except ValueError as error:
        raise ConfigError(f"{path} is refused: {error}", hint="Copy the cache again.") from error
    except OSError as error:
        raise MachineError(
            f"the cache {into.folder} cannot be filled from {source}: {error.strerror or error}",
            hint="Free space, then merge again: what was copied stays.",
        ) from error
    return {"from": str(source), "files": files, "bytes": size, "unused": made_otherwise(source)}


def _theirs(source: Path) -> list[Path]:
    """The cache's own files in a folder, and nothing else that lies there."""
    found = [path for path in source.iterdir() if FACTS.fullmatch(path.name)]
    for folder in shelf_folders(source):
        found += [path for path in folder.iterdir() if FILE.fullmatch(path.name) or path.name == IDENTITY]
    return sorted(found)


def made_otherwise(folder: Path) -> list[str]:
    """Per kind of rows in the cache ``folder`` that were made by other versions than run here: what differs."""
    here, said = surroundings(), set()
    for shelf in shelf_folders(folder):
        there = _identity(shelf)
        differing = differences(there, here)
        if there and differing:
            said.add(f"{there.get('kind', 'rows')} made with {', '.join(differing)}")
    return sorted(said)


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """What decided rows there and is otherwise here, in words; both as ``surroundings``."""
    found = []
    theirs, ours = dict(there.get("versions") or {}), dict(here["versions"])
    for package in sorted(set(theirs) | set(ours)):
        if theirs.get(package) != ours.get(package):
            found.append(f"{package} {theirs.get(package, 'absent')} (here {ours.get(package, 'absent')})")
    for key, word in (("singaudit", "singaudit"), ("machine", "processor")):
        if there.get(key) != here[key]:
            found.append(f"{word} {there.get(key)} (here {here[key]})")
    if there.get("code") != here["code"] and there.get("singaudit") == here["singaudit"]:
        found.append("another state of singaudit's code")
    return found


def _identity(shelf: Path) -> dict[str, Any]:
    try:
        with open_plain(shelf / IDENTITY, follow=False) as file:
            found = json.loads(file.read(_MAX_IDENTITY))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def not_used(cache: Cache, kind: str, identity: Mapping[str, Any]) -> str:
    """Why rows of this very model that the cache holds are not used here, in words; empty where there are none.

    ``kind`` and ``identity`` as for ``Cache.shelf``.
    """
    if cache.folder is None or not cache.folder.is_dir():
        return ""
    here = {"kind": kind, **identity, **surroundings()}
    for shelf in shelf_folders(cache.folder):
        there = _identity(shelf) if shelf.name.startswith(f"{kind}-") else {}
        if not there or any(there.get(key) != here.get(key) for key in _MODEL_KEYS):
            continue
        differing = differences(there, here)
        if there.get("device") != here.get("device"):
            differing.append("another device or other vector instructions")
        if differing:
            return ", ".join(differing)
    return ""
