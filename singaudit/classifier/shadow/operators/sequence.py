"""Sequences and optionals (ONNX operator specification): Python lists of tensors, and None."""

from __future__ import annotations

from typing import Any

import torch
from onnx import TensorProto
from torch import Tensor

from singaudit.classifier.shadow.operators.registry import Kernel, Site, fixed, from_front, operator, same_as_input
from singaudit.classifier.shadow.operators.shape import split_sizes

_SAME = same_as_input()


def scalar(value: Any) -> Any:
    """Return a Python number that may come as a list of one."""
    return value[0] if isinstance(value, list) else value


@operator("SequenceConstruct", 11, data_shape=True, types=_SAME)
def sequence_construct(site: Site) -> Kernel:
    """A list of the inputs."""
    return lambda *items: list(items)


@operator("SequenceEmpty", 11, attributes=("dtype",), data_shape=True, types=lambda site: (site.get("dtype", 1),))
def sequence_empty(site: Site) -> Kernel:
    """An empty list."""
    return list


@operator("SequenceInsert", 11, host=(2,), data_shape=True, types=lambda site: (site.input_types[1],))
def sequence_insert(site: Site) -> Kernel:
    """The list with one more tensor, at the end unless a position is given."""

    def run(sequence: list[Tensor], item: Tensor, position: Any = None) -> list[Tensor]:
        at = len(sequence) if position is None else scalar(position)
        at = at + len(sequence) if at < 0 else at
        return [*sequence[:at], item, *sequence[at:]]

    return run


@operator("SequenceErase", 11, host=(1,), data_shape=True, types=_SAME)
def sequence_erase(site: Site) -> Kernel:
    """The list without one tensor, the last unless a position is given."""

    def run(sequence: list[Tensor], position: Any = -1) -> list[Tensor]:
        at = from_front(scalar(position), len(sequence))
        return [*sequence[:at], *sequence[at + 1 :]]

    return run


@operator("SequenceAt", 11, host=(1,), data_shape=True, types=_SAME)
def sequence_at(site: Site) -> Kernel:
    """One tensor of the list."""
    return lambda sequence, position: sequence[scalar(position)]


@operator("SequenceLength", 11, data_shape=True, creates=True, types=fixed(TensorProto.INT64))
def sequence_length(site: Site) -> Kernel:
    """How many tensors the list has."""
    return lambda sequence: torch.tensor(len(sequence), dtype=torch.int64)


@operator("ConcatFromSequence", 11, attributes=("axis", "new_axis"), data_shape=True, types=_SAME)
def concat_from_sequence(site: Site) -> Kernel:
    """Join the list's tensors along an old or a new axis."""
    axis, join = site.need("axis"), torch.stack if site.flag("new_axis", 0) else torch.cat
    return lambda sequence: join(sequence, axis)


@operator("SplitToSequence", 11, attributes=("axis", "keepdims"), host=(1,), data_shape=True, types=_SAME)
def split_to_sequence(site: Site) -> Kernel:
    """Split a tensor into a list."""
    axis, keep = site.get("axis", 0), site.flag("keepdims", 1)

    def run(x: Tensor, split: list[int] | int | None = None) -> list[Tensor]:
        if split is None:
            parts = list(torch.split(x, 1, axis))
            return parts if keep else [part.squeeze(axis) for part in parts]
        if isinstance(split, int):
            return list(torch.split(x, split, axis))
        return list(torch.split(x, split_sizes(x.shape[axis], split, len(split)), axis))

    return run


@operator("SequenceMap", 17, attributes=("body",), data_shape=True, types=lambda site: site.body_outputs["body"])
def sequence_map(site: Site) -> Kernel:
    """Apply a subgraph to each entry of the first list; further lists go along, tensors are repeated."""
    body = site.bodies["body"]

    def run(*values: Any) -> Any:
        given, captured = values[: site.explicit], values[site.explicit :]
        rows = [body([v[i] if isinstance(v, list) else v for v in given], captured) for i in range(len(given[0]))]
        lists = tuple([row[i] for row in rows] for i in range(len(site.body_outputs["body"])))
        return lists[0] if len(lists) == 1 else lists

    return run


@operator(
    "Optional",
    15,
    attributes=("type",),
    data_shape=True,
    types=lambda s: (s.get("type", max(s.input_types, default=0)),),
)
def optional(site: Site) -> Kernel:
    """The value itself, or None."""
    return lambda value=None: value


@operator("OptionalGetElement", 15, data_shape=True, types=_SAME)
def optional_get_element(site: Site) -> Kernel:
    """The value inside an optional."""
    return lambda value: value


@operator("OptionalHasElement", 15, data_shape=True, creates=True, types=fixed(TensorProto.BOOL))
def optional_has_element(site: Site) -> Kernel:
    """Whether there is a value inside an optional."""
    return lambda value=None: torch.tensor(value is not None)
