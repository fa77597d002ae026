"""The hub client's own cache: which commit a name is there, which files it holds, which it knows to be missing."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from pathlib import Path
from typing import Any

from singaudit.hub.caller import Caller

COMMIT = re.compile(r"[0-9a-f]{40}")


def repository_folder(name: str) -> Path:
    """Where the cache keeps a model's repository, whether it is there or not."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / ("models--" + name.replace("/", "--"))


def cached_commit(name: str, revision: str | None) -> str | None:
    """The commit that the cache knows for a repository's branch, tag or commit; None where it knows none."""
    if revision and COMMIT.fullmatch(revision):
        return revision
    try:
        commit = (repository_folder(name) / "refs" / (revision or "main")).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    return commit if COMMIT.fullmatch(commit) else None


def remember_commit(name: str, revision: str | None, commit: str) -> None:
    """Note, as the hub's client does, which commit a branch or tag is; only when all files are there."""
    if revision != commit:
        _write(repository_folder(name) / "refs" / (revision or "main"), commit)


def remember_missing(name: str, commit: str, file: str) -> None:
    """Note, as the hub's client does, that the repository has no such file at this commit."""
    _write(repository_folder(name) / ".no_exist" / commit / file, "")


def _write(path: Path, text: str) -> None:
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="ascii")


def is_cached(name: str, file: str, commit: str) -> bool:
    """Whether the cache holds the file at this commit."""
    return isinstance(_looked_up(name, file, commit), str)


def is_known_missing(name: str, file: str, commit: str) -> bool:
    """Whether the cache remembers that the repository has no such file at this commit."""
    from huggingface_hub import _CACHED_NO_EXIST

    return _looked_up(name, file, commit) is _CACHED_NO_EXIST


def _looked_up(name: str, file: str, commit: str) -> Any:
    from huggingface_hub import try_to_load_from_cache

    return try_to_load_from_cache(name, file, revision=commit)


def unfinished(name: str) -> set[Path]:
    """Files of a repository that are downloaded in part."""
    folder = repository_folder(name) / "blobs"
    return set(folder.glob("*.incomplete")) if folder.is_dir() else set()


def sweep_unfinished(name: str) -> None:
    """Remove what dead processes left of downloads: files in part whose lock, the hub client's own, nobody holds."""
    try:
        import fcntl
    except ImportError:  # not POSIX: they stay
        return
    blobs = repository_folder(name) / "blobs"
    for path in unfinished(name):
        lock = blobs.parent.parent / ".locks" / blobs.parent.name / f"{path.name.partition('.')[0]}.lock"
        with contextlib.suppress(OSError):
            if lock.exists():
                descriptor = os.open(lock, os.O_RDWR)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()
                finally:
                    os.close(descriptor)
            else:
                path.unlink()


def verify(path: Path, stated: Any, caller: Caller) -> None:
    """Compare a downloaded file with the hash that the hub states, sha256 of large files and git's of others.

    A file that differs is removed from the cache, and ``caller.error`` raised.
    """
    lfs = getattr(stated, "lfs", None)
    expected = lfs.sha256 if lfs is not None else stated.blob_id
    digest = hashlib.sha256() if lfs is not None else hashlib.sha1(usedforsecurity=False)
    if lfs is None:
        digest.update(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    if expected and digest.hexdigest() != expected:
        blob = path.resolve()
        path.unlink()
        blob.unlink(missing_ok=True)
        raise caller.error(
            f"{path.name} arrived damaged: its hash is {digest.hexdigest()[:12]}..., the hub states {expected[:12]}...",
            hint="Try again; behind a proxy or a mirror (HF_ENDPOINT) ask who runs it.",
        )
