"""Private copies: what is hashed is what is read and run, whatever the files' names lead to a moment later."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from singaudit.disk import FULL, open_plain
from singaudit.errors import MachineError, ModelError

_BLOCK = 2**20


def take(source: Path, target: Path, digest: Any) -> None:
    """Copy a file, opened once, to ``target`` and its bytes into ``digest``.

    Raises ModelError where it cannot be read, MachineError where the copy does not fit on the disk.
    """
    try:
        with open_plain(source) as file:
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as copy:
                while block := file.read(_BLOCK):
                    digest.update(block)
                    copy.write(block)
    except OSError as error:
        if error.errno in FULL:
            raise MachineError(
                f"there is no room for a copy of {source.name} in {target.parent}: {error.strerror}",
                hint="Free space on that disk, or set TMPDIR to a folder with more.",
            ) from error
        raise ModelError(f"cannot read {source}: {error.strerror or error}", hint="Check the file.") from error
    except ValueError as error:
        raise ModelError(f"cannot read {source}: {error}", hint="Give the file itself.") from error


def take_all(sources: Sequence[Path], folder: Path) -> tuple[list[Path], str]:
    """Copies of the files, in their order, and the sha256 (hex) over all of their bytes. Raises as ``take``."""
    digest = hashlib.sha256()
    copies = []
    for number, source in enumerate(sources):
        target = folder / source.name
        if target in copies:  # of another folder
            target = folder / str(number) / source.name
        take(source, target, digest)
        copies.append(target)
    return copies, digest.hexdigest()
