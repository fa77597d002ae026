"""Which classes: what a user's words mean for a classifier."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from singaudit.classifier.interface import Classifier
from singaudit.config import AuditConfig, told_apart
from singaudit.errors import ConfigError


def class_names(config: AuditConfig, classifier: Classifier) -> tuple[tuple[str, ...], str]:
    """The names in logit order and where they come from. Raises ``ConfigError`` when they do not fit the head."""
    count = len(classifier.head.weight)
    allowed = (1, 2) if count == 1 else (count,)
    names, source = config.classes, "--classes"
    if names is None:
        if classifier.class_names is None:
            raise ConfigError(
                f"expected the names of the model's {count} classes, its file holds none",
                hint="Pass --classes a,b,c in logit order, or a file with one name a line.",
            )
        names, source = told_apart(classifier.class_names), classifier.class_names_source
    if len(names) not in allowed:
        one = " (the positive class, or negative,positive)" if count == 1 else ""
        raise ConfigError(
            f"expected {' or '.join(map(str, allowed))} class names for the head's {count} logits{one}, "
            f"got {len(names)} from {source}",
            hint="Name every logit once, in logit order.",
        )
    return names, source


def predicted(logits: NDArray[np.float32], names: int) -> NDArray[np.intp]:
    """(n,) predicted class: the largest logit; for a single logit its sign."""
    if logits.shape[1] > 1:
        return np.argmax(logits, axis=1)
    positive = (logits[:, 0] > 0).astype(np.intp)
    return positive if names == 2 else np.zeros(len(logits), np.intp)
