"""Vision-language models of the hub: just the files that are needed, of one commit, checked, in the hub's own cache."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from singaudit.errors import LanguageError
from singaudit.language.hub_errors import RETRIED, UNREACHABLE, explained, remedy

Progress = Callable[[str, int, int], None]
"""Told (stage, done, total); stages that begin with "download" count bytes."""
Choose = Callable[[Sequence[str]], list[str]]
"""The files to fetch of those that a repository holds; raises ``LanguageError`` where it lacks what is needed."""

_NAME = re.compile(r"[\w-][\w.-]*(?:/[\w-][\w.-]*)?")
_REVISION = re.compile(r"[\w-][\w./-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_WAITS = (1.0, 3.0)
"""Seconds before asking again what files there are; the hub's client does the same for the files themselves."""
_STALLS = 3
"""Time-outs of the hub's client (HF_HUB_DOWNLOAD_TIMEOUT, 10 seconds each) without a byte, and the download is off."""


@dataclass(frozen=True)
class Snapshot:
    """A model of the hub at one commit, on this machine."""

    name: str
    """ORG/NAME."""
    revision: str
    """The commit."""
    folder: Path
    """Holds the files, as links into the hub's cache."""
    files: tuple[str, ...]
    """Those that were asked for."""
    size: int
    """Of all of them, bytes."""
    downloaded: int
    """Of those that were not in the cache, bytes."""


def split_name(text: str) -> tuple[str, str | None]:
    """(ORG/NAME, revision or None) of ``ORG/NAME[@REVISION]``. Raises ``LanguageError``."""
    name, at, revision = text.partition("@")
    if not _NAME.fullmatch(name) or ".." in name or (at and (not _REVISION.fullmatch(revision) or ".." in revision)):
        raise LanguageError(
            f"expected a model of the hub as ORG/NAME or ORG/NAME@REVISION, or a folder, got {text[:100]!r}",
            hint="Copy the name from the model's page, or pass --vlm DIR with a folder that exists.",
        )
    return name, revision or None


def fetch(text: str, choose: Choose, progress: Progress = lambda stage, done, total: None) -> Snapshot:
    """The files that ``choose`` wants of ``ORG/NAME[@REVISION]``, downloaded where the hub's cache lacks them.

    HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_HUB_OFFLINE and HF_TOKEN mean what they mean to the hub's own client. What
    is downloaded is compared with the hash that the hub states. Runs beside the main thread, so that an interrupt is
    answered at once and a download that stands still is given up. Raises ``LanguageError`` with what to do.
    """
    name, revision = split_name(text)
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import constants
    from huggingface_hub.utils import logging

    logging.set_verbosity_error()
    if constants.is_offline_mode():
        return _from_cache(name, revision, choose, "HF_HUB_OFFLINE is set")
    work = _Work(name, revision, choose, progress)
    try:
        return _beside(work, _STALLS * max(1, constants.HF_HUB_DOWNLOAD_TIMEOUT))
    except LanguageError as error:
        if error.code != UNREACHABLE:
            raise
        # As the hub's own client does: without a connection the cached commit serves; the result records which.
        try:
            return _from_cache(name, revision, choose, "")
        except LanguageError:
            raise error from error.__cause__


class _CancelledError(Exception):
    """Stops a download between two chunks."""


class _Work:
    """One fetch, done in a thread of its own: its outcome, and how far it is."""

    def __init__(self, name: str, revision: str | None, choose: Choose, progress: Progress) -> None:
        self.name, self.revision, self._choose, self.progress = name, revision, choose, progress
        self.done, self.total = 0, 0
        self.moved = time.monotonic()
        self.cancelled = False
        self.outcome: Snapshot | BaseException | None = None

    def run(self) -> None:
        """Fetch; whatever happens is kept for the main thread."""
        try:
            self.outcome = self._fetch()
        except BaseException as error:
            self.outcome = error

    def _fetch(self) -> Snapshot:
        from huggingface_hub import hf_hub_download

        info = self._info()
        commit = str(info.sha)
        known = {item.rfilename: item for item in info.siblings or ()}
        files = self._choose(sorted(known))
        missing = [file for file in files if not _is_cached(self.name, file, commit)]
        self.total = sum(known[file].size or 0 for file in missing)
        folder = Path()
        for file in files:
            path = Path(hf_hub_download(self.name, file, revision=commit, tqdm_class=self._bar()))
            self.moved = time.monotonic()
            folder = path.parent
            if file in missing:
                _verify(path, known[file])
        _remember(self.name, self.revision, commit)
        size = sum((folder / file).stat().st_size for file in files)
        return Snapshot(self.name, commit, folder, tuple(files), size, self.total)

    def _info(self) -> Any:
        from huggingface_hub import HfApi, constants
        from huggingface_hub.errors import HfHubHTTPError

        for wait in (*_WAITS, None):
            try:
                return HfApi().model_info(
                    self.name, revision=self.revision, files_metadata=True, timeout=constants.HF_HUB_ETAG_TIMEOUT
                )
            except HfHubHTTPError as error:
                if wait is None or error.response.status_code not in RETRIED:
                    raise
                time.sleep(wait)
        raise AssertionError

    def _bar(self) -> Any:
        """What the hub's client takes for a progress bar; it counts bytes, and stops the download when told to."""
        work = self

        class Bar:
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                pass

            def update(self, n: float | None = 1) -> None:
                if work.cancelled:
                    raise _CancelledError
                work.done += int(n or 0)
                work.moved = time.monotonic()

            def __enter__(self) -> Bar:
                return self

            def __exit__(self, *error: Any) -> None:
                pass

            def __getattr__(self, name: str) -> Any:
                if name.startswith("__") or name == "update_transfer":
                    raise AttributeError(name)
                return lambda *args, **kwargs: None

        return Bar


def _beside(work: _Work, patience: float) -> Snapshot:
    """Run the work in a daemon thread; give up after ``patience`` seconds without a byte."""
    before = _unfinished(work.name)
    thread = threading.Thread(target=work.run, daemon=True, name="download")
    thread.start()
    stage = f"download {work.name}"
    try:
        while thread.is_alive():
            thread.join(0.1)
            if work.total:
                work.progress(stage, min(work.done, work.total), work.total)
            if time.monotonic() - work.moved > patience:
                raise LanguageError(
                    f"the download of {work.name} stood still for {patience:.0f} seconds at {work.done:,} of "
                    f"{work.total:,} bytes",
                    hint=f"Try again, or set HF_HUB_DOWNLOAD_TIMEOUT higher. {remedy(work.name)}",
                )
    finally:
        work.cancelled = True
        thread.join(0.3)
        if not isinstance(work.outcome, Snapshot):
            for path in _unfinished(work.name) - before:
                with contextlib.suppress(OSError):
                    path.unlink()
    if isinstance(work.outcome, Snapshot):
        if work.total:
            work.progress(stage, work.total, work.total)
        return work.outcome
    assert work.outcome is not None
    raise explained(work.name, work.revision, work.outcome) from work.outcome


def _cache_folder(name: str) -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / ("models--" + name.replace("/", "--"))


def _unfinished(name: str) -> set[Path]:
    folder = _cache_folder(name) / "blobs"
    return set(folder.glob("*.incomplete")) if folder.is_dir() else set()


def _is_cached(name: str, file: str, commit: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(name, file, revision=commit), str)


def cached_commit(name: str, revision: str | None) -> str | None:
    """The commit that the cache knows for a model's branch, tag or commit; None where it knows none."""
    if revision and _COMMIT.fullmatch(revision):
        return revision
    try:
        commit = (_cache_folder(name) / "refs" / (revision or "main")).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    return commit if _COMMIT.fullmatch(commit) else None


def _remember(name: str, revision: str | None, commit: str) -> None:
    """Note in the cache, as the hub's client does, which commit a branch or tag is; only when all files are there."""
    if revision == commit:
        return
    path = _cache_folder(name) / "refs" / (revision or "main")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(commit, encoding="ascii")


def _from_cache(name: str, revision: str | None, choose: Choose, why: str) -> Snapshot:
    commit = cached_commit(name, revision)
    folder = _cache_folder(name) / "snapshots" / (commit or "none")
    if commit is None or not folder.is_dir():
        at = f" at {revision}" if revision else ""
        raise LanguageError(f"{name}{at} is not in the cache, and {why}", hint=remedy(name))
    try:
        files = choose(sorted(path.name for path in folder.iterdir() if path.exists()))
    except LanguageError as error:
        raise LanguageError(
            f"{name} is in the cache only in part, and {why}: {error.message}", hint=remedy(name)
        ) from error
    return Snapshot(name, commit, folder, tuple(files), sum((folder / file).stat().st_size for file in files), 0)


def _verify(path: Path, stated: Any) -> None:
    """Compare a downloaded file with the hash that the hub states: sha256 of large files, git's of others."""
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
        raise LanguageError(
            f"{path.name} arrived damaged: its hash is {digest.hexdigest()[:12]}..., the hub states {expected[:12]}...",
            hint="Try again; behind a proxy or a mirror (HF_ENDPOINT) ask who runs it.",
        )


def cached_models() -> list[tuple[str, str, int]]:
    """(name, commit, bytes) of every snapshot in the hub's cache that looks like a vision-language model, by name."""
    import json

    from huggingface_hub import constants

    found = []
    for config in sorted(Path(constants.HF_HUB_CACHE).glob("models--*/snapshots/*/*config.json")):
        folder = config.parent
        try:
            document = json.loads(config.read_text(encoding="utf-8")) if config.stat().st_size < 2**20 else {}
        except (OSError, ValueError, RecursionError):
            continue
        kind = isinstance(document, dict) and (document.get("model_type") or ("model_cfg" in document and "open_clip"))
        if kind not in ("clip", "siglip", "open_clip"):
            continue
        weights = [path.stat().st_size for path in folder.glob("*.safetensors") if path.is_file()]
        if weights:
            name = folder.parent.parent.name.removeprefix("models--").replace("--", "/")
            found.append((f"open_clip:hf-hub:{name}" if kind == "open_clip" else name, folder.name, sum(weights)))
    return found
