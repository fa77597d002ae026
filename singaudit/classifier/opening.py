"""Opens whatever a user names as a classifier: a table of kinds, each read by a file of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from singaudit.classifier.interface import Classifier
from singaudit.classifier.model_process import Limits
from singaudit.classifier.onnx_file import CPU, open_onnx
from singaudit.errors import ConfigError, ModelError

BUILTIN = "builtin:"


@dataclass(frozen=True)
class Wishes:
    """What the user says about a classifier beside its name; None where nothing is said."""

    logits: str | None = None
    """Output that holds the logits, where the graph leaves a choice."""
    features: str | None = None
    """Tensor that holds the features, where the graph leaves a choice."""
    preprocess: str | None = None
    """A ``--preprocess`` string."""
    activation: str = "auto"
    """What follows the logits: auto, softmax or sigmoid."""
    providers: Sequence[str] = CPU
    """ONNX Runtime's execution providers, exactly these."""
    limits: Limits = field(default_factory=Limits)
    """On the process that the model runs in."""


def open_classifier(model: str, wishes: Wishes | None = None) -> Classifier:
    """The classifier that ``model`` names, its head proved, ready to run.

    ``builtin:NAME`` is a classifier of the embedded world; anything else is the path of an ONNX file.
    Raises ``ModelError`` for what cannot be opened, ``ConfigError`` for options that do not fit it.
    """
    wishes = wishes or Wishes()
    if not model:
        raise ModelError("expected a model file, got an empty name", hint="Give the path of an .onnx file.")
    if model.startswith(BUILTIN):
        return _onnx(_builtin_file(model.removeprefix(BUILTIN)), wishes)
    return _onnx(Path(model), wishes)


def _onnx(path: Path, wishes: Wishes) -> Classifier:
    return open_onnx(
        path, logits=wishes.logits, features=wishes.features, preprocess=wishes.preprocess,
        activation=wishes.activation, providers=wishes.providers, limits=wishes.limits,
    )  # fmt: skip


def _builtin_file(name: str) -> Path:
    """The file of a classifier of the embedded world. Raises ``ConfigError``."""
    folder = Path(str(resources.files("singaudit") / "demo" / "models"))
    known = {path.stem: path for path in folder.glob("*.onnx")}
    if name not in known:
        raise ConfigError(f"expected one of {', '.join(sorted(known))} after {BUILTIN}, got {name!r}")
    return known[name]
