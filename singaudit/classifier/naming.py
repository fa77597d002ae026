"""Which classes, which device: what a user's words mean for a classifier."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from singaudit.classifier.interface import Classifier
from singaudit.config import AuditConfig, check_class_names
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
        names, source = _told_apart(classifier.class_names), classifier.class_names_source
    if len(names) not in allowed:
        one = " (the positive class, or negative,positive)" if count == 1 else ""
        raise ConfigError(
            f"expected {' or '.join(map(str, allowed))} class names for the head's {count} logits{one}, "
            f"got {len(names)} from {source}",
            hint="Name every logit once, in logit order.",
        )
    return names, source


def _told_apart(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names, those that occur more than once with their logit's number: ImageNet has two cranes."""
    cleaned = [unicodedata.normalize("NFC", name).strip() for name in names]
    counts = Counter(cleaned)
    return check_class_names(
        tuple(f"{name} ({index})" if name and counts[name] > 1 else name for index, name in enumerate(cleaned))
    )


def predicted(logits: NDArray[np.float32], names: int) -> NDArray[np.intp]:
    """(n,) predicted class: the largest logit; for a single logit its sign."""
    if logits.shape[1] > 1:
        return np.argmax(logits, axis=1)
    positive = (logits[:, 0] > 0).astype(np.intp)
    return positive if names == 2 else np.zeros(len(logits), np.intp)


def providers(device: str) -> tuple[str, ...]:
    """ONNX Runtime's execution providers for a device, CUDA's with the card's number; CUDA only where it is asked for
    or really there."""
    if device == "cpu" or (device == "auto" and not _cuda_here()):
        return ("CPUExecutionProvider",)
    _, _, index = device.partition(":")
    return (f"CUDAExecutionProvider:{index or 0}", "CPUExecutionProvider")


def torch_device(device: str) -> str:
    """torch's name of a device."""
    return ("cuda" if _cuda_here() else "cpu") if device == "auto" else device


def arithmetic(device: str) -> str:
    """What computes there, as far as numbers depend on it: the card's name, or the CPU's vector instructions.

    ``device`` is torch's name of a device, or ONNX Runtime's of a provider.
    """
    kind, _, index = device.partition(":")
    if not kind.lower().startswith("cuda"):
        return " ".join(np.show_config(mode="dicts")["SIMD Extensions"]["found"])
    import torch

    return torch.cuda.get_device_name(int(index or 0)) if torch.cuda.is_available() else index


def _cuda_here() -> bool:
    # Asking torch costs its import; a machine without the driver's device file has no CUDA to ask for.
    if os.name == "posix" and not os.path.exists("/dev/nvidiactl") and not os.path.exists("/dev/dxg"):
        return False
    import torch

    return bool(torch.cuda.is_available())
