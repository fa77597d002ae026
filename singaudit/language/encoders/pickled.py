"""A vision-language model whose weights are pickled, as a folder of its files with safetensors in their place."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from singaudit.classifier.convert.pickled import write_safetensors
from singaudit.classifier.files.folder import inner_file, shard_names
from singaudit.classifier.files.taken import take, take_all
from singaudit.disk import PrivateFolder
from singaudit.errors import LanguageError, ModelError

SAFE = "model.safetensors"
"""As the weights are called in such a folder; both libraries know the name."""
_INDEX = ".bin.index.json"


@contextmanager
def with_safetensors(
    name: str, source: Path | PrivateFolder, needed: Callable[[Sequence[str]], list[str]]
) -> Iterator[tuple[Path | PrivateFolder, str | None]]:
    """The folder itself where its weights are safetensors; else a private copy in which they are, while it is used.

    ``needed`` picks the files of a model, its weights (or the index of their parts) last. With the copy comes the
    sha256 (hex) of the pickled weights, else None. Nothing a pickle names is imported or called. Raises LanguageError
    for the model ``name``.
    """
    folder = source.path if isinstance(source, PrivateFolder) else source
    files = needed(sorted(path.name for path in folder.iterdir()))
    if not files[-1].endswith((".bin", _INDEX)):
        yield source, None
        return
    copy, originals = PrivateFolder(), PrivateFolder()
    try:
        for file in files[:-1]:
            take(inner_file(folder, file), copy.path / file, hashlib.sha256())
        parts = shard_names(folder, files[-1]) if files[-1].endswith(_INDEX) else [files[-1]]
        taken, digest = take_all([inner_file(folder, part) for part in parts], originals.path)
        write_safetensors(taken, copy.path / SAFE)
        originals.cleanup()
        yield copy, digest
    except ModelError as error:
        raise LanguageError(
            f"the pickled weights of {name!r} cannot be read: {error.message}",
            hint="Convert the checkpoint with save_pretrained(), or name a revision with safetensors: many "
            "repositories hold one under ORG/NAME@refs/pr/N.",
        ) from error
    finally:
        copy.cleanup()
        originals.cleanup()
