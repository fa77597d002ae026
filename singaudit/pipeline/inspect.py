"""What the head of a model is and what it cannot see, from the file alone."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from singaudit.classifier.certify import certify_on_noise
from singaudit.classifier.interface import Classifier
from singaudit.classifier.openers.table import open_classifier
from singaudit.classifier.options import model_options
from singaudit.config import make_config
from singaudit.errors import ModelError
from singaudit.geometry.near_null import NEAR_NULL_FRACTION, near_null_dim
from singaudit.geometry.null_space import Ranks, ranks_of
from singaudit.hub.caller import Progress
from singaudit.machine import torch_device
from singaudit.report.build.scores import certificate_part, geometry_part, preprocess_text

_SETTINGS = (
    "model", "arch", "allow_code",
    "logits", "features", "preprocess", "activation", "device", "model_seconds", "model_memory",
)  # fmt: skip


def inspect_model(settings: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Facts about a model file as plain data; ``geometry`` is as in result.json. Raises ``SingauditError``.

    ``progress`` is told of a download.
    """
    if not settings.get("model"):
        raise ModelError("expected a model file, got an empty name", hint="Give the path of an .onnx file.")
    config = make_config(**{name: settings[name] for name in _SETTINGS if name in settings})
    classifier = open_classifier(config.model, model_options(config, "cpu"), progress)
    ranks = ranks_of(classifier.head)
    # Without images nothing is known of the features' covariance: every direction is taken to vary alike.
    near_null = near_null_dim(classifier.head.weight, None, NEAR_NULL_FRACTION)
    return {
        **_model_facts(classifier),
        **_head_facts(classifier, ranks),
        "geometry": geometry_part(ranks, classifier.head, (NEAR_NULL_FRACTION, *near_null)).model_dump(),
        "certificate": certificate_part(
            certify_on_noise(classifier, torch_device(config.device), thorough=bool(settings.get("thorough")))
        ).model_dump(),
    }


def _model_facts(classifier: Classifier) -> dict[str, Any]:
    p = classifier.preprocessing
    return {
        "name": classifier.name,
        "format": classifier.format,
        "sha256": classifier.sha256,
        "runtime": asdict(classifier.runtime),
        "description": dict(classifier.description),
        "class_names": list(classifier.class_names) if classifier.class_names is not None else None,
        "preprocessing": {"settings": preprocess_text(p), "source": p.source, "guessed": list(p.guessed)},
    }


def _head_facts(classifier: Classifier, ranks: Ranks) -> dict[str, Any]:
    head = classifier.head
    return {
        "head": {
            "kind": head.kind,
            "nodes": list(head.nodes),
            "features": head.features,
            "logits": head.logits,
            "classes": len(head.weight),
            "feature_dim": ranks.feature_dim,
            "stored_dtype": head.stored_dtype,
            "activation": head.activation,
            "activation_stated": head.activation_stated,
            "max_error": head.max_error,
        }
    }
