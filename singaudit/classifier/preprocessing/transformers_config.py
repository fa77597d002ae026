"""transformers' ``preprocessor_config.json`` as keys of ``--preprocess``: what each image processor does with them."""

from __future__ import annotations

import re
from typing import Any

from singaudit.classifier.preprocessing.syntax import check_channel_numbers, check_factor, check_size

FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers of the resampling filters."""
_NAME = re.compile(r"(?:ImageProcessor|FeatureExtractor)(?:Fast|Pil)?$")
_SQUARE = {"vit", "deit", "beit", "pvt", "segformer", "siglip", "efficientnet", "efficientformer", "dinov3vit", "swin"}
"""Processors to which a single number means both sides."""
_COVERING = {
    "bit", "clip", "chineseclip", "convnext", "levit", "mobilenetv1", "mobilenetv2", "mobilevit", "poolformer",
    "vithybrid",
}  # fmt: skip
"""Processors to which it means the shorter side, of an image that keeps its shape."""
_WARPED = 384
"""Size from which ConvNeXt's processor resizes both sides instead of cropping."""
_LEVIT = 256 / 224
"""By how much LeViT's processor resizes beyond the stated shortest side."""

Sides = tuple[int, int]


def read_processor_config(document: dict[str, Any]) -> dict[str, Any]:
    """Keys of ``--preprocess``; {} where the document is none.

    "guesses" lists the keys that a processor which is not known here, or one that does what no mode here does, leaves
    to a guess.
    """
    named = str(document.get("image_processor_type") or document.get("feature_extractor_type") or "")
    kind = _NAME.sub("", named).lower()
    if kind != "mobilevit" and not {"image_mean", "do_rescale", "do_normalize"} & document.keys():
        return {}
    found = {**_arithmetic(document, kind), "offset": "floor"}
    if document.get("do_flip_channel_order"):
        found["channels"] = "bgr"
    if document.get("resample") in FILTERS:
        found["interpolation"] = FILTERS[document["resample"]]
    return {**found, **_geometry(document, kind)}


def _arithmetic(document: dict[str, Any], kind: str) -> dict[str, Any]:
    scale = 1.0
    if document.get("do_rescale", True):
        scale = check_factor("scale", float(document.get("rescale_factor", 1 / 255)))
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    if document.get("do_normalize", kind != "mobilevit") and "image_mean" in document:
        mean = check_channel_numbers("mean", _listed(document["image_mean"]))
        std = check_channel_numbers("std", _listed(document["image_std"]))
    if kind == "efficientnet":
        if document.get("rescale_offset"):  # to [-1, 1] before the mean is taken away
            mean = tuple(value + 1 for value in mean)
        if document.get("include_top") and "image_std" in document:  # divides once more
            top = check_channel_numbers("std", _listed(document["image_std"]))
            std = tuple(a * b for a, b in zip(std * (3 if len(std) < len(top) else 1), top, strict=True))
    return {"scale": scale, "mean": mean, "std": std}


def _geometry(document: dict[str, Any], kind: str) -> dict[str, Any]:
    """Size, mode and crop; with "guesses" where they are not sure."""
    sides, covers = _resized(document.get("size"), kind)
    crops = _cropped(document, kind)
    share = document.get("crop_pct")
    share = float(share) if share is not None and 0.05 <= float(share) <= 1 else None
    sure = kind in _SQUARE | _COVERING | {""} and document.get("do_resize", True) is not False
    if kind == "convnext" and sides is not None:
        # Whatever the document says of a crop, this processor cuts by crop_pct, or not at all.
        crops, covers = sides, sides[0] < _WARPED
        sides = _enlarged(sides, 1 / (share or 224 / 256)) if covers else sides
    elif kind == "poolformer" and sides is not None and share is not None:
        sides = _enlarged(sides, 1 / share)
    elif kind == "levit" and sides is not None:
        sides = _enlarged(sides, _LEVIT)
    elif crops is None and sides is not None and share is not None:
        crops, covers, sides = sides, True, _enlarged(sides, 1 / share)
    if crops is None and sides is None:
        return {}
    size = check_size(*(crops or sides or ()))
    found: dict[str, Any] = {"size": size, "mode": "crop" if covers else "squash", "crop": 1.0}
    if sides is not None:
        found["crop"] = min(20.0, max(0.05, size[0] / sides[0]))
        # One share cuts both sides; a crop beyond what was resized surrounds it with black; without one shapes would
        # differ.
        sure &= size[0] * sides[1] == size[1] * sides[0] and size[0] / 20 <= sides[0] <= 20 * size[0]
        sure &= crops is not None or not covers
    else:
        sure = False
    return found if sure else {**found, "guesses": ("mode", "crop")}


def _resized(value: Any, kind: str) -> tuple[Sides | None, bool]:
    """(height, width) that the image gets, or covers while it keeps its shape; and whether it keeps it."""
    if isinstance(value, int):
        return check_size(value, value), kind in _COVERING
    if isinstance(value, dict):
        if "shortest_edge" in value:
            return check_size(int(value["shortest_edge"]), int(value["shortest_edge"])), True
        if "height" in value and "width" in value:
            return check_size(int(value["height"]), int(value["width"])), kind == "poolformer"
    return None, True


def _cropped(document: dict[str, Any], kind: str) -> Sides | None:
    """(height, width) of the centre that is cut out; None where nothing is."""
    value = document.get("crop_size")
    if not document.get("do_center_crop") or value is None:
        return None
    if isinstance(value, dict) and "shortest_edge" in value:
        value = value["shortest_edge"]
    return check_size(*((value, value) if isinstance(value, int) else (int(value["height"]), int(value["width"]))))


def _enlarged(sides: Sides, factor: float) -> Sides:
    return int(sides[0] * factor + 1e-6), int(sides[1] * factor + 1e-6)


def _listed(value: Any) -> list[float]:
    return [float(item) for item in value] if isinstance(value, list | tuple) else [float(value)]
