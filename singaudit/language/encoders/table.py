"""Vision-language models by the text a user gives: each library is one file and one line in this table.

A library's module, and the hub's, are imported when a model is opened, so that the help of a command costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module, resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from singaudit.errors import LanguageError
from singaudit.hub.caller import Caller, Progress

if TYPE_CHECKING:
    from singaudit.hub.download import Snapshot
    from singaudit.language.encoders.running.exports import Exports
    from singaudit.language.interface import Encoder

BUILTIN = "builtin:shapes"
DEFAULT = "openai/clip-vit-large-patch14"
CALLER = Caller(
    error=LanguageError,
    noun="language model",
    example="ORG/NAME or ORG/NAME@REVISION",
    folder="--vlm DIR",
    remedy="Where there is internet, run `singaudit vlm pull {name} -o DIR`, bring DIR here and pass --vlm DIR; or "
    "make a pack there (singaudit pack) and pass --pack FILE.",
)
"""Language models, to the hub."""


@dataclass(frozen=True)
class Library:
    """One library's way of keeping a CLIP or SigLIP model."""

    help: str
    """What a user may write, as --vlm's help lists it."""
    module: str
    """Where its ``open_folder``, ``repository_of``, ``needed_files`` and ``listed_weights`` are, in this folder."""
    config: str
    """The file that says that a folder is its own."""
    prefix: str = ""
    """The start of every name that means it."""

    @property
    def reader(self) -> Any:
        """Its module."""
        return import_module(f"{__package__}.{self.module}")


TRANSFORMERS = Library("ORG/NAME[@REVISION] on the hub", "transformers", "config.json")
OPEN_CLIP = Library("open_clip:NAME/PRETRAINED or /FILE", "open_clip", "open_clip_config.json", prefix="open_clip:")
LIBRARIES = (TRANSFORMERS, OPEN_CLIP)
"""In the order in which a folder is tried, and help lists them."""


def encoder_help() -> str:
    """What --vlm takes."""
    return f"CLIP, SigLIP or kin: {', '.join(line.help for line in LIBRARIES)}, a folder of either, or {BUILTIN}."


def open_encoder(
    name: str,
    *,
    device: str = "cpu",
    precision: str = "fp32",
    progress: Progress = lambda stage, done, total: None,
    exports: Exports | None = None,
) -> Encoder:
    """Open a two-tower model: ``builtin:shapes``, a folder, ``ORG/NAME[@REVISION]`` or ``open_clip:...``.

    Weights are safetensors, or a pickle of which the tensors alone are read; remote code is never run, and a checkpoint
    that lacks part of the weights is refused instead of being filled with random ones. Both towers compute in
    ``precision``, fp32 or bf16; embeddings are float32 either way. ``progress`` is told the bytes of a download. With
    ``exports``, those of this checkpoint, the towers run through ONNX Runtime on a CPU where that computes the same.
    Raises ``LanguageError``.
    """
    if device.partition(":")[0] != "cpu" or precision != "fp32":
        exports = None
    from singaudit.language.encoders.open_clip_file import local_file, open_file
    from singaudit.language.encoders.pickled import with_safetensors

    library, folder, revision = _library_of(name), Path(name).expanduser(), None
    opened: Encoder
    if name == BUILTIN:
        opened = library.reader.open_folder(name, builtin_folder(), None, device, precision, exports)
        return opened
    if library is TRANSFORMERS and folder.is_dir():
        library = next((line for line in LIBRARIES if (folder / line.config).is_file()), TRANSFORMERS)
    elif (file := local_file(name)) is not None:
        return open_file(name, *file, device, precision, exports)
    else:
        found = fetch_encoder(name, progress)
        folder, revision = found.folder, found.revision
    with with_safetensors(name, folder, library.reader.needed_files) as (readable, digest):
        opened = library.reader.open_folder(name, readable, revision or digest, device, precision, exports)
    return opened


def _library_of(name: str) -> Library:
    return next((line for line in LIBRARIES if line.prefix and name.startswith(line.prefix)), TRANSFORMERS)


def fetch_encoder(name: str, progress: Progress = lambda stage, done, total: None) -> Snapshot:
    """The files of a model of the hub, downloaded where the hub's cache lacks them. Raises ``LanguageError``."""
    from singaudit.hub.download import FileSelection, fetch

    if name.startswith("builtin:"):
        raise LanguageError(
            f"{BUILTIN} is the one built-in model and needs no download, got {name!r}", hint=f"Pass --vlm {BUILTIN}."
        )
    reader = _library_of(name).reader
    wanted = FileSelection(reader.needed_files, reader.listed_weights)
    return fetch(reader.repository_of(name), CALLER, wanted, progress)


def builtin_folder() -> Path:
    """The built-in model, in the hub's format."""
    return Path(str(resources.files("singaudit") / "demo" / "models" / "clip-shapes"))
