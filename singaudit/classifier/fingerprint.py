"""What decides a classifier's features and logits of an image, as plain data: the key of what is cached of it."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from typing import Any

from singaudit.classifier.interface import Classifier
from singaudit.machine import arithmetic


def forward_identity(classifier: Classifier, provider: str) -> dict[str, Any]:
    """Model, tensors, head, preprocessing, execution provider and what it runs on; not where any of it was stated."""
    how = asdict(classifier.preprocessing)
    del how["source"], how["guessed"]
    head = classifier.head
    return {
        "classifier": classifier.sha256,
        "format": classifier.format,
        "description": {key: str(value) for key, value in classifier.description.items()},
        "preprocessing": {key: list(value) if isinstance(value, tuple) else value for key, value in how.items()},
        "head": [head.kind, list(head.nodes), head.features, head.logits, list(head.weight.shape)],
        "weight": hashlib.sha256(head.weight.tobytes() + head.bias.tobytes()).hexdigest(),
        "device": [provider.partition(":")[0], arithmetic(provider)],
        "runtime": classifier.runtime.mode,
        "precision": "fp32",
    }
