"""Open a vision-language model by the text a user gives: built in, a folder, open_clip's, or a name on the hub."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from singaudit.errors import LanguageError
from singaudit.hub.caller import Caller, Progress
from singaudit.hub.download import FileSelection, Snapshot, fetch
from singaudit.language.encoders import open_clip as open_clip_encoder
from singaudit.language.encoders import transformers as transformers_encoder
from singaudit.language.encoders.exports import Exports
from singaudit.language.encoders.open_clip_file import local_file, open_file
from singaudit.language.encoders.pickled import with_safetensors
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
    if name == BUILTIN:
        return transformers_encoder.open_folder(name, builtin_folder(), None, device, precision, exports)
    folder = Path(name).expanduser()
    if not name.startswith(open_clip_encoder.PREFIX) and folder.is_dir():
        theirs = (folder / open_clip_encoder.CONFIG).is_file() and not (folder / "config.json").is_file()
        library, revision = open_clip_encoder if theirs else transformers_encoder, None
    elif (file := local_file(name)) is not None:
        return open_file(name, *file, device, precision, exports)
    else:
        snapshot = fetch_encoder(name, progress)
        library = open_clip_encoder if name.startswith(open_clip_encoder.PREFIX) else transformers_encoder
        folder, revision = snapshot.folder, snapshot.revision
    with with_safetensors(name, folder, library.needed_files) as (readable, digest):
        return library.open_folder(name, readable, revision or digest, device, precision, exports)


def fetch_encoder(name: str, progress: Progress = lambda stage, done, total: None) -> Snapshot:
    """The files of a model of the hub, downloaded where the hub's cache lacks them. Raises ``LanguageError``."""
    if name.startswith(open_clip_encoder.PREFIX):
        wanted = FileSelection(open_clip_encoder.needed_files)
        return fetch(open_clip_encoder.repository_of(name), CALLER, wanted, progress)
    if name.startswith("builtin:"):
        raise LanguageError(
            f"{BUILTIN} is the one built-in model and needs no download, got {name!r}", hint=f"Pass --vlm {BUILTIN}."
        )
    return fetch(
        name, CALLER, FileSelection(transformers_encoder.needed_files, transformers_encoder.listed_weights), progress
    )


def builtin_folder() -> Path:
    """The built-in model, in the hub's format."""
    return Path(str(resources.files("singaudit") / "demo" / "models" / "clip-shapes"))
