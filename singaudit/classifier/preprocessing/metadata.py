"""What a model file says of itself: preprocessing, class names and activation, from the keys exporters write."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from singaudit.classifier.preprocessing.processor_defaults import processor_document, with_class_defaults
from singaudit.classifier.preprocessing.syntax import check_size, parse_preprocess
from singaudit.classifier.preprocessing.timm_config import read_timm_config
from singaudit.classifier.preprocessing.transformers_config import read_processor_config
from singaudit.errors import ConfigError, ModelError

_LARGEST_TEXT = 4 << 20
"""Bytes of one metadata text that are still read; 21,843 class names take about 0.5 MB."""
_NEIGHBOURS = ("preprocessor_config.json", "processor_config.json", "config.json")
ONNX_FOLDER = "onnx"
"""Where exporters keep the graphs of a repository whose config.json lies above."""
_PLACEHOLDER = re.compile(r"LABEL_\d+")
"""What transformers writes where nobody named the classes."""
_ACTIVATIONS = {"multi_label_classification": "sigmoid", "single_label_classification": "softmax"}
_NAMED = ("names", "classes", "class_names", "labels", "id2label", "label_names")
_LISTED = ("id2label", "label_names", "class_names")
"""Keys of metadata and of documents that hold class names."""


@dataclass(frozen=True)
class FileMetadata:
    """What could be read from a model's own metadata."""

    preprocess: dict[str, Any] = field(default_factory=dict)
    """Keys as :func:`singaudit.classifier.preprocessing.resolve.parse_preprocess` returns them."""
    preprocess_source: str = ""
    """Where they stand, in words."""
    class_names: tuple[str, ...] | None = None
    """In logit order."""
    class_names_source: str = ""
    """Where they stand, in words."""
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
            hint="State it with --activation",
        )
    names, names_source = _class_names(properties, documents)
    activation = activation or _problem_type(documents)
    tensors = (properties.get(f"singaudit.{key}") or None for key in ("logits", "features"))
    return FileMetadata(preprocess, source, names, names_source, activation, *tensors)


def _documents(properties: Mapping[str, str], folder: Path | None) -> list[tuple[str, dict[str, Any]]]:
    """JSON objects from the metadata and from known files beside the model, each with its source in words."""
    found = []
    for key, text in properties.items():
        if not key.startswith("singaudit.") and text.lstrip().startswith("{"):
            document = _json(text)
            if isinstance(document, dict):
                found.append((f"the file's metadata ({key})", document))
    for name in _NEIGHBOURS:
        for path, where in _neighbours(name, folder):
            try:
                if not path.is_file() or path.stat().st_size > _LARGEST_TEXT:
                    continue
                document = _json(path.read_text(encoding="utf-8"))
            except (OSError, UnicodeDecodeError):
                continue
            if isinstance(document, dict):
                found.append((f"{name} {where} the model", document))
                break
    return found


def _neighbours(name: str, folder: Path | None) -> list[tuple[Path, str]]:
    """Where such a file may lie: beside the model; above it, where exporters put the graph into a folder onnx/."""
    if folder is None:
        return []
    above = [(folder.parent / name, "in the folder above")] if folder.name == ONNX_FOLDER else []
    return [(folder / name, "beside"), *above]


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
                hint="State it with --preprocess",
            ) from error
    for read_own in (_ultralytics, _image_denotation):
        if found := read_own(properties):
            return found, f"the file's metadata ({_WORDS[read_own.__name__]})"
    for source, document in documents:
        for read in (read_timm_config, read_processor_config):
            try:
                found = read(with_class_defaults(processor_document(document)))
            except (ConfigError, TypeError, ValueError, KeyError, AttributeError, IndexError, ArithmeticError):
                continue  # another tool's document that does not mean what its keys suggest
            if found:
                return found, source
    return {}, ""


_WORDS = {"_ultralytics": "Ultralytics", "_image_denotation": "Image.*"}


def _ultralytics(properties: Mapping[str, str]) -> dict[str, Any]:
    """What Ultralytics' classify transforms do: the shorter side to imgsz, its centre, 0-1, nothing taken away."""
    if "ultralytics" not in properties.get("author", "").lower() or properties.get("task") != "classify":
        return {}
    found: dict[str, Any] = {
        "mode": "crop",
        "crop": 1.0,
        "interpolation": "bilinear",
        "channels": "rgb",
        "scale": 1 / 255,
        "mean": (0.0,),
        "std": (1.0,),
    }
    sides = _literal(properties.get("imgsz", ""))
    if isinstance(sides, list | tuple) and len(sides) == 2 and all(isinstance(side, int) for side in sides):
        found["size"] = check_size(int(sides[0]), int(sides[1]))
    return found


def _image_denotation(properties: Mapping[str, str]) -> dict[str, Any]:
    """ONNX's metadata of image inputs, as Windows ML and Custom Vision write them; what they leave open is a guess."""
    ranges = {
        "nominalrange_0_255": (1.0, 0.0, 1.0),
        "normalized_0_1": (1 / 255, 0.0, 1.0),
        "normalized_1_1": (1 / 255, 0.5, 0.5),
    }
    values = ranges.get(properties.get("Image.NominalPixelRange", "").lower())
    if values is None:
        return {}
    found: dict[str, Any] = {"scale": values[0], "mean": (values[1],), "std": (values[2],)}
    order = {"rgb8": "rgb", "bgr8": "bgr", "gray8": "gray"}.get(properties.get("Image.BitmapPixelFormat", "").lower())
    guesses = ("mode", "crop", "interpolation")
    return {**found, "channels": order, "guesses": guesses} if order else {**found, "guesses": (*guesses, "channels")}


def _problem_type(documents: list[tuple[str, dict[str, Any]]]) -> str | None:
    """What transformers calls the kind of classification, as an activation."""
    return next(
        (_ACTIVATIONS[kind] for _, d in documents if (kind := str(d.get("problem_type"))) in _ACTIVATIONS), None
    )


def _class_names(
    properties: Mapping[str, str], documents: list[tuple[str, dict[str, Any]]]
) -> tuple[tuple[str, ...] | None, str]:
    """Names in logit order, and where they stand; (None, "") where nobody named them."""
    own = properties.get("singaudit.classes")
    if own is not None:
        listed = _json(own) if own.lstrip().startswith("[") else own.split(",")
        if not isinstance(listed, list) or not listed or not all(isinstance(name, str) for name in listed):
            raise ModelError(
                f"the file's metadata singaudit.classes is {own[:60]!r}; expected a JSON list of names",
                hint="Name the classes with --classes",
            )
        return tuple(name.strip() for name in listed), "the file's metadata (singaudit.classes)"
    stated = [(f"the file's metadata ({key})", _literal(properties[key])) for key in _NAMED if key in properties]
    stated += [(f"{key} in {source}", _described(d, key)) for source, d in documents for key in _LISTED]
    for source, value in stated:
        names = _ordered(value)
        if names is not None and not all(_PLACEHOLDER.fullmatch(name) for name in names):
            return names, source
    return None, ""


def _described(document: Mapping[str, Any], key: str) -> Any:
    """The names under a key; where timm describes them beside (they are synsets), what it calls them."""
    value, texts = document.get(key), document.get("label_descriptions")
    if key == "label_names" and isinstance(value, list) and isinstance(texts, dict):
        return [texts.get(name, name) if isinstance(name, str) else name for name in value]
    return value


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
