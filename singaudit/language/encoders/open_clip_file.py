"""Weights of somebody's own in an architecture of open_clip's: ``open_clip:NAME/FILE``."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from singaudit.classifier.files.taken import take
from singaudit.disk import PrivateFolder
from singaudit.errors import LanguageError, ModelError
from singaudit.language.encoders.open_clip import (
    CONFIG,
    HUB,
    PREFIX,
    OpenClipEncoder,
    library,
    needed_files,
    open_folder,
)
from singaudit.language.encoders.pickled import SAFE, with_safetensors
from singaudit.language.encoders.running.exports import Exports


def local_file(name: str) -> tuple[str, Path] | None:
    """(architecture, weights) of ``open_clip:NAME/FILE``, a file on this machine; None for other names."""
    model, slash, rest = name.removeprefix(PREFIX).partition("/")
    if not slash or not name.startswith(PREFIX) or name.startswith(PREFIX + HUB):
        return None
    path = Path(rest).expanduser()
    return (model, path) if path.is_file() and model in library().list_models() else None


def open_file(
    name: str, model: str, weights: Path, device: str, precision: str = "fp32", exports: Exports | None = None
) -> OpenClipEncoder:
    """Weights of somebody's own in an architecture that open_clip registers, as RemoteCLIP's are published.

    Preprocessing and tokenizer are the library's for that architecture. Raises ``LanguageError``.
    """
    folder = PrivateFolder()
    try:
        config = {"model_cfg": library().get_model_config(model), "preprocess_cfg": {}}
        (folder.path / CONFIG).write_text(json.dumps(config), encoding="utf-8")
        called = SAFE if weights.suffix == ".safetensors" else "pytorch_model.bin"
        take(weights, folder.path / called, hashlib.sha256())
        with with_safetensors(name, folder, needed_files) as (readable, digest):
            return open_folder(name, readable, digest, device, precision, exports)
    except ModelError as error:
        raise LanguageError(error.message, hint=error.hint) from error
    except (OSError, ValueError) as error:
        raise LanguageError(
            f"cannot read {weights}: {error}", hint="Check the file, and the room on the disk."
        ) from error
    finally:
        folder.cleanup()
