"""What decides a classifier's features and logits of an image, as plain data: the key of what is cached of it."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from typing import Any

from singaudit.classifier.interface import Classifier


def forward_identity(classifier: Classifier, provider: str) -> dict[str, Any]:
    """Model, tensors, head, preprocessing and execution provider; not where any of it was stated or guessed."""
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
        "device": provider,
        "precision": "fp32",
    }
