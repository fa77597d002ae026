"""Image classifiers of transformers, built from config.json and given every one of their weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from singaudit.classifier.convert.architectures import REFUSED
from singaudit.classifier.convert.from_checkpoint import CONFIG
from singaudit.classifier.convert.network import Network, Statements, stored_as
from singaudit.classifier.convert.state_dict import read_weights
from singaudit.classifier.preprocessing.metadata import read_metadata
from singaudit.errors import ModelError
from singaudit.torchvision_import import import_torchvision, import_transformers
from singaudit.without_compiler import nothing_drawn

PROCESSOR = "preprocessor_config.json"
COMBINED_PROCESSOR = "processor_config.json"
"""Where transformers 5 saves the image processor, beside what else belongs to a processor."""
_MOST_LABELS = 1_000_000


def transformers_network(
    files: Sequence[str], config: Mapping[str, Any], processor: Mapping[str, Any], stated: Mapping[str, Any]
) -> Network:
    """In the converting process: the network that config.json describes, with every one of its weights."""
    import torch

    import_torchvision()  # some networks are made of its parts
    transformers = import_transformers()
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
        with nothing_drawn():
            module, info = kind.from_pretrained(
                None,
                config=made,
                state_dict=dict(weights.tensors),
                dtype=torch.float32,
                attn_implementation="eager",
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
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
    from transformers import CONFIG_MAPPING

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
        kind = CONFIG_MAPPING[str(model_type)]
        if kind.__name__ == "TimmWrapperConfig":
            _check_timm(document)
        return kind.from_dict(document)
    except (MemoryError, OSError):
        raise
    except Exception as error:
        raise ModelError(
            f"config.json does not describe a model that transformers knows: {' '.join(str(error).split())[:200]}",
            hint="Remote code is never run; models of other kinds can be exported to ONNX.",
        ) from error


def _check_timm(document: Mapping[str, Any]) -> None:
    """Refuse a wrapper of timm's networks that would load something else than the weights at hand."""
    arguments = document.get("model_args")
    led = sorted(REFUSED & set(arguments)) if isinstance(arguments, Mapping) else []
    if led or ":" in str(document.get("architecture", "")):
        raise ModelError(
            f"config.json leads elsewhere: {', '.join(led) or document.get('architecture')!s:.80}",
            hint="Keep architecture and model_args to what timm registers.",
        )


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
    # A network of timm in transformers' wrapper keeps timm's preprocessing in its configuration.
    stated = processor or {"pretrained_cfg": config.get("pretrained_cfg")}
    said = read_metadata({"preprocessor_config": json.dumps(stated)}, None)
    kept = {key: config.get(key) for key in ("id2label", "label_names", "label_descriptions", "problem_type")}
    named = read_metadata({"config": json.dumps(kept)}, None)
    return Statements(
        preprocess=said.preprocess,
        source=(PROCESSOR if processor else CONFIG) if said.preprocess else "",
        class_names=named.class_names,
        class_names_source=f"id2label in {CONFIG}",
        activation=named.activation,
    )


def _sides(config: Any) -> tuple[int, int]:
    size = getattr(config, "image_size", 224)
    height, width = (size, size) if isinstance(size, int) else tuple(size)[:2]
    return int(height), int(width)
