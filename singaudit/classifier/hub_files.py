"""Files of the model hub and of torch's own server, fetched into the caches that their other users share."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from singaudit.errors import MachineError, ModelError

_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
_REVISION = re.compile(r"[\w./-]+")
_HASH = re.compile(r"-([a-f0-9]{8,})\.")


@dataclass(frozen=True)
class Repository:
    """A repository of the hub at one commit."""

    name: str
    """ORG/NAME."""
    revision: str
    """Commit that every file is of; empty where it was not resolved yet, a branch or tag where the user named one."""

    def fetch(self, names: Sequence[str]) -> tuple[Path, Repository] | None:
        """The first of these files that the repository has, and the repository at the commit it came from.

        None where it has none of them. Raises ModelError where the hub cannot be reached or has no such repository.
        """
        for name in names:
            found = self._one(name)
            if found is not None:
                return found, Repository(self.name, _commit(found))
        return None

    def _one(self, name: str) -> Path | None:
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        try:
            with _quiet():
                return Path(hf_hub_download(self.name, name, revision=self.revision or None))
        except LocalEntryNotFoundError as error:
            if _known_missing(self, name):
                return None
            raise self._unreachable(name, error) from error
        except EntryNotFoundError:
            return None
        except OSError as error:
            if error.errno is not None and not type(error).__module__.startswith(("huggingface", "httpx", "requests")):
                raise MachineError(
                    f"{name} of {self.name} could not be stored: {error}", hint="Free space, or set HF_HOME."
                ) from error
            raise self._unreachable(name, error) from error
        except Exception as error:  # the hub client and what it stands on raise many kinds
            raise self._unreachable(name, error) from error

    def _unreachable(self, name: str, error: Exception) -> ModelError:
        text = " ".join(str(error).split())
        offline = os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0")
        reason = "it is not in the cache and HF_HUB_OFFLINE is set" if offline else text[:240] or type(error).__name__
        return ModelError(
            f"{name} of {self.name} could not be had from the hub: {reason}",
            hint="Check the name and the connection; private and gated repositories need a token (HF_TOKEN). Without "
            "internet give a folder with config.json and model.safetensors.",
        )


def repository(text: str) -> Repository:
    """From ORG/NAME or ORG/NAME@REVISION. Raises ModelError."""
    name, _, revision = text.partition("@")
    if not _NAME.fullmatch(name) or ".." in name or (revision and not _REVISION.fullmatch(revision)):
        raise ModelError(
            f"expected a repository of the hub such as ORG/NAME or ORG/NAME@REVISION, got {text[:100]!r}",
            hint="Copy the name from the model's page.",
        )
    return Repository(name, revision)


def _commit(path: Path) -> str:
    """The commit in a cached file's path: ``snapshots/COMMIT/NAME``."""
    return path.parent.name


def _known_missing(repo: Repository, name: str) -> bool:
    """Whether the cache remembers that the repository has no such file."""
    from huggingface_hub import _CACHED_NO_EXIST, try_to_load_from_cache

    return try_to_load_from_cache(repo.name, name, revision=repo.revision or None) is _CACHED_NO_EXIST


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Progress bars of the hub's client on a terminal only, and no log: what fails is said in one message."""
    import sys

    from huggingface_hub.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
        logging,
    )

    logging.set_verbosity(logging.CRITICAL)
    if sys.stderr.isatty() or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def from_url(url: str) -> Path:
    """A file of torch's server in torch's cache (TORCH_HOME), fetched once; its name carries the start of its hash.

    Raises ModelError where it cannot be had, or where its content is not what its name says.
    """
    import torch

    name = url.rsplit("/", 1)[-1]
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    prefix = _HASH.search(name)
    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.redirect_stdout(io.StringIO()):
                torch.hub.download_url_to_file(url, str(path), prefix and prefix.group(1), progress=False)
        except Exception as error:
            if isinstance(error, OSError) and error.errno is not None and not hasattr(error, "reason"):
                raise MachineError(
                    f"{name} could not be stored: {error}", hint="Free space, or set TORCH_HOME."
                ) from error
            raise ModelError(
                f"the weights {name} could not be had from {url}: {str(error)[:200]}",
                hint=f"Check the connection; without internet put the file into {path.parent}.",
            ) from error
    if prefix is not None and not _sha256(path).startswith(prefix.group(1)):
        raise ModelError(
            f"{path} is damaged: its sha256 does not start with {prefix.group(1)}, as its name says",
            hint="Delete it, and it is fetched again.",
        )
    return path


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def plain(document: Any) -> Any:
    """JSON without what it cannot hold: tuples as lists, anything odd as its text."""
    if isinstance(document, dict):
        return {str(key): plain(value) for key, value in document.items()}
    if isinstance(document, list | tuple):
        return [plain(value) for value in document]
    return document if isinstance(document, str | int | float | bool | type(None)) else str(document)
