"""Repositories of the hub: just the files that are needed, of one commit, checked, in the hub client's own cache."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from singaudit.hub.cache import (
    COMMIT,
    cached_commit,
    is_cached,
    is_known_missing,
    remember_commit,
    remember_missing,
    repository_folder,
    sweep_unfinished,
    unfinished,
    verify,
)
from singaudit.hub.caller import Caller, Progress
from singaudit.hub.failures import RETRIED, explained

_WAITS = (1.0, 3.0)
"""Seconds before asking again what files there are; the hub's client does the same for the files themselves."""
_STALLS = 3
"""Time-outs of the hub's client (HF_HUB_DOWNLOAD_TIMEOUT, 10 seconds each) without a byte, and the download is off."""


@dataclass(frozen=True)
class FileSelection:
    """Which files of a repository to fetch; both functions raise the caller's error where it lacks what is needed."""

    first: Callable[[Sequence[str]], list[str]]
    """Of the names that the repository holds, those to fetch at once."""
    rest: Callable[[Path, Sequence[str]], list[str]] = lambda folder, held: []
    """What is needed besides, now that the first ones are in this folder: the parts that an index lists."""
    settled: Callable[[Sequence[str]], Sequence[str]] = lambda held: ()
    """Of the names that the repository holds: files that may be missing, but not unknown. Without the hub, the cache
    has to remember that there are none."""


@dataclass(frozen=True)
class Snapshot:
    """A repository of the hub at one commit, on this machine."""

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


def fetch(
    text: str, caller: Caller, wanted: FileSelection, progress: Progress = lambda stage, done, total: None
) -> Snapshot:
    """The wanted files of ``ORG/NAME[@REVISION]``, downloaded where the hub's cache lacks them.

    HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_HUB_OFFLINE and HF_TOKEN mean what they mean to the hub's own client. What
    is downloaded is compared with the hash that the hub states. Runs beside the main thread, so that an interrupt is
    answered at once and a download that stands still is given up. Raises ``caller.error`` with what to do.
    """
    name, revision = caller.split(text)
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import constants
    from huggingface_hub.utils import logging

    logging.set_verbosity_error()
    if constants.is_offline_mode():
        return _from_cache(name, revision, caller, wanted, "HF_HUB_OFFLINE is set")
    work = _Work(name, revision, caller, wanted)
    outcome = _beside(work, _STALLS * max(1, constants.HF_HUB_DOWNLOAD_TIMEOUT), progress)
    if isinstance(outcome, Snapshot):
        return outcome
    failure = explained(name, revision, outcome, caller)
    if failure.unreachable:
        # As the hub's own client does: without a connection the cached commit serves; the result records which.
        with contextlib.suppress(caller.error):
            return _from_cache(name, revision, caller, wanted, "")
    raise failure.error from outcome


class _CancelledError(Exception):
    """Stops a download between two chunks."""


class _Work:
    """One fetch, done in a thread of its own: its outcome, and how far it is."""

    def __init__(self, name: str, revision: str | None, caller: Caller, wanted: FileSelection) -> None:
        self.name, self.revision, self.caller, self._wanted = name, revision, caller, wanted
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
        info = self._info()
        commit, held = str(info.sha), {item.rfilename: item for item in info.siblings or ()}
        if not COMMIT.fullmatch(commit):  # it becomes part of paths
            raise self.caller.error(
                f"the hub states {commit[:60]!r} where the commit of {self.name} should stand",
                hint="Behind a proxy or a mirror (HF_ENDPOINT) ask who runs it.",
            )
        if not all(type(item.size) is int and item.size >= 0 for item in held.values() if item.size is not None):
            raise self.caller.error(
                f"the hub states sizes of the files of {self.name} that are none",
                hint="Behind a proxy or a mirror (HF_ENDPOINT) ask who runs it.",
            )
        files = self._wanted.first(sorted(held))
        folder, came = self._files(files, commit, held)
        parts = [file for file in self._wanted.rest(folder, sorted(held)) if file not in files]
        lacking = [file for file in parts if file not in held]
        if lacking:
            raise self.caller.error(
                f"{self.name} lacks {lacking[0][:80]}, which its own files list", hint="Name another repository."
            )
        # Told only once it is whole: a total that grows would show a finished download that goes on.
        self.total = came + sum(held[file].size or 0 for file in parts if not is_cached(self.name, file, commit))
        self._files(parts, commit, held)
        for file in self._wanted.settled(sorted(held)):
            if file not in held:
                remember_missing(self.name, commit, file)
        remember_commit(self.name, self.revision, commit)
        files += parts
        size = sum((folder / file).stat().st_size for file in files)
        return Snapshot(self.name, commit, folder, tuple(files), size, self.total)

    def _files(self, files: Sequence[str], commit: str, held: dict[str, Any]) -> tuple[Path, int]:
        """The snapshot's folder with these files, and how many bytes of them came."""
        from huggingface_hub import hf_hub_download

        came = 0
        for file in files:
            missing = not is_cached(self.name, file, commit)
            path = Path(hf_hub_download(self.name, file, revision=commit, tqdm_class=self._bar()))
            self.moved = time.monotonic()
            if missing:
                verify(path, held[file], self.caller)
                came += held[file].size or 0
        return repository_folder(self.name) / "snapshots" / commit, came

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


def _beside(work: _Work, patience: float, progress: Progress) -> Snapshot | BaseException:
    """The outcome of the work, run in a daemon thread and given up after ``patience`` seconds without a byte."""
    sweep_unfinished(work.name)
    before = unfinished(work.name)
    thread = threading.Thread(target=work.run, daemon=True, name="download")
    thread.start()
    stage = f"download {work.name}"
    try:
        while thread.is_alive():
            thread.join(0.1)
            if work.total:
                progress(stage, min(work.done, work.total), work.total)
            if time.monotonic() - work.moved > patience:
                raise work.caller.error(
                    f"the download of {work.name} stood still for {patience:.0f} seconds at {work.done:,} of "
                    f"{work.total:,} bytes",
                    hint=f"Try again, or set HF_HUB_DOWNLOAD_TIMEOUT higher. {work.caller.elsewhere(work.name)}",
                )
    finally:
        work.cancelled = True
        thread.join(0.3)
        if not isinstance(work.outcome, Snapshot):
            for path in unfinished(work.name) - before:
                with contextlib.suppress(OSError):
                    path.unlink()
    assert work.outcome is not None
    if isinstance(work.outcome, Snapshot) and work.total:
        progress(stage, work.total, work.total)
    return work.outcome


def _from_cache(name: str, revision: str | None, caller: Caller, wanted: FileSelection, why: str) -> Snapshot:
    commit = cached_commit(name, revision)
    folder = repository_folder(name) / "snapshots" / (commit or "none")
    if commit is None or not folder.is_dir():
        at = f" at {revision}" if revision else ""
        raise caller.error(f"{name}{at} is not in the cache, and {why}", hint=caller.elsewhere(name))
    held = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    try:
        files = wanted.first(held)
        files += [file for file in wanted.rest(folder, held) if file not in files]
        unknown = [f for f in wanted.settled(held) if f not in held and not is_known_missing(name, f, commit)]
        lacking = [file for file in files if file not in held] + unknown
        if lacking:
            raise caller.error(f"{lacking[0][:80]} is missing")
    except caller.error as error:
        raise caller.error(
            f"{name} is in the cache only in part, and {why}: {error.message}", hint=caller.elsewhere(name)
        ) from error
    return Snapshot(name, commit, folder, tuple(files), sum((folder / file).stat().st_size for file in files), 0)
