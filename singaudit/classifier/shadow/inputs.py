"""What enters a copy: inputs checked against their declaration and brought into their carriers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from singaudit.classifier.shadow import carriers
from singaudit.classifier.shadow.plan import Input
from singaudit.errors import ModelError


def accept(value: Any, declared: Input) -> Any:
    """Check one input against its declaration and bring it into its carrier; sequences pass as lists."""
    if not isinstance(value, Tensor):
        if isinstance(value, list) or value is None:
            return value
        raise ModelError(
            f"Input {declared.name} must be a torch tensor, not {type(value).__name__}.", hint="Use torch.from_numpy."
        )
    shape = declared.shape
    if shape is not None:
        fits = len(shape) == value.ndim and all(
            want in (None, have) for want, have in zip(shape, value.shape, strict=True)
        )
        if not fits:
            want = "x".join("?" if size is None else str(size) for size in shape)
            have = "x".join(str(size) for size in value.shape)
            raise ModelError(
                f"Input {declared.name} is declared {want or 'a scalar'} but arrived as {have or 'a scalar'}.",
                hint="Resize the images, or batch them as the graph declares.",
            )
    return carriers.carry(value, declared.element)


def of_declared_shape(item: Input) -> Tensor | None:
    """A tensor on ``meta`` of the input's declared type and sizes; None where a size is open."""
    if item.shape is None or any(size is None for size in item.shape):
        return None
    return torch.empty([size or 0 for size in item.shape], dtype=carriers.CARRIERS[item.element], device="meta")


def narrowed(values: Sequence[Any], declared: Sequence[Input]) -> list[Any]:
    """Return accepted inputs as they travel in a copy that is not widened to float64."""
    result = []
    for value, item in zip(values, declared, strict=True):
        wide = isinstance(value, Tensor) and value.dtype == torch.float64
        result.append(value.to(torch.float32) if wide and carriers.CARRIERS[item.element] != torch.float64 else value)
    return result
