"""Vision-language models in the hub client's cache on this machine."""

from __future__ import annotations

import json
from pathlib import Path

from singaudit.language.encoders.transformers import FAMILIES


def cached_models() -> list[tuple[str, str, int]]:
    """(name, commit, bytes) of every snapshot in the hub's cache that looks like a vision-language model, by name."""
    from huggingface_hub import constants

    found = []
    for config in sorted(Path(constants.HF_HUB_CACHE).glob("models--*/snapshots/*/*config.json")):
        folder = config.parent
        try:
            plain = config.is_file() and config.stat().st_size < 2**20
            document = json.loads(config.read_text(encoding="utf-8")) if plain else {}
        except (OSError, ValueError, RecursionError):
            continue
        kind = isinstance(document, dict) and (document.get("model_type") or ("model_cfg" in document and "open_clip"))
        if kind not in (*FAMILIES, "open_clip"):
            continue
        weights = [p.stat().st_size for end in ("safetensors", "bin") for p in folder.glob(f"*.{end}") if p.is_file()]
        if weights:
            name = folder.parent.parent.name.removeprefix("models--").replace("--", "/")
            found.append((f"open_clip:hf-hub:{name}" if kind == "open_clip" else name, folder.name, sum(weights)))
    return found
