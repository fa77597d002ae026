"""singaudit translator: fitted once and kept, imported from the paper's folders, shown."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from singaudit.cli.commands.run import config_from
from singaudit.cli.terminal import Reporter, safe
from singaudit.errors import ConfigError
from singaudit.language.translators.file import StoredTranslator, read_translator, to_bytes
from singaudit.language.translators.published import import_published
from singaudit.pipeline.passes.translator import fit_translator
from singaudit.report.formats.atomic import write_files


def fit_file(settings: dict[str, Any]) -> dict[str, Any]:
    """Fit a translator on ``--images`` and keep it. Raises ``SingauditError``; nothing half-written is left."""
    config = config_from(settings)
    if config.images is None:
        raise ConfigError("expected images to fit the translator on", hint="Add --images DIR.")
    output = _writable(settings)
    with Reporter("none" if settings.get("quiet") else settings["progress"]) as progress:
        stored = fit_translator(config, progress)
    return _write(stored, output)


def import_folder(settings: dict[str, Any]) -> dict[str, Any]:
    """Take a translator of the paper from its published folder."""
    output = _writable(settings)
    return _write(import_published(Path(settings["folder"])), output)


def show_file(settings: dict[str, Any]) -> dict[str, Any]:
    """What a translator file says of itself."""
    return _facts(read_translator(Path(settings["file"])))


def _writable(settings: dict[str, Any]) -> Path:
    """The file to write, checked before any work: an earlier translator may be replaced, nothing else."""
    output = Path(settings["translator_file"])
    folder = output.absolute().parent
    if (output.exists() and not output.is_file()) or not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"expected a file to write the translator to, got {output}", hint="Name it: -o t.safetensors")
    if output.is_symlink() and not settings.get("force"):
        raise ConfigError(f"{output} is a link; nothing was written", hint="Choose another with -o, or --force.")
    if output.exists() and not settings.get("force"):
        try:
            read_translator(output)
        except Exception as error:
            raise ConfigError(
                f"{output} exists and is no translator; nothing was written", hint="Choose another with -o, or --force."
            ) from error
    return output


def _write(stored: StoredTranslator, output: Path) -> dict[str, Any]:
    write_files(output.absolute().parent, {output.name: to_bytes(stored)})
    return {"file": str(output), **_facts(stored)}


def _facts(stored: StoredTranslator) -> dict[str, Any]:
    return {**stored.facts.model_dump(mode="json"), "halves": stored.halves is not None}


def describe(facts: dict[str, Any]) -> None:
    """Print a translator's facts for a person."""
    if "file" in facts:
        print(f"Written: {safe(facts['file'])}")
    unknown = "not stated"
    rows = {
        "origin": "fitted by singaudit" if facts["origin"] == "fit" else "published, imported",
        "model": f"{safe(facts['model_name'])}, sha256 {(facts['model_sha256'] or unknown)[:12]}",
        "encoder": f"{safe(facts['encoder_name'])}, revision {(facts['encoder_revision'] or unknown)[:12]}",
        "maps": f"{facts['feature_dim']} features to {facts['embedding_dim']} numbers",
        "images": f"{facts['images']:,}" + ("" if facts["images_digest"] else " (as the paper says)"),
    }
    for label, key in (("R2, held out", "r2"), ("cosine", "cosine"), ("cosine, shuffled", "cosine_shuffled")):
        m = facts[key]
        rows[label] = (
            "not measured" if m is None else f"{m['value']:.3f} [{m['low']:.3f}, {m['high']:.3f}], n = {m['n']:,}"
        )
    for label, text in rows.items():
        print(f"  {label + ':':<18}{text}")
