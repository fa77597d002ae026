"""singaudit cache: what earlier audits computed, shown or removed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from singaudit.cache.merge import merge
from singaudit.cache.shelf import is_private
from singaudit.cache.store import MAX_BYTES, Cache, cache_folder, clear, shelves
from singaudit.cli.terminal import console, safe
from singaudit.errors import ConfigError


def what_is_kept(settings: dict[str, Any]) -> dict[str, Any]:
    """Folder and bytes by kind. Raises ``ConfigError`` where there is no cache."""
    folder = _folder(settings)
    kept = shelves(folder) if folder.is_dir() else []
    return {
        "folder": str(folder),
        "bytes": sum(size for _, size in kept),
        "limit_bytes": MAX_BYTES,
        "kinds": dict(kept),
        "used": is_private(folder),
    }


def clear_all(settings: dict[str, Any]) -> dict[str, Any]:
    """Remove what is kept. Raises ``ConfigError`` where there is no cache."""
    folder = _folder(settings)
    return {"folder": str(folder), "removed_bytes": clear(folder) if folder.is_dir() else 0}


def merge_all(settings: dict[str, Any], sources: Sequence[str]) -> dict[str, Any]:
    """Copy what caches filled elsewhere hold. Raises ``SingauditError``; what was copied by then stays."""
    folder = _folder(settings)
    return {"folder": str(folder), "merged": [merge(Cache(folder), Path(source)) for source in sources]}


def describe_merge(facts: dict[str, Any]) -> None:
    """Print what was copied, and what of it will not be used here, for people."""
    out = console(sys.stdout)
    for one in facts["merged"]:
        out.print(
            f"{safe(one['from'])}: {one['files']} files, {one['bytes'] / 1e6:,.1f} MB copied to {safe(facts['folder'])}"
        )
        for what in one["unused"]:
            out.print(f"  ! not used here, nor mixed with what is: {safe(what, 600)}")


def _folder(settings: dict[str, Any]) -> Path:
    folder = cache_folder(settings.get("cache") or "auto")
    if folder is None:
        raise ConfigError("expected a cache, it is turned off", hint="Name its folder: --cache DIR.")
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"expected a folder for the cache, but {folder} is none", hint="Name it with --cache DIR.")
    return folder


def describe(facts: dict[str, Any]) -> None:
    """Print what is kept for people."""
    out = console(sys.stdout)
    out.print(
        f"{safe(facts['folder'])}: {facts['bytes'] / 1e6:,.1f} MB of at most {facts['limit_bytes'] / 1e9:,.1f} GB"
    )
    for kind, size in facts["kinds"].items():
        out.print(f"  {kind}: {size / 1e6:,.1f} MB")
    if not facts["used"]:
        out.print("  ! it is another user's, or can be written by others, and is not used")
