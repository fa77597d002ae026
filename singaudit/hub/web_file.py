"""Weights published under plain addresses, in torch's cache: watched, and checked against the hash in their name."""

from __future__ import annotations

import hashlib
import re
import urllib.request
from pathlib import Path
from typing import Any

from singaudit.disk import sweep, written_aside
from singaudit.errors import MachineError
from singaudit.hub.caller import Caller, Progress

_HASH = re.compile(r"-([a-f0-9]{8,})\.")
_PATIENCE = 30.0
"""Seconds without a byte after which a download is given up."""


def from_url(url: str, caller: Caller, progress: Progress = lambda stage, done, total: None) -> Path:
    """The file at ``url`` in torch's cache (TORCH_HOME), fetched once; its name carries the start of its hash.

    Raises ``caller.error`` where it cannot be had, or where its content is not what its name says; MachineError where
    it cannot be stored.
    """
    import torch

    name = url.rsplit("/", 1)[-1]
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    stated = _HASH.search(name)
    prefix = stated.group(1) if stated else ""
    if path.is_file():
        if _sha256(path).startswith(prefix):
            return path
        raise caller.error(
            f"{path} is damaged: its sha256 does not start with {prefix}, as its name says",
            hint="Delete it, and it is fetched again.",
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent)
        with written_aside(path) as sink:
            digest = _download(url, sink, name, caller, progress, path.parent)
            if not digest.startswith(prefix):
                raise caller.error(
                    f"{name} arrived damaged: its sha256 starts with {digest[:12]}, its name says {prefix}",
                    hint="Try again; behind a proxy ask who runs it.",
                )
    except OSError as error:
        raise _unstored(name, error) from error
    return path


def _download(url: str, sink: Any, name: str, caller: Caller, progress: Progress, folder: Path) -> str:
    """Write the file; returns its sha256."""
    digest, done, total = hashlib.sha256(), 0, 0
    hint = f"Check the connection; without internet put the file into {folder}."
    try:
        with urllib.request.urlopen(url, timeout=_PATIENCE) as source:
            total = int(source.headers.get("Content-Length") or 0)
            while block := source.read(1 << 18):
                _stored(sink, block, name)
                digest.update(block)
                done += len(block)
                progress(f"download {name}", min(done, total or done), total or done)
    except (OSError, ValueError) as error:  # http.client's errors and time-outs included
        raise caller.error(f"{name} could not be had from {url}: {str(error)[:200]}", hint=hint) from error
    if done < total:
        raise caller.error(f"{name} arrived incomplete: {done:,} of {total:,} bytes", hint=hint)
    return digest.hexdigest()


def _stored(sink: Any, block: bytes, name: str) -> None:
    try:
        sink.write(block)
    except OSError as error:
        raise _unstored(name, error) from error


def _unstored(name: str, error: OSError) -> MachineError:
    return MachineError(f"{name} could not be stored: {error.strerror}", hint="Free space, or set TORCH_HOME.")


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
