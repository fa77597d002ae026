"""What a user may say about a classifier beside its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from singaudit.classifier.graph.session import CPU
from singaudit.classifier.sandbox.process import Limits


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
