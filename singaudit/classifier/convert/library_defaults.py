"""What libraries say of preprocessing and class names: for given weights, or as the usual values of an architecture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from singaudit.classifier.convert.architectures import Architecture
from singaudit.classifier.preprocessing.metadata import read_metadata
from singaudit.torchvision_import import import_timm, import_torchvision

_INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")


def architecture_preprocess(architecture: Architecture) -> tuple[dict[str, Any], str]:
    """Preprocessing keys of the architecture's default weights, and whose they are in words.

    For weights of somebody's own they are a guess.
    """
    if architecture.library == "timm":
        config = import_timm().models.get_pretrained_cfg(architecture.name, allow_unregistered=True)
        keys = {} if config is None else timm_preprocess(config.to_dict())
    else:
        import_torchvision()
        from torchvision import models

        keys = torchvision_preprocess(models.get_model_weights(architecture.name).DEFAULT)
    if architecture.size is not None:
        keys["size"] = architecture.size
    if architecture.channels == 1:
        keys = {key: value for key, value in keys.items() if key not in ("mean", "std")}
    return keys, f"{architecture.library}'s usual values for {architecture.name}"


def timm_preprocess(config: Mapping[str, Any]) -> dict[str, Any]:
    """Preprocessing keys of a timm ``pretrained_cfg``."""
    kept = {
        key: config[key]
        for key in ("mean", "std", "input_size", "interpolation", "crop_pct", "crop_mode")
        if key in config
    }
    return dict(read_metadata({"pretrained_cfg": json.dumps(kept)}, None).preprocess)


def torchvision_preprocess(weights: Any) -> dict[str, Any]:
    """Preprocessing keys of the transforms that belong to a torchvision weights entry."""
    how = weights.transforms()
    (crop,), (resize,) = how.crop_size, how.resize_size
    keys: dict[str, Any] = {
        "size": (int(crop), int(crop)),
        "crop": min(1.0, crop / resize),
        "mode": "crop",
        "scale": 1 / 255,
        "mean": tuple(map(float, how.mean)),
        "std": tuple(map(float, how.std)),
    }
    interpolation = str(getattr(how.interpolation, "value", how.interpolation))
    return {**keys, **({"interpolation": interpolation} if interpolation in _INTERPOLATIONS else {})}


def tagged_class_names(config: Mapping[str, Any]) -> tuple[tuple[str, ...] | None, str]:
    """Class names of a timm ``config.json`` that names none, where its tag says which list it was trained on last."""
    inner = config.get("pretrained_cfg")
    tag = str(inner.get("tag", "")) if isinstance(inner, Mapping) else ""
    if "architecture" not in config or not tag.endswith(("in1k", "in12k", "in22k")):
        return None, ""
    return timm_class_names({"num_classes": config.get("num_classes") or (inner or {}).get("num_classes")})


def timm_class_names(config: Mapping[str, Any]) -> tuple[tuple[str, ...] | None, str]:
    """Class names in logit order of a timm ``pretrained_cfg``, and where they stand: its own, else ImageNet's."""
    count = int(config.get("num_classes") or 0)
    own = config.get("label_names")
    if isinstance(own, list | tuple) and len(own) == count and all(isinstance(name, str) for name in own):
        described = config.get("label_descriptions")
        texts = described if isinstance(described, dict) else {}
        return tuple(str(texts.get(name, name)) for name in own), "timm pretrained_cfg"
    import_timm()
    from timm.data import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset(dict(config))
    if subset is None:
        return None, ""
    info = ImageNetInfo(subset)
    if info.num_classes() != count:
        return None, ""
    return tuple(info.index_to_description(index) for index in range(count)), f"timm's list of {subset}"
