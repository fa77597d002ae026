"""A new model file that is checked where it will stand, and appears whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from singaudit.disk import FULL, folder_aside, sync_folder
from singaudit.errors import ConfigError, MachineError
from singaudit.repair.process import NewModel


def check_output(output: str | Path, classifier_path: Path | None = None) -> Path:
    """The path a new model may be written to. Raises ``ConfigError`` for one that exists, or that cannot."""
    path = Path(output)
    if path.suffix.lower() != ".onnx":
        raise ConfigError(
            f"expected a new file that ends in .onnx, got {str(output)[:200]!r}", hint="Pass -o new.onnx."
        )
    if classifier_path is not None and path.resolve() == classifier_path.resolve():
        raise ConfigError("expected another name for the new file than the model's own", hint="Pass -o new.onnx.")
    if not path.parent.is_dir():
        raise ConfigError(
            f"expected an existing folder for the new file, there is no {path.parent}", hint="Make it first."
        )
    for item in (path, *beside(path).values()):
        _check_free(item)
    return path


def _check_free(path: Path) -> None:
    if path.is_symlink() or path.exists():
        raise ConfigError(
            f"{path} exists already; a model and what stands beside it never take a file's place",
            hint="Remove it, or name another with -o.",
        )


def beside(path: Path) -> dict[str, Path]:
    """The page and the JSON that stand beside a new model file."""
    return {kind: path.with_name(f"{path.stem}.{kind}") for kind in ("html", "json")}


@contextmanager
def staged(model: NewModel, output: Path) -> Iterator[Path]:
    """The new model's file in a folder of its own beside ``output``, which is gone at the end."""
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(folder_aside(output.parent))
        except OSError as error:
            raise ConfigError(
                f"the folder {output.parent} cannot be written: {error.strerror}", hint="Choose another with -o."
            ) from error
        path = folder / output.name
        try:
            path.write_bytes(model.data)
            for name, source in model.beside.items():
                shutil.copyfile(source, folder / name)
            for item in folder.iterdir():
                _sync(item)
        except OSError as error:
            if error.errno in FULL:
                raise MachineError(
                    f"the new model could not be written to {output.parent}: {error.strerror}; nothing was left there"
                ) from error
            raise
        yield path


def publish(path: Path, output: Path, pages: Mapping[str, bytes]) -> None:
    """Move a staged model into place with its external data and ``pages`` (name: content), the model itself last.

    Raises ConfigError where one of them would take the place of a file, with nothing moved.
    """
    try:
        for name, content in pages.items():
            (path.parent / name).write_bytes(content)
            _sync(path.parent / name)
        for item in path.parent.iterdir():
            _check_free(output.parent / item.name)
        for item in sorted(path.parent.iterdir(), key=lambda item: (item == path, item.name)):
            os.replace(item, output.parent / item.name)
        sync_folder(output.parent)
    except OSError as error:
        if error.errno in FULL:
            raise MachineError(f"the new model could not be written to {output.parent}: {error.strerror}") from error
        raise


def size_of(path: Path, external: Iterable[Path]) -> int:
    """Bytes of a model file and of its external data."""
    return sum(item.stat().st_size for item in (path, *external))


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
