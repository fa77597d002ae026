"""``singaudit vlm``: fetch a vision-language model beforehand, and say which are here."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from singaudit.cli.terminal import Reporter, console, safe
from singaudit.disk import folder_aside
from singaudit.errors import LanguageError, MachineError
from singaudit.hub.download import Snapshot
from singaudit.language.encoders.local import cached_models
from singaudit.language.encoders.table import DEFAULT, fetch_encoder


def pull(settings: dict[str, Any]) -> dict[str, Any]:
    """Download just the files that are needed; with an output folder, copy them there as plain files.

    Returns name, revision, folder, size and downloaded bytes. Raises ``LanguageError``.
    """
    name = settings.get("name") or DEFAULT
    folder = Path(settings["output"]) if settings.get("output") else None
    if folder is not None:
        _check_folder(folder)
    with Reporter("none" if settings.get("quiet") else settings["progress"]) as reporter:
        found = fetch_encoder(name, reporter)
    if folder is not None:
        _copy(found, folder)
    return {
        "name": found.name,
        "revision": found.revision,
        "folder": str(folder or found.folder),
        "bytes": found.size,
        "downloaded_bytes": found.downloaded,
        "files": list(found.files),
    }


def show_pull(facts: dict[str, Any]) -> None:
    """Print what ``pull`` found for people."""
    out = console(sys.stdout)
    came = f"{facts['downloaded_bytes'] / 1e6:,.1f} MB downloaded" if facts["downloaded_bytes"] else "all in the cache"
    out.print(f"{safe(facts['name'])} at {facts['revision']}: {facts['bytes'] / 1e6:,.1f} MB, {came}")
    out.print(f"  in {safe(facts['folder'], 1000)}")


def here() -> dict[str, Any]:
    """The vision-language models in the hub's cache."""
    return {"models": [{"name": n, "revision": r, "bytes": size} for n, r, size in cached_models()]}


def show_here(facts: dict[str, Any]) -> None:
    """Print what ``here`` found for people."""
    out = console(sys.stdout)
    for model in facts["models"]:
        out.print(f"{safe(model['name'])}@{model['revision']}  {model['bytes'] / 1e6:,.1f} MB")
    if not facts["models"]:
        out.print(f"no vision-language model is in the cache; singaudit vlm pull {DEFAULT} fetches the default one")


def _check_folder(folder: Path) -> None:
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise LanguageError(f"expected a new or empty folder, {folder} is none", hint="Choose another folder with -o.")


def _copy(found: Snapshot, folder: Path) -> None:
    """The files by content, aside first: the folder appears whole or not at all."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with folder_aside(folder.parent) as aside:
            for file in found.files:
                shutil.copyfile(found.folder / file, aside / file)
            aside.chmod(0o755)
            with contextlib.suppress(FileNotFoundError):
                folder.rmdir()
            os.rename(aside, folder)
    except OSError as error:
        raise MachineError(
            f"the model could not be copied to {folder}: {error.strerror}", hint="Free space, or choose another folder."
        ) from error
