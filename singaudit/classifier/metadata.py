"""What a model file says of itself: preprocessing, class names and activation, from the keys exporters write."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from singaudit.classifier.preprocess_syntax import check_channel_numbers, check_size, parse_preprocess
from singaudit.errors import ConfigError, ModelError

_LARGEST_TEXT = 4 << 20
"""Bytes of one metadata text that are still read; 21,843 class names take about 0.5 MB."""
_NEIGHBOURS = ("preprocessor_config.json", "config.json")
_PIL_FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}


@dataclass(frozen=True)
class FileMetadata:
    """What could be read from a model's own metadata."""

    preprocess: dict[str, Any] = field(default_factory=dict)
    """Keys as :func:`singaudit.classifier.preprocessing.parse_preprocess` returns them."""
    preprocess_source: str = ""
    """Where they stand, in words."""
    class_names: tuple[str, ...] | None = None
    """In logit order."""
    activation: str | None = None
    """"softmax", "sigmoid" or "none"."""
    logits: str | None = None
    """Name of the tensor that holds the logits, where the file settles the choice."""
    features: str | None = None
    """Name of the tensor that holds the penultimate features, where the file settles the choice."""


def read_metadata(properties: Mapping[str, str], folder: Path | None) -> FileMetadata:
    """Preprocessing, class names and activation from ONNX metadata and from configuration files beside the model.

    ``properties`` are the file's metadata_props; ``folder`` is the model's folder, None to look at the file alone.
    Our own keys (``singaudit.preprocess``, ``.classes``, ``.activation``, ``.logits``, ``.features``) come first; a
    mistake in them raises ModelError, while other tools' keys that cannot be understood count as absent.
    """
    documents = _documents(properties, folder)
    preprocess, source = _preprocess(properties, documents)
    activation = properties.get("singaudit.activation")
    if activation is not None and activation not in ("softmax", "sigmoid", "none"):
        raise ModelError(
            f"the file's metadata singaudit.activation is {activation[:40]!r}; expected softmax, sigmoid or none",
            hint="state it with --activation",
        )
    names = _class_names(properties, documents)
    tensors = (properties.get(f"singaudit.{key}") or None for key in ("logits", "features"))
    return FileMetadata(preprocess, source, names, activation, *tensors)


def _documents(properties: Mapping[str, str], folder: Path | None) -> list[tuple[str, dict[str, Any]]]:
    """JSON objects from the metadata and from known files beside the model, each with its source in words."""
    found = []
    for key, text in properties.items():
        if not key.startswith("singaudit.") and text.lstrip().startswith("{"):
            document = _json(text)
            if isinstance(document, dict):
                found.append((f"the file's metadata ({key})", document))
    for name in _NEIGHBOURS if folder is not None else ():
        path = folder / name  # type: ignore[operator]
        try:
            if not path.is_file() or path.stat().st_size > _LARGEST_TEXT:
                continue
            document = _json(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            continue
        if isinstance(document, dict):
            found.append((f"{name} beside the model", document))
    return found


def _json(text: str) -> Any:
    if len(text) > _LARGEST_TEXT:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _preprocess(
    properties: Mapping[str, str], documents: list[tuple[str, dict[str, Any]]]
) -> tuple[dict[str, Any], str]:
    own = properties.get("singaudit.preprocess")
    if own is not None:
        try:
            return parse_preprocess(own), "the file's metadata (singaudit.preprocess)"
        except ConfigError as error:
            raise ModelError(
                f"the file's metadata singaudit.preprocess cannot be used: {error.message}",
                hint="state it with --preprocess",
            ) from error
    for source, document in documents:
        for read in (_timm, _transformers):
            try:
                found = read(document)
            except (ConfigError, TypeError, ValueError, KeyError, AttributeError, IndexError):
                continue  # another tool's document that does not mean what its keys suggest
            if found:
                return found, source
    return {}, ""


def _timm(document: dict[str, Any]) -> dict[str, Any]:
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


def _transformers(document: dict[str, Any]) -> dict[str, Any]:
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


def _class_names(properties: Mapping[str, str], documents: list[tuple[str, dict[str, Any]]]) -> tuple[str, ...] | None:
    own = properties.get("singaudit.classes")
    if own is not None:
        listed = _json(own) if own.lstrip().startswith("[") else own.split(",")
        if not isinstance(listed, list) or not listed or not all(isinstance(name, str) for name in listed):
            raise ModelError(
                f"the file's metadata singaudit.classes is {own[:60]!r}; expected a JSON list of names",
                hint="name the classes with --classes",
            )
        return tuple(name.strip() for name in listed)
    for key in ("names", "classes", "class_names", "labels", "id2label", "label_names"):
        names = _ordered(_literal(properties[key])) if key in properties else None
        if names is not None:
            return names
    for _, document in documents:
        for key in ("id2label", "label_names", "class_names"):
            names = _ordered(document.get(key))
            if names is not None:
                return names
    return None


def _literal(text: str) -> Any:
    """A JSON or Python literal, or comma separated words; None for what cannot be read or is unreasonably large."""
    if len(text) > _LARGEST_TEXT:
        return None
    parsed = _json(text)
    if parsed is None and text.lstrip()[:1] in ("{", "[", "("):
        try:
            parsed = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
    if parsed is None and "," in text:
        return [name.strip() for name in text.split(",")]
    return parsed


def _ordered(value: Any) -> tuple[str, ...] | None:
    """Names in logit order from a list, or from a mapping of 0..c-1 to names; None for anything else."""
    if isinstance(value, dict):
        try:
            by_index = {int(key): name for key, name in value.items()}
        except (TypeError, ValueError):
            return None
        if sorted(by_index) != list(range(len(by_index))):
            return None
        value = [by_index[index] for index in range(len(by_index))]
    if isinstance(value, list | tuple) and value and all(isinstance(name, str) for name in value):
        return tuple(value)
    return None
