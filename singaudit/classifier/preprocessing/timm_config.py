"""Preprocessing as timm writes it down: its documents as keys of ``--preprocess``."""

from __future__ import annotations

from typing import Any

from singaudit.classifier.preprocessing.syntax import check_channel_numbers, check_size

_MODES = {"center": "crop", "squash": "squash", "border": "pad"}
_INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")


def read_timm_config(document: dict[str, Any]) -> dict[str, Any]:
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
    if config.get("interpolation") in _INTERPOLATIONS:
        found["interpolation"] = config["interpolation"]
    if 0.05 <= float(config.get("crop_pct") or 0) <= 1:
        found["crop"] = float(config["crop_pct"])
    mode = config.get("crop_mode") or "center"
    if mode in _MODES:
        found["mode"] = _MODES[mode]
    else:
        found["guesses"] = ("mode",)
    if mode == "border":
        found["fill"] = "mean"
    return found
