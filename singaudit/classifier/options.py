"""What a user may say about a classifier beside its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from singaudit.classifier.graph.session import CPU, providers
from singaudit.classifier.sandbox.process import Limits

if TYPE_CHECKING:
    from singaudit.config import AuditConfig


@dataclass(frozen=True)
class ModelOptions:
    """What the user says about a classifier beside its name; None where nothing is said."""

    logits: str | None = None
    """Output that holds the logits, where the graph leaves a choice."""
    features: str | None = None
    """Tensor that holds the features, where the graph leaves a choice."""
    preprocess: str | None = None
    """A ``--preprocess`` string."""
    activation: Literal["auto", "softmax", "sigmoid", "none"] | str = "auto"
    """What follows the logits; auto: what the graph or its metadata says, softmax where they say nothing."""
    providers: Sequence[str] = CPU
    """ONNX Runtime's execution providers, exactly these."""
    threads: int | None = None
    """Threads that ONNX Runtime uses at most; None: one per core."""
    stacked: Literal["collapsed", "last"] = "last"
    """What the head is where linear layers follow one another with nothing non-linear between: the last alone, or all
    of them as one, whose features then include what the earlier ones drop."""
    limits: Limits = field(default_factory=Limits)
    """On the processes that convert the model and that it runs in."""
    arch: str | None = None
    """Architecture of a checkpoint that holds weights only."""
    allow_code: bool = False
    """Whether files that are programs may be run."""


def model_options(config: AuditConfig, device: str | None = None) -> ModelOptions:
    """What the user says of the model file; ``device`` to run it on, where it is not the one of the settings."""
    return ModelOptions(
        logits=config.logits,
        features=config.features,
        preprocess=config.preprocess,
        activation=config.activation,
        providers=providers(device or config.device),
        limits=Limits(config.model_seconds, config.model_memory),
        arch=config.arch,
        allow_code=config.allow_code,
    )
