"""Packs: images' and texts' embeddings made earlier, so that an audit needs no vision-language model."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from singaudit.dataset.decode import UndecodableError
from singaudit.dataset.interface import LabelKind
from singaudit.dataset.sources.listing import Listing
from singaudit.errors import DatasetError, LanguageError
from singaudit.language.concepts import Group, Vocabulary, check_vocabulary
from singaudit.language.packs.file import PackFile, read_pack

_UNIT = 1e-3
"""How far an embedding's length may be from 1."""
_BLOCK = 2**16
_Text = Annotated[str, Field(max_length=65_536)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class PackedModel(_Part):
    """The vision-language model that made the embeddings."""

    name: _Text
    revision: _Text
    family: _Text
    embedding_dim: Annotated[int, Field(ge=1, le=65536)]
    precision: Literal["fp32", "bf16"] = "fp32"


class PackedGroup(_Part):
    """A concept group as it was when the pack was made."""

    name: _Text
    values: list[_Text]
    template: _Text


class Manifest(_Part):
    """What a pack says of its rows."""

    encoder: PackedModel
    source: _Text
    names: list[_Text]
    labels: list[_Text | None] | None
    label_kind: LabelKind
    columns: dict[_Text, list[_Text]]
    prompts: list[Annotated[str, Field(max_length=65536)]]
    vocabulary: _Text
    groups: list[PackedGroup]
    concepts: list[_Text]
    versions: dict[_Text, _Text]


@dataclass(frozen=True)
class Pack:
    """An opened pack, checked."""

    file: PackFile
    """Where it comes from."""
    manifest: Manifest
    """What it says of its rows."""

    def __len__(self) -> int:
        return len(self.manifest.names)

    @property
    def has_images(self) -> bool:
        """True when the images themselves are inside."""
        return self.file.images is not None

    @property
    def vocabulary(self) -> Vocabulary:
        """The concepts it was made with."""
        m = self.manifest
        groups = tuple(Group(g.name, tuple(g.values), g.template) for g in m.groups)
        return Vocabulary(m.vocabulary, groups, tuple(m.concepts))

    def source(self) -> Listing:
        """Its own images as an image source. Raises ``DatasetError`` when they are not inside."""
        images, offsets = self.file.images, self.file.tensors.get("offsets")
        if images is None or offsets is None:
            raise DatasetError(
                f"the pack {self.file.name} holds embeddings of {len(self)} images, not the images themselves",
                hint="Add --images with the images that were packed, or pack them with --with-images",
            )

        def fetch(index: int) -> bytes:
            try:
                data = images.read(int(offsets[index]), int(offsets[index + 1]))
            except OSError as error:
                raise UndecodableError(f"cannot be read: {error.strerror}") from error
            if hashlib.sha256(data).digest() != self.file.tensors["digests"][index].tobytes():
                raise UndecodableError("is not the image that was packed")
            return data

        m = self.manifest
        labels = tuple(m.labels) if m.labels is not None else None
        return Listing(f"{self.file.name}: {m.source}", m.names, fetch, labels, m.label_kind, m.columns)


def open_pack(path: str) -> Pack:
    """Read and check the pack at ``path``. Raises ``DatasetError`` with one message for anything that is not sound."""
    file = read_pack(Path(path))
    try:
        manifest = Manifest.model_validate(file.manifest)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part)[:40] for part in first["loc"])
        raise _wrong(file, f"{where}: {first['msg'][:200]}") from error
    _check_counts(file, manifest)
    opened = Pack(file, manifest)
    try:
        check_vocabulary(opened.vocabulary)
    except LanguageError as error:
        raise _wrong(file, error.message) from error
    for name in ("embeddings", "texts"):
        _check_rows(file, name)
    return opened


def _check_counts(file: PackFile, m: Manifest) -> None:
    tensors, n = file.tensors, len(m.names)
    dim = m.encoder.embedding_dim
    expected: dict[str, tuple[int, ...]] = {"digests": (n, 32), "embeddings": (n, dim), "texts": (len(m.prompts), dim)}
    if file.images is not None:
        expected["offsets"] = (n + 1,)
    for name, shape in expected.items():
        if tensors[name].shape != shape:
            raise _wrong(file, f"expected {name} of shape {shape}, found {tensors[name].shape}")
    columns: list[Any] = [*m.columns.values(), *([m.labels] if m.labels is not None else [])]
    if n == 0 or any(len(column) != n for column in columns):
        raise _wrong(file, f"labels or columns do not fit its {n} images")
    if len(set(m.prompts)) != len(m.prompts) or len(np.unique(tensors["digests"], axis=0)) != n:
        raise _wrong(file, "an image or text occurs twice")
    if file.images is not None:
        steps = np.diff(tensors["offsets"])
        if tensors["offsets"][0] != 0 or (steps < 0).any() or tensors["offsets"][-1] != len(file.images):
            raise _wrong(file, "its images do not lie one after the other")


def _check_rows(file: PackFile, name: str) -> None:
    for start in range(0, len(file.tensors[name]), _BLOCK):
        rows = np.asarray(file.tensors[name][start : start + _BLOCK], np.float64)
        # The negated form catches what is no number as well.
        if not (np.abs(np.linalg.norm(rows, axis=1) - 1) <= _UNIT).all():
            raise _wrong(file, f"its {name} are not vectors of length 1")


def _wrong(file: PackFile, what: str) -> DatasetError:
    return DatasetError(f"the pack {file.name} is not sound: {what}", hint="Pack the images again with singaudit pack")
