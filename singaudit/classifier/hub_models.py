"""``hf:ORG/NAME`` and local folders: image classifiers of transformers, and timm's in the hub's layout."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from singaudit.classifier.boundaries import inner_file, read_json, shards
from singaudit.classifier.conversion import Original, converted
from singaudit.classifier.hub_files import Repository, repository
from singaudit.classifier.interface import Classifier
from singaudit.classifier.metadata import read_metadata
from singaudit.classifier.network import Network, Statements, stored_as
from singaudit.classifier.onnx_file import open_onnx
from singaudit.classifier.weight_files import CONFIG
from singaudit.classifier.weights import read_weights
from singaudit.classifier.wishes import Wishes
from singaudit.errors import ModelError

PROCESSOR = "preprocessor_config.json"
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
_MOST_LABELS = 1_000_000
_PLACEHOLDER = re.compile(r"LABEL_\d+")
_ACTIVATIONS = {"multi_label_classification": "sigmoid", "single_label_classification": "softmax"}


def is_transformers(folder: Path) -> bool:
    """Whether a folder's config.json is one of transformers."""
    try:
        return (folder / CONFIG).is_file() and "model_type" in read_json(folder / CONFIG)
    except ModelError:
        return False


def open_hub(name: str, wishes: Wishes) -> Classifier:
    """The classifier of a repository of the hub, ORG/NAME or ORG/NAME@REVISION. Raises ModelError."""
    found = repository(name).fetch([CONFIG])
    if found is None:
        raise ModelError(f"{name} on the hub holds no {CONFIG}", hint="Give an image classifier's repository.")
    path, repo = found
    folder = path.parent
    repo.fetch([PROCESSOR])
    weights = repo.fetch(_WEIGHTS)
    if weights is None:
        raise ModelError(
            f"{name} on the hub holds none of {', '.join(_WEIGHTS)}",
            hint="Its weights may be for another library: choose a repository with safetensors.",
        )
    if weights[0].name.endswith(".index.json"):
        _fetch_shards(repo, weights[0])
    facts = {"revision": f"{repo.name}@{repo.revision}"}
    return _open(folder, f"hf:{name}", facts, wishes)


def _fetch_shards(repo: Repository, index: Path) -> None:
    listed = read_json(index).get("weight_map")
    names = sorted({str(part) for part in listed.values()}) if isinstance(listed, dict) else []
    for part in names:
        if "/" in part or "\\" in part or part.startswith("."):
            raise ModelError(f"{index.name} names the file {part[:80]!r}; expected a plain file name")
        if repo.fetch([part]) is None:
            raise ModelError(f"{repo.name} lacks {part}, which {index.name} lists")


def open_folder(folder: Path, wishes: Wishes) -> Classifier:
    """The classifier of a local folder in the hub's layout, or the folder's one ONNX file. Raises ModelError."""
    files = sorted(path.name for path in folder.iterdir()) if _readable(folder) else []
    graphs = [name for name in files if name.endswith(".onnx")]
    if CONFIG in files and any(name in files for name in _WEIGHTS):
        return _open(folder, folder.resolve().name, {}, wishes)
    if len(graphs) == 1:
        return open_onnx(
            inner_file(folder, graphs[0]), logits=wishes.logits, features=wishes.features,
            preprocess=wishes.preprocess, activation=wishes.activation, providers=wishes.providers,
            limits=wishes.limits,
        )  # fmt: skip
    raise ModelError(
        f"expected a model folder with {CONFIG} and model.safetensors in {folder}, found "
        f"{', '.join(files[:6]) + (', ...' if len(files) > 6 else '') if files else 'nothing'}",
        hint="Save it with save_pretrained(), or give the file itself.",
    )


def _readable(folder: Path) -> bool:
    try:
        next(folder.iterdir(), None)
    except OSError as error:
        raise ModelError(f"cannot read the folder {folder}: {error.strerror}", hint="Check its permissions.") from error
    return True


def _open(folder: Path, name: str, facts: Mapping[str, str], wishes: Wishes) -> Classifier:
    config = read_json(inner_file(folder, CONFIG))
    found = next(part for part in _WEIGHTS if (folder / part).is_symlink() or (folder / part).exists())
    files = shards(folder, found) if found.endswith(".index.json") else [inner_file(folder, found)]
    if "model_type" not in config or wishes.arch is not None:
        if "architecture" not in config and wishes.arch is None:
            raise ModelError(
                f"{name}: {CONFIG} names neither a model_type of transformers nor an architecture of timm",
                hint="Name the architecture with --arch.",
            )
        request: dict[str, Any] = {"kind": "weights", "arch": wishes.arch, "allow_code": wishes.allow_code}
        kind = "checkpoint" if wishes.arch else "timm"
    else:
        beside = (folder / PROCESSOR).exists() or (folder / PROCESSOR).is_symlink()
        processor = read_json(inner_file(folder, PROCESSOR)) if beside else {}
        request = {"kind": "transformers", "config": config, "processor": processor}
        kind = "transformers"
    request.update(name=name, files=[str(path) for path in files])
    return converted(request, Original(name, tuple(files), kind, facts), wishes)


def transformers_network(
    files: Sequence[str], config: Mapping[str, Any], processor: Mapping[str, Any], stated: Mapping[str, Any]
) -> Network:
    """In the converting process: the network that config.json describes, with every one of its weights."""
    import torch
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING

    transformers.logging.set_verbosity_error()
    made = _config(dict(config))
    if type(made) not in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING:
        raise ModelError(
            f"expected an image classifier, config.json describes a model of the kind {made.model_type!r}",
            hint="Give a model for image classification.",
        )
    kinds = MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING[type(made)]
    kinds = kinds if isinstance(kinds, tuple) else (kinds,)
    named = made.architectures or []
    kind = next((item for item in kinds if item.__name__ in named), kinds[0])
    weights = read_weights([Path(file) for file in files])
    try:
        module, info = kind.from_pretrained(
            None, config=made, state_dict=dict(weights.tensors), dtype=torch.float32, attn_implementation="eager",
            output_loading_info=True, ignore_mismatched_sizes=True,
        )  # fmt: skip
    except (MemoryError, OSError):
        raise
    except Exception as error:
        raise ModelError(
            f"the weights do not fit {kind.__name__}: {' '.join(str(error).split())[:300]}",
            hint="Download or save the model again.",
        ) from error
    _check_loaded(info, kind.__name__)
    statements = _statements(config, processor)
    size = stated.get("size") or statements.preprocess.get("size") or _sides(made)
    return Network(
        module=module.eval().float(),
        shape=(int(getattr(made, "num_channels", 3)), *size),
        statements=statements,
        description={"format": weights.kind, "architecture": f"transformers:{kind.__name__}"},
        stored=stored_as(weights.tensors),
    )


def _config(document: dict[str, Any]) -> Any:
    """The configuration object. What would fetch or run code from elsewhere is left out or refused."""
    from transformers import AutoConfig

    if document.get("quantization_config"):
        raise ModelError(
            "the model is stored quantised for transformers, whose kernels cannot be exported",
            hint="Give the float checkpoint, or an ONNX export.",
        )
    labels = document.get("num_labels")
    if isinstance(labels, int) and labels > _MOST_LABELS:
        raise ModelError(f"config.json claims {labels:,} classes; expected at most {_MOST_LABELS:,}")
    model_type = document.pop("model_type", None)
    for key in ("auto_map", "attn_implementation", "_attn_implementation", "custom_pipelines", "torchscript"):
        document.pop(key, None)
    try:
        return AutoConfig.for_model(str(model_type), **document)
    except (MemoryError, OSError):
        raise
    except Exception as error:
        raise ModelError(
            f"config.json does not describe a model that transformers knows: {' '.join(str(error).split())[:200]}",
            hint="Remote code is never run; models of other kinds can be exported to ONNX.",
        ) from error


def _check_loaded(info: Mapping[str, Any], kind: str) -> None:
    """Nothing missing, nothing misshapen, nothing left over."""
    for words, key in (("lack", "missing_keys"), ("have another shape for", "mismatched_keys")):
        names = sorted(map(str, info.get(key) or ()))
        if names:
            raise ModelError(
                f"the weights {words} {len(names)} of the tensors of {kind}: {', '.join(names[:4])}",
                hint="Use the complete checkpoint of a trained classifier: nothing is filled with random weights.",
            )
    left = sorted(map(str, info.get("unexpected_keys") or ()))
    if left:
        raise ModelError(
            f"the weights hold {len(left)} tensors that {kind} has no place for: {', '.join(left[:4])}",
            hint="Check that config.json belongs to these weights.",
        )


def _statements(config: Mapping[str, Any], processor: Mapping[str, Any]) -> Statements:
    said = read_metadata({"preprocessor_config": json.dumps(processor)}, None) if processor else None
    names = read_metadata({"config": json.dumps({"id2label": config.get("id2label")})}, None).class_names
    if names is not None and all(_PLACEHOLDER.fullmatch(name) for name in names):
        names = None  # what transformers writes where nobody named them
    return Statements(
        preprocess=said.preprocess if said else {},
        source=PROCESSOR if said and said.preprocess else "",
        class_names=names,
        class_names_source=f"id2label in {CONFIG}",
        activation=_ACTIVATIONS.get(str(config.get("problem_type"))),
    )


def _sides(config: Any) -> tuple[int, int]:
    size = getattr(config, "image_size", 224)
    height, width = (size, size) if isinstance(size, int) else tuple(size)[:2]
    return int(height), int(width)
