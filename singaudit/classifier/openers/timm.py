"""``timm:NAME``: an architecture of timm with the pretrained weights that timm registers for it."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from singaudit.classifier.convert.process import Original, converted
from singaudit.classifier.interface import Classifier
from singaudit.classifier.openers.hub import CALLER, pinned
from singaudit.classifier.options import ModelOptions
from singaudit.errors import ConfigError, ModelError
from singaudit.hub.caller import Progress
from singaudit.hub.download import FileSelection, fetch
from singaudit.hub.web_file import from_url
from singaudit.torchvision_import import import_timm


def open_timm(name: str, options: ModelOptions, progress: Progress) -> Classifier:
    """The pretrained classifier that timm calls ``name`` (with or without a tag). Raises ModelError."""
    if options.arch is not None:
        raise ConfigError("--arch is for files that hold weights alone; timm:NAME names its architecture itself")
    config = _registered(name)
    if config is None:
        raise ModelError(f"timm has no model named {name[:100]!r}", hint=_near(name))
    filename = config.hf_hub_filename
    facts = {}
    if config.hf_hub_id:
        names = [filename] if filename else ["model.safetensors", "pytorch_model.bin"]
        if filename and filename.endswith(".bin"):
            names.insert(0, filename.removesuffix(".bin") + ".safetensors")
        found = fetch(config.hf_hub_id, CALLER, FileSelection(lambda held: _first_of(names, held)), progress)
        path, facts = found.folder / found.files[0], pinned(found)
    elif isinstance(config.url, str) and config.url:
        path = from_url(config.url, CALLER, progress)
    else:
        raise ModelError(
            f"timm registers no pretrained weights for {name}",
            hint=f"With weights of your own: singaudit run WEIGHTS --arch {name}. {_near(name)}",
        )
    request = {"kind": "timm", "name": f"timm:{name}", "files": [str(path)], "arch": name}
    return converted(request, Original(f"timm:{name}", (path,), "timm", facts), options)


def _first_of(names: Sequence[str], held: Sequence[str]) -> list[str]:
    found = next((name for name in names if name in held), None)
    if found is None:
        raise ModelError(f"the repository holds none of {', '.join(names)}", hint="Choose another tag.")
    return [found]


def _registered(name: str) -> Any:
    """timm's pretrained_cfg; None for a name or a tag that it does not know."""
    timm = import_timm()
    try:
        return timm.models.get_pretrained_cfg(name, allow_unregistered=False) if timm.is_model(name) else None
    except RuntimeError:  # an unknown tag
        return None


def _near(name: str) -> str:
    timm = import_timm()
    base = name.partition(".")[0]
    near = timm.list_models(f"{base}.*", pretrained=True) if timm.is_model(base) else []
    near = near or difflib.get_close_matches(name, timm.list_models(pretrained=True), 4)
    return (
        f"Names with weights: {', '.join(near[:6])}." if near else "timm.list_models(pretrained=True) lists the names."
    )
