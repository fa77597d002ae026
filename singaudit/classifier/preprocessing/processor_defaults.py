"""What an image processor of transformers does with keys that its configuration leaves out: its class's defaults."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from singaudit.errors import ModelError

_KEYS = (
    "do_resize", "size", "resample", "do_center_crop", "crop_size", "do_rescale", "rescale_factor", "do_normalize",
    "image_mean", "image_std", "crop_pct", "do_flip_channel_order", "rescale_offset", "include_top",
)  # fmt: skip
_NEEDED = ("size", "resample", "image_mean", "image_std")
"""Keys whose defaults differ between classes; of the others all have the same."""
_NAME = re.compile(r"([A-Za-z0-9]{1,60}?)(?:ImageProcessor|FeatureExtractor)(?:Fast|Pil)?")


def processor_document(document: Mapping[str, Any]) -> dict[str, Any]:
    """The image processor's part of a ``processor_config.json``, or of a document that is one itself."""
    inner = document.get("image_processor")
    return dict(inner) if isinstance(inner, Mapping) else dict(document)


def with_class_defaults(document: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with what it leaves out, from the class of transformers that it names.

    It comes back as it is where nothing usual is missing or where transformers knows no such class; the class is looked
    up by its name in transformers alone, and nothing is fetched.
    """
    found = dict(document)
    named = found.get("image_processor_type") or found.get("feature_extractor_type")
    match = _NAME.fullmatch(named) if isinstance(named, str) else None
    lacking = [key for key in _NEEDED if key not in found]
    lacking += ["crop_size"] if found.get("do_center_crop") and "crop_size" not in found else []
    if match is None or not lacking:
        return found
    defaults = _defaults(match[1])
    for key in _KEYS:
        if key not in found and defaults.get(key) is not None:
            found[key] = defaults[key]
    return found


def _defaults(kind: str) -> dict[str, Any]:
    from singaudit.torchvision_import import import_transformers

    transformers = import_transformers()
    for name in (f"{kind}ImageProcessorPil", f"{kind}ImageProcessor"):
        try:
            made = getattr(transformers, name)()
        except (AttributeError, ImportError, ModelError):
            continue
        document = made.to_dict()
        resample = document.get("resample")
        return {**document, "resample": resample if resample is None else int(resample)}
    return {}
