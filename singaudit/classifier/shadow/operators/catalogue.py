"""Imports every module of operators, so that the registry is complete."""

from __future__ import annotations

from singaudit.classifier.shadow.operators import (  # noqa: F401
    activation,
    arithmetic,
    attention,
    blocks,
    comparison,
    control,
    convolution,
    fused,
    indexing,
    linear,
    loss,
    normalisation,
    padding,
    pooling,
    quantised,
    quantised_microsoft,
    reduction,
    resize,
    sequence,
    shape,
    signal,
    spatial,
)
