"""singaudit pack: embeddings of images and texts into one file, so that an audit needs no language model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from singaudit.cli.commands.run import config_from
from singaudit.cli.terminal import Reporter
from singaudit.errors import DatasetError
from singaudit.language.packs.file import looks_like_pack
from singaudit.pipeline.passes.pack import pack_images


def make_pack(settings: dict[str, Any]) -> dict[str, Any]:
    """Write the pack and return facts about it. Raises ``SingauditError``; then nothing is written."""
    # A pack is of no model: its audit settings are those that concern images and language.
    config = config_from({**settings, "model": "none", "pack": None})
    output = Path(settings["pack_file"])
    check_pack_path(output, bool(settings.get("force")))
    with Reporter("none" if settings.get("quiet") else settings["progress"]) as reporter:
        made, images = pack_images(config, output, bool(settings.get("with_images")), reporter)
    return {
        "pack": str(output),
        "sha256": made.file.sha256,
        "bytes": output.stat().st_size,
        "images": len(made),
        "with_images": made.has_images,
        "texts": len(made.manifest.prompts),
        "encoder": made.manifest.encoder.model_dump(mode="json"),
        "left_out": [{"name": s.name, "reason": s.reason} for s in images.skipped],
        "duplicates": images.duplicates,
    }


def check_pack_path(path: Path, force: bool) -> None:
    """Refuse a place that a pack must not be written to; call it before any work. Raises ``DatasetError``."""
    hint = "Choose another file with -o, or --force."
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK):
        raise DatasetError(f"cannot write {path}: {path.parent} is not a writable folder", hint=hint)
    if path.is_dir() or (path.exists() and not path.is_file()):
        raise DatasetError(f"expected a file to write, but {path} is a folder or a device", hint=hint)
    if (path.exists() or path.is_symlink()) and not looks_like_pack(path) and not force:
        raise DatasetError(f"{path} is not a pack that was made earlier; nothing was written", hint=hint)


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
