"""Preprocessing as timm and transformers write it down: their documents as keys of ``--preprocess``."""

from __future__ import annotations

from typing import Any

from singaudit.classifier.preprocess_syntax import check_channel_numbers, check_size

_PIL_FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
_WARPED = 384
"""Size from which transformers' ConvNeXt processor resizes both sides instead of cropping."""


def of_timm(document: dict[str, Any]) -> dict[str, Any]:
    """timm's ``pretrained_cfg``: input_size, mean, std, interpolation, crop_pct, crop_mode."""
    config = document.get("pretrained_cfg", document)
    if not isinstance(config, dict) or "mean" not in config or "std" not in config:
        return {}
    found: dict[str, Any] = {
        "mean": check_channel_numbers("mean", config["mean"]),
        "std": check_channel_numbers("std", config["std"]),
    }
    if "input_size" in config:
        found["size"] = check_size(*(int(side) for side in config["input_size"][-2:]))
    if config.get("interpolation") in _PIL_FILTERS.values():
        found["interpolation"] = config["interpolation"]
    if 0.05 <= float(config.get("crop_pct") or 0) <= 1:
        found["crop"] = float(config["crop_pct"])
    modes = {"center": "crop", "squash": "squash", "border": "pad"}
    if config.get("crop_mode") in modes:
        found["mode"] = modes[config["crop_mode"]]
    return found


def of_transformers(document: dict[str, Any]) -> dict[str, Any]:
    """transformers' ``preprocessor_config.json``: do_resize, size, crop_size, resample, rescale, normalise."""
    if "image_mean" not in document and "do_rescale" not in document and "do_normalize" not in document:
        return {}
    found: dict[str, Any] = {
        "scale": float(document.get("rescale_factor", 1 / 255)) if document.get("do_rescale", True) else 1.0,
        "mean": (0.0,),
        "std": (1.0,),
    }
    if document.get("do_normalize", True) and "image_mean" in document:
        found["mean"] = check_channel_numbers("mean", _listed(document["image_mean"]))
        found["std"] = check_channel_numbers("std", _listed(document["image_std"]))
    if document.get("resample") in _PIL_FILTERS:
        found["interpolation"] = _PIL_FILTERS[document["resample"]]
    resize = _sides(document.get("size"))
    crop = _sides(document.get("crop_size")) if document.get("do_center_crop") else None
    if crop is not None:
        found.update(size=check_size(*crop), mode="crop")
        if resize is not None and resize[0] >= crop[0]:
            found["crop"] = crop[0] / resize[0]
    elif resize is not None:
        share = document.get("crop_pct")
        found.update(size=check_size(*resize), mode="squash")
        if share is not None and 0.05 <= float(share) <= 1:
            found.update(mode="crop", crop=float(share))
        if "convnext" in str(document.get("image_processor_type")).lower() and resize[0] >= _WARPED:
            found.update(mode="squash", crop=1.0)
    return found


def _listed(value: Any) -> list[float]:
    return [float(item) for item in value] if isinstance(value, list | tuple) else [float(value)]


def _sides(value: Any) -> tuple[int, int] | None:
    """(height, width) of the ways transformers writes a size."""
    if isinstance(value, int):
        return value, value
    if isinstance(value, dict):
        if "shortest_edge" in value:
            return int(value["shortest_edge"]), int(value["shortest_edge"])
        if "height" in value and "width" in value:
            return int(value["height"]), int(value["width"])
    return None
