"""singaudit pack: embeddings of images and texts into one file, so that an audit needs no language model."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from singaudit.cache.store import Cache, cache_folder, surroundings
from singaudit.cli.commands.run import config_from
from singaudit.cli.terminal import Reporter
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
from singaudit.language.packs.file import looks_like_pack, write_pack
from singaudit.language.packs.pack import open_pack
from singaudit.machine import torch_device
from singaudit.pipeline.passes.recipes import EncoderModel, EncoderRecipe


def make_pack(settings: dict[str, Any]) -> dict[str, Any]:
    """Write the pack and return facts about it. Raises ``SingauditError``; then nothing is written."""
    # A pack is of no model: its audit settings are those that concern images and language.
    config = config_from({**settings, "model": "none", "pack": None})
    output, with_images = Path(settings["pack_file"]), bool(settings.get("with_images"))
    if config.images is None:
        raise ConfigError("expected images to pack", hint="add --images DIR")
    check_pack_path(output, bool(settings.get("force")))
    source = open_source(config.images, config.label_column)
    if with_images and not isinstance(source, Listing):
        raise DatasetError(
            f"{source.name} has no image files to put into a pack",
            hint=f"leave out --with-images; such a pack is used with --images {source.name}",
        )
    if config.labels not in ("auto", "none") and config.classes is None:
        raise ConfigError("expected class names beside a label file", hint="add --classes a,b,c, or a file of names")
    vocabulary = open_vocabulary(config.concepts, config.vlm)
    classes = config.classes or _label_names(source, config.labels)
    groups = ((worded_classes(classes, config.class_prompts),) if classes else ()) + vocabulary.groups
    prompts = all_prompts(groups, vocabulary.concepts)
    with Reporter("none" if settings.get("quiet") else settings["progress"]) as reporter:
        encoder, images = _encode(config, source, reporter)
        encoder.learn(prompts, lambda done, total: reporter("embed the texts", done, total))
        texts = encoder.encode_texts(prompts)
        reporter("write the pack", 0, 1)
        manifest = {
            **_rows(source, images, config.labels, classes),
            "encoder": {
                key: getattr(encoder, key) for key in ("name", "revision", "family", "embedding_dim", "precision")
            },
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
        reporter("write the pack", 1, 1)
    made = open_pack(str(output))  # what was written is what an audit will accept
    return {
        "pack": str(output), "sha256": made.file.sha256, "bytes": output.stat().st_size, "images": len(made),
        "with_images": made.has_images, "texts": len(prompts), "encoder": manifest["encoder"],
        "left_out": [{"name": s.name, "reason": s.reason} for s in images.skipped], "duplicates": images.duplicates,
    }  # fmt: skip


def check_pack_path(path: Path, force: bool) -> None:
    """Refuse a place that a pack must not be written to; call it before any work. Raises ``DatasetError``."""
    hint = "choose another file with -o, or --force"
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK):
        raise DatasetError(f"cannot write {path}: {path.parent} is not a writable folder", hint=hint)
    if path.is_dir() or (path.exists() and not path.is_file()):
        raise DatasetError(f"expected a file to write, but {path} is a folder or a device", hint=hint)
    if (path.exists() or path.is_symlink()) and not looks_like_pack(path) and not force:
        raise DatasetError(f"{path} is not a pack that was made earlier; nothing was written", hint=hint)


def _encode(config: AuditConfig, source: ImageSource, reporter: Reporter) -> tuple[CachedEncoder, Pass]:
    cache, device = Cache(cache_folder(config.cache)), torch_device(config.device)
    encoder = CachedEncoder(
        config.vlm, device, cache,
        lambda exports: open_encoder(
            config.vlm, device=device, precision=config.precision, progress=reporter, exports=exports
        ),
        config.precision,
    )  # fmt: skip
    recipe = EncoderRecipe(config.vlm, device, config.precision, encoder.revision, config.cache)
    step = Step(recipe, encoder.images, EncoderModel(encoder))
    done, count = 0, min(len(source), config.limit or len(source))

    def advance(n: int) -> None:
        nonlocal done
        done += n
        reporter("look at the images", done, count)

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
            raise DatasetError(f"{source.names[index]} changed while it was packed", hint="run singaudit pack again")
        yield data


def show_pack(facts: dict[str, Any]) -> None:
    """Print the facts of ``make_pack`` for people."""
    from singaudit.cli.terminal import safe

    inside = "with the images" if facts["with_images"] else "without the images"
    print(
        f"{safe(facts['pack'], 4096)}: {facts['images']} images and {facts['texts']} texts, {inside}, "
        f"{facts['bytes'] / 2**20:.1f} MiB, sha256 {facts['sha256']}"
    )
    if facts["left_out"]:
        first = facts["left_out"][0]
        print(f"  {len(facts['left_out'])} were left out; the first: {safe(first['name'])} {safe(first['reason'])}")
