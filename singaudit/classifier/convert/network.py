"""A torch network between the reader that made it and the export to ONNX; lives in the converting process only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Statements:
    """What is known of a network beside its weights, and who says so."""

    preprocess: Mapping[str, Any] = field(default_factory=dict)
    """Keys of :func:`~singaudit.classifier.preprocessing.resolve.parse_preprocess` that somebody stated for these
    weights."""
    source: str = ""
    """Where they stand, in words."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Keys that are usual for the architecture but that nobody stated for these weights: guesses."""
    defaults_source: str = ""
    """Where the guesses come from, in words."""
    class_names: tuple[str, ...] | None = None
    """In logit order; None where nobody states them."""
    class_names_source: str = ""
    """Where they stand, in words."""
    activation: str | None = None
    """"softmax" or "sigmoid" where somebody states it."""


@dataclass(frozen=True)
class Network:
    """A network ready to be exported."""

    module: Any
    """torch.nn.Module or ScriptModule in evaluation mode, computing in float32: images -> logits."""
    shape: tuple[int, int, int]
    """Of one image as the module takes it: (channels, height, width), or (height, width, channels) for nhwc."""
    statements: Statements
    """Preprocessing, class names, activation."""
    description: Mapping[str, str | int]
    """Facts for ``inspect``, in display order."""
    stored: Mapping[str, tuple[str, tuple[int, ...]]] = field(default_factory=dict)
    """Type and shape of each stored weight by name; decides the rank tolerance of the head."""
    dtype: Literal["float32", "uint8"] = "float32"
    """Of the images."""
    layout: Literal["nchw", "nhwc"] = "nchw"
    """Of the images."""
    batch: int | None = None
    """Images in every batch where their number is fixed in the program; None where it is free."""
    size_guessed: bool = False
    """Whether the module takes images of other sizes as well and nobody stated this one."""
    program: Any = None
    """torch.export's ExportedProgram where the file holds one; its exporter takes nothing else."""


def stored_as(tensors: Mapping[str, Any]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type and shape of every stored weight."""
    return {name: (str(t.dtype).removeprefix("torch."), tuple(t.shape)) for name, t in tensors.items()}
