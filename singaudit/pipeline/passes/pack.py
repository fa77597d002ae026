"""Embeddings of images and of the texts of an audit, packed into one file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from singaudit.cache.store import Cache, cache_folder, surroundings
from singaudit.config import AuditConfig
from singaudit.dataset.interface import ImageSource
from singaudit.dataset.labels import resolve_labels
from singaudit.dataset.sources.listing import Listing
from singaudit.dataset.sources.table import open_source
from singaudit.engine.interface import Pass, Step
from singaudit.engine.local import run_pass
from singaudit.errors import ConfigError, DatasetError
from singaudit.language.class_prompts import worded_classes
from singaudit.language.concepts import Vocabulary, all_prompts, open_vocabulary
from singaudit.language.encoders.cached import CachedEncoder
from singaudit.language.encoders.table import open_encoder
from singaudit.language.packs.pack import Pack, open_pack
from singaudit.language.packs.write import write_pack
from singaudit.machine import torch_device
from singaudit.pipeline.observe import Progress
from singaudit.pipeline.passes.recipes import EncoderModel, EncoderRecipe


def pack_images(config: AuditConfig, output: Path, with_images: bool, progress: Progress) -> tuple[Pack, Pass]:
    """Embed the images and texts of ``config`` and write the pack. Returns it, opened again, and the pass.

    What was written is what an audit will accept. Raises ``SingauditError``; then nothing is written.
    """
    if config.images is None:
        raise ConfigError("expected images to pack", hint="Add --images DIR.")
    source = open_source(config.images, config.label_column)
    if with_images and not isinstance(source, Listing):
        raise DatasetError(
            f"{source.name} has no image files to put into a pack",
            hint=f"Leave out --with-images; such a pack is used with --images {source.name}.",
        )
    if config.labels not in ("auto", "none") and config.classes is None:
        raise ConfigError("expected class names beside a label file", hint="Add --classes a,b,c, or a file of names.")
    vocabulary = open_vocabulary(config.concepts, config.vlm)
    classes = config.classes or _label_names(source, config.labels)
    groups = ((worded_classes(classes, config.class_prompts),) if classes else ()) + vocabulary.groups
    prompts = all_prompts(groups, vocabulary.concepts)
    encoder, images = _encode(config, source, progress)
    encoder.learn(prompts, lambda done, total: progress("embed the texts", done, total))
    texts = encoder.encode_texts(prompts)
    progress("write the pack", 0, 1)
    manifest = {
        **_rows(source, images, config.labels, classes),
        "encoder": {key: getattr(encoder, key) for key in ("name", "revision", "family", "embedding_dim", "precision")},
        "prompts": prompts,
        **_concepts(vocabulary),
        "versions": {"singaudit": surroundings()["singaudit"], **surroundings()["versions"]},
    }
    tensors = {
        "digests": np.array([list(bytes.fromhex(one)) for one in images.sha256], np.uint8),
        "embeddings": images.outputs["encoder"][0].astype("<f4"),
        "texts": texts.astype("<f8"),
    }
    write_pack(output, manifest, tensors, _bytes(source, images) if with_images else None)
    progress("write the pack", 1, 1)
    return open_pack(str(output)), images


def _encode(config: AuditConfig, source: ImageSource, progress: Progress) -> tuple[CachedEncoder, Pass]:
    cache, device = Cache(cache_folder(config.cache)), torch_device(config.device)
    encoder = CachedEncoder(
        config.vlm,
        device,
        cache,
        lambda exports: open_encoder(
            config.vlm, device=device, precision=config.precision, progress=progress, exports=exports
        ),
        config.precision,
    )
    recipe = EncoderRecipe(config.vlm, device, config.precision, encoder.revision, config.cache)
    step = Step(recipe, encoder.images, EncoderModel(encoder))
    done, count = 0, min(len(source), config.limit or len(source))

    def advance(n: int) -> None:
        nonlocal done
        done += n
        progress("look at the images", done, count)

    images = run_pass(source, {"encoder": step}, batch_size=config.batch_size or 16, limit=count, progress=advance)
    cache.prune()
    return encoder, images


def _label_names(source: ImageSource, labels: str) -> tuple[str, ...]:
    """The classes that the source's own labels name, where no --classes does; sorted."""
    if labels == "none" or source.labels is None:
        return ()
    names = {label for label in source.labels if label}
    # Texts beside images may be captions, which hardly occur twice: they are no classes.
    captions = source.label_kind == "beside" and 2 * len(names) > len(source.labels)
    return () if captions else tuple(sorted(names))


def _rows(source: ImageSource, images: Pass, labels: str, classes: Sequence[str]) -> dict[str, Any]:
    """What is known of the images that were packed."""
    known: Sequence[str | None] | None = source.labels if labels != "none" else None
    kind = source.label_kind
    if labels not in ("auto", "none"):
        found = resolve_labels(source, labels, classes)[0]
        known, kind = ([classes[i] for i in found] if found is not None else None), "column"
    return {
        "source": source.name,
        "names": images.names,
        "labels": [known[i] for i in images.indices] if known is not None else None,
        "label_kind": kind,
        "columns": {name: [cells[i] for i in images.indices] for name, cells in source.columns.items()},
    }


def _concepts(vocabulary: Vocabulary) -> dict[str, Any]:
    groups = [{"name": g.name, "values": list(g.values), "template": g.template} for g in vocabulary.groups]
    return {"vocabulary": vocabulary.source, "groups": groups, "concepts": list(vocabulary.concepts)}


def _bytes(source: ImageSource, images: Pass) -> Iterator[bytes]:
    assert isinstance(source, Listing)
    for index, digest in zip(images.indices, images.sha256, strict=True):
        data = source.fetch(int(index))
        if hashlib.sha256(data).hexdigest() != digest:
            raise DatasetError(f"{source.names[index]} changed while it was packed", hint="Run singaudit pack again.")
        yield data
