"""The content-addressed cache: what a model once computed of an image or a text is never computed again.

A *shelf* holds rows of one computation, found by the sha256 of their content. Its name is the sha256 of everything
else that decides the numbers: model, preprocessing, precision, device, versions, code. A shelf is a folder of .npy
files whose name is the sha256 of that identity and of their bytes, written aside and renamed: several processes may use
one cache, a damaged file and one of another shelf are noticed, and nothing in it is ever executed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import platform
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from singaudit.cache.shelf import IDENTITY, Said, Shelf, is_private, make_private
from singaudit.cache.table import FILE
from singaudit.disk import is_aside, open_plain, sweep, write_aside
from singaudit.errors import ConfigError
from singaudit.version import __version__

MAX_BYTES = 10 * 2**30
"""Beyond this the files that were not used for the longest time are removed."""
_MAX_FACTS = 2**24
"""Bytes of a file of facts: far more than one is ever given."""
_SHELF = re.compile(r"[a-z]+-[0-9a-f]{40}")
FACTS = re.compile(r"[a-z]+-[0-9a-f]{64}\.json")
_log = logging.getLogger(__name__)
_PACKAGES = (
    "numpy", "pillow", "onnx", "onnxruntime", "onnxruntime-gpu", "torch", "torchvision", "timm", "transformers",
    "tokenizers", "open_clip_torch",
)  # fmt: skip


def cache_folder(setting: str) -> Path | None:
    """The folder that a ``--cache`` setting means: ``auto`` the platform's, ``none`` no cache, else a folder.

    ``auto`` is SINGAUDIT_CACHE, else $XDG_CACHE_HOME/singaudit, else the platform's own place for caches.
    """
    if setting == "auto":
        setting = os.environ.get("SINGAUDIT_CACHE") or str(_platform_folder())
    return None if setting == "none" else Path(setting)


def _platform_folder() -> Path:
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "singaudit"
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "singaudit" / "Cache"
    return Path.home() / ("Library/Caches" if platform.system() == "Darwin" else ".cache") / "singaudit"


@cache
def surroundings() -> dict[str, Any]:
    """What decides numbers besides model and input: versions of the libraries, of singaudit's own code, the CPU."""
    versions = {}
    for package in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    # What the code says, not where it lies: by the hashes of the files, in their own order.
    files = sorted(hashlib.sha256(path.read_bytes()).digest() for path in Path(__file__).parent.parent.rglob("*.py"))
    code = hashlib.sha256(b"".join(files)).hexdigest()
    return {"singaudit": __version__, "code": code, "versions": versions, "machine": platform.machine()}


class Cache:
    """The shelves below one folder; ``folder`` None keeps rows in memory for this audit alone."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.unwritable = Said(folder)
        if folder is not None and folder.exists() and not folder.is_dir():
            raise ConfigError(
                f"expected a folder for the cache, but {folder} is a file",
                hint="Name another folder with --cache DIR, or pass --no-cache",
            )
        if folder is not None and not is_private(folder.resolve()):
            _log.warning(
                "the cache %s is another user's, or can be written by others, and is not used (chmod go-w)", folder
            )
            self.folder = None

    def shelf(self, kind: str, identity: Mapping[str, Any]) -> Shelf:
        """Rows of ``kind`` (features, images, texts) that ``identity``, plain data, and the versions here decide."""
        whole = {"kind": kind, **identity, **surroundings()}
        folder = self.folder / f"{kind}-{_sha256(whole)[:40]}" if self.folder else None
        return Shelf(folder, whole, self.unwritable)

    def name_of(self, kind: str, identity: Mapping[str, Any]) -> str:
        """The name to ``remember`` facts of ``kind`` by that ``identity``, plain data, and the versions here decide."""
        return f"{kind}-{_sha256({'kind': kind, **identity, **surroundings()})}"

    def remember(self, name: str, facts: Mapping[str, Any]) -> None:
        """Keep a few facts, plain data, under ``name``, a word; a cache that cannot be written does without."""
        if self.folder is None or self.unwritable.known:
            return
        text = json.dumps(facts, sort_keys=True)
        stored = json.dumps({"sha256": _sealed(name, text), "facts": text})
        try:
            make_private(self.folder)
            write_aside(self.folder / f"{name}.json", stored.encode(), mode=0o600, sync=False)
        except OSError as error:
            self.unwritable.say(error)

    def recall(self, name: str) -> dict[str, Any] | None:
        """What ``remember`` kept under ``name``; None where there is nothing, or nothing sound."""
        if self.folder is None:
            return None
        try:
            with open_plain(self.folder / f"{name}.json", follow=False, own=True) as file:
                stored = json.loads(file.read(_MAX_FACTS))
            text = stored["facts"]
            if _sealed(name, text) != stored["sha256"]:
                return None
            facts = json.loads(text)
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None
        return facts if isinstance(facts, dict) else None

    def prune(self, limit: int = MAX_BYTES, spared: Sequence[Path] = ()) -> None:
        """Remove the files that were not used for the longest time until at most ``limit`` bytes are left.

        Those in the folders ``spared`` stay: a set of images larger than the limit is not computed in vain.
        """
        if self.folder is None or not self.folder.is_dir():
            return
        for folder in (self.folder, *shelf_folders(self.folder)):
            sweep(folder)
        files = _files(self.folder)
        left = sum(size for _, size, _ in files)
        for _, size, path in sorted(file for file in files if file[2].parent not in spared):
            if left <= limit:
                break
            with contextlib.suppress(OSError):
                path.unlink()
                left -= size


def _sha256(identity: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def _sealed(name: str, text: str) -> str:
    """Facts belong to their name: under another they do not fit."""
    return hashlib.sha256(f"{name}\0{text}".encode()).hexdigest()


def clear(folder: Path) -> int:
    """Remove everything the cache keeps below ``folder``, and nothing else; the bytes of rows that are gone."""
    before = cache_bytes(folder)
    for shelf in shelf_folders(folder):
        for path in shelf.iterdir():
            if FILE.fullmatch(path.name) or path.name == IDENTITY or is_aside(path.name):
                path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # somebody put a file of theirs there, or another audit a new one
            shelf.rmdir()
    for path in folder.iterdir():
        if FACTS.fullmatch(path.name) or (is_aside(path.name) and path.is_file()):
            path.unlink(missing_ok=True)
    return before - cache_bytes(folder)


def shelves(folder: Path) -> list[tuple[str, int]]:
    """(kind, bytes) of what is kept below ``folder``, by kind."""
    sizes: dict[str, int] = {}
    for _, size, path in _files(folder):
        kind = path.parent.name.partition("-")[0]
        sizes[kind] = sizes.get(kind, 0) + size
    return sorted(sizes.items())


def cache_bytes(folder: Path) -> int:
    """Size of the cached rows below ``folder``."""
    return sum(size for _, size, _ in _files(folder))


def shelf_folders(folder: Path) -> list[Path]:
    """The cache's own folders: nothing else below a folder that a user named is ever touched."""
    return [p for p in folder.iterdir() if _SHELF.fullmatch(p.name) and p.is_dir() and not p.is_symlink()]


def _files(folder: Path) -> list[tuple[int, int, Path]]:
    """(time of last use in ns, bytes, path) of every file of rows."""
    found = []
    for path in (p for shelf in shelf_folders(folder) for p in shelf.iterdir() if FILE.fullmatch(p.name)):
        with contextlib.suppress(OSError):
            found.append((path.stat().st_mtime_ns, path.stat().st_size, path))
    return found
