"""Which weights a vision-language model's name means, known without opening them."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from singaudit.cache.store import Cache
from singaudit.disk import version_of
from singaudit.hub.cache import COMMIT, cached_commit
from singaudit.language.encoders.table import BUILTIN, CALLER, builtin_folder

_WEIGHTS = (".safetensors", ".bin")
_SETTINGS = (".json", ".txt", ".model")
_MAX_SETTINGS_BYTES = 256 * 2**20
# A file system's clock is coarse: a file changed this recently may change again under the same time stamp.
_SETTLED_NS = 2_000_000_000


@dataclass(frozen=True)
class Revision:
    """A model on disk or on the hub, exactly."""

    fingerprint: str
    """sha256 (hex) over everything that decides its embeddings: weights, settings, tokenizer; or over the commit."""
    files: Mapping[str, str] = field(default_factory=dict)
    """sha256 (hex) of each file of a folder, by name; of the hub's, whose cache names them by their hashes, none."""
    pickled: tuple[tuple[int, ...], ...] = field(default=(), compare=False)
    """The state (``version_of``) of weights that are translated before they are opened."""


def revision_of(name: str, cache: Cache) -> Revision | None:
    """The revision that ``name`` stands for; None where only opening the model can tell (or fails to)."""
    folder = builtin_folder() if name == BUILTIN else Path(name)
    try:
        if folder.is_dir():
            return _of_folder(folder, cache)
        if ":" in name:
            return None
        commit = _commit(name)
    except Exception:  # whatever is wrong with it, opening the model says so better
        return None
    return None if commit is None else Revision(hashlib.sha256(f"{name} {commit}".encode()).hexdigest())


def _commit(name: str) -> str | None:
    """The commit that the hub, or offline its cache, names for the model."""
    repository, revision = CALLER.split(name)
    if revision and COMMIT.fullmatch(revision):
        return revision
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import HfApi, constants

    if constants.is_offline_mode():
        return cached_commit(repository, revision)
    info = HfApi().model_info(repository, revision=revision, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    return str(info.sha) if COMMIT.fullmatch(str(info.sha)) else None


def _of_folder(folder: Path, cache: Cache) -> Revision:
    """Over the names and contents of the weights and of the small files beside them."""
    files, pickled = {}, []
    for path in sorted(p for p in folder.iterdir() if p.suffix in (*_WEIGHTS, *_SETTINGS) and p.is_file()):
        if path.suffix not in _WEIGHTS and path.stat().st_size > _MAX_SETTINGS_BYTES:
            raise ValueError(f"{path.name} is too large to be a model's settings")
        files[path.name] = _file_digest(path, cache)
        if path.suffix == ".bin":
            pickled.append(version_of(path.stat()))
    whole = "".join(f"{name} {digest}\n" for name, digest in files.items()).encode("utf-8", "surrogateescape")
    return Revision(hashlib.sha256(whole).hexdigest(), files, tuple(pickled))


def _file_digest(path: Path, cache: Cache) -> str:
    """sha256 of a file; of large ones remembered under path, size, times and inode.

    A change to the content sets the inode's change time, which no program can set back.
    """
    status = path.stat()
    seen = [str(path.resolve()), status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev]
    key = "file-" + hashlib.sha256(repr(seen).encode()).hexdigest()
    known = cache.recall(key) if status.st_size > 2**20 else None
    if known is not None and known.get("seen") == seen and isinstance(known.get("sha256"), str):
        return str(known["sha256"])
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    settled = time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) > _SETTLED_NS
    if status.st_size > 2**20 and settled and path.stat().st_ctime_ns == status.st_ctime_ns:
        cache.remember(key, {"seen": seen, "sha256": digest})
    return digest
