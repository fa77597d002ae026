"""Shapes and layout (ONNX operator specification: Reshape, Transpose, Concat, Split, Expand, Pad, Shape, ...)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from onnx import TensorProto
from torch import Tensor

from singaudit.classifier.shadow import limits
from singaudit.classifier.shadow.carriers import CARRIERS, working
from singaudit.classifier.shadow.operators.registry import Kernel, Site, Unsupported, fixed, from_front, operator


@operator("Identity")
def identity(site: Site) -> Kernel:
    """The input itself."""
    return lambda x: x


@operator("Reshape", attributes=("shape",))
def reshape_by_attribute(site: Site) -> Kernel:
    """Reshape before opset 5: the shape is an attribute."""
    shape = site.need("shape")
    return lambda x: _reshape(x, shape, False)


@operator("Reshape", 5, attributes=("allowzero",), host=(1,))
def reshape(site: Site) -> Kernel:
    """Reshape; 0 copies the input's size unless ``allowzero`` is 1, -1 is inferred."""
    zeros = site.flag("allowzero", 0)
    return lambda x, shape: _reshape(x, shape, zeros)


def _reshape(x: Tensor, shape: list[int], zeros: bool) -> Tensor:
    if not zeros and 0 in shape:
        shape = [x.shape[axis] if size == 0 else size for axis, size in enumerate(shape)]
    return x.reshape(shape)


@operator("Flatten", attributes=("axis",))
def flatten(site: Site) -> Kernel:
    """Make a matrix: dimensions before ``axis``, dimensions from it on."""
    axis = site.get("axis", 1)

    def run(x: Tensor) -> Tensor:
        start = axis + x.ndim if axis < 0 else axis
        return x.reshape(math.prod(x.shape[:start]), math.prod(x.shape[start:]))

    return run


def _squeeze(x: Tensor, axes: list[int] | None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze(tuple(axes)) if axes else x


@operator("Squeeze", attributes=("axes",))
def squeeze_by_attribute(site: Site) -> Kernel:
    """Squeeze before opset 13."""
    axes = site.get("axes")
    return lambda x: _squeeze(x, axes)


@operator("Squeeze", 13, host=(1,))
def squeeze(site: Site) -> Kernel:
    """Drop dimensions of size 1."""
    return lambda x, axes=None: _squeeze(x, axes)


def _unsqueeze(x: Tensor, axes: list[int] | int) -> Tensor:
    axes = [axes] if isinstance(axes, int) else axes
    rank = x.ndim + len(axes)
    for axis in sorted(from_front(axis, rank) for axis in axes):
        x = x.unsqueeze(axis)
    return x


@operator("Unsqueeze", attributes=("axes",))
def unsqueeze_by_attribute(site: Site) -> Kernel:
    """Unsqueeze before opset 13."""
    axes = site.need("axes")
    return lambda x: _unsqueeze(x, axes)


@operator("Unsqueeze", 13, host=(1,))
def unsqueeze(site: Site) -> Kernel:
    """Insert dimensions of size 1 at these places of the result."""
    return _unsqueeze


@operator("Transpose", attributes=("perm",))
def transpose(site: Site) -> Kernel:
    """Permute dimensions; reverse them where no permutation is given."""
    perm = site.get("perm")
    return lambda x: x.permute(perm if perm is not None else list(reversed(range(x.ndim))))


@operator("Concat", attributes=("axis",))
def concat(site: Site) -> Kernel:
    """Join along an axis."""
    axis = site.get("axis", 1) if site.version < 4 else site.need("axis")
    return lambda *inputs: inputs[0] if len(inputs) == 1 else torch.cat(inputs, axis)


def split_sizes(total: int, split: list[int] | None, parts: int) -> list[int]:
    """Return the sizes of a split: the stated ones, or equal parts with a smaller last one."""
    if split is not None:
        return list(split)
    size = -(-total // parts)
    return [max(min(size, total - index * size), 0) for index in range(parts)]


def _split(site: Site, split: list[int] | None, x: Tensor) -> tuple[Tensor, ...]:
    axis = site.get("axis", 0)
    sizes = split_sizes(x.shape[axis], split, site.get("num_outputs", len(site.wanted)))
    return tuple(torch.split(x, sizes, axis))


@operator("Split", attributes=("axis", "split"))
def split_by_attribute(site: Site) -> Kernel:
    """Split before opset 13."""
    return lambda x: _split(site, site.get("split"), x)


@operator("Split", 13, attributes=("axis", "num_outputs"), host=(1,))
def split(site: Site) -> Kernel:
    """Split into stated or equal sizes."""
    return lambda x, sizes=None: _split(site, sizes, x)


@operator("Expand", 8, host=(1,))
def expand(site: Site) -> Kernel:
    """Broadcast to a shape; both sides may have size 1."""

    def run(x: Tensor, shape: list[int]) -> Tensor:
        target = np.broadcast_shapes(x.shape, tuple(shape))
        limits.check_elements(target, "Expand")
        return x.expand(target)

    return run


@operator("Tile", 6, host=(1,))
def tile(site: Site) -> Kernel:
    """Repeat along each axis."""

    def run(x: Tensor, repeats: list[int]) -> Tensor:
        limits.check_elements([n * r for n, r in zip(x.shape, repeats, strict=True)], "Tile")
        return x.repeat(repeats)

    return run


@operator("Shape", attributes=("start", "end"), creates=True, types=fixed(TensorProto.INT64))
def shape_of(site: Site) -> Kernel:
    """The sizes of a tensor, or a slice of them."""
    start, end = site.get("start", 0), site.get("end")
    return lambda x: torch.tensor(list(x.shape)[start:end], dtype=torch.int64)


@operator("Size", creates=True, types=fixed(TensorProto.INT64))
def size_of(site: Site) -> Kernel:
    """The number of elements."""
    return lambda x: torch.tensor(x.numel(), dtype=torch.int64)


def _fill_type(site: Site) -> tuple[int, ...]:
    return (site.attributes["value.type"] if "value" in site.attributes else TensorProto.FLOAT,)


@operator("ConstantOfShape", 9, attributes=("value", "value.type"), host=(0,), creates=True, types=_fill_type)
def constant_of_shape(site: Site) -> Kernel:
    """A tensor filled with one value, float zero unless stated."""
    value = site.get("value", torch.zeros(1)).reshape(-1)[0]
    number, dtype = value.item(), value.dtype

    def run(shape: list[int]) -> Tensor:
        limits.check_elements(shape, "ConstantOfShape")
        return torch.full(shape, number, dtype=working(dtype))

    return run


@operator("EyeLike", 9, attributes=("dtype", "k"), types=lambda site: (site.get("dtype", site.input_types[0]),))
def eye_like(site: Site) -> Kernel:
    """Ones on the ``k``-th diagonal of a matrix of the input's shape."""
    element, k = site.get("dtype", site.input_types[0]), site.get("k", 0)
    if element not in CARRIERS:
        raise Unsupported(f"dtype {element}")

    def run(x: Tensor) -> Tensor:
        rows = torch.arange(x.shape[0], device=x.device).unsqueeze(1)
        columns = torch.arange(x.shape[1], device=x.device)
        return (columns - rows == k).to(working(CARRIERS[element]))

    return run


@operator("Range", 11, attributes=("stash_type",), host=(0, 1, 2), creates=True)
def number_range(site: Site) -> Kernel:
    """Numbers from start to limit (exclusive) in steps of delta."""
    dtype = CARRIERS[site.output_types[0]]

    def run(*bounds: Any) -> Tensor:
        start, limit, delta = (bound[0] if isinstance(bound, list) else bound for bound in bounds)
        count = max(math.ceil((limit - start) / delta), 0)
        limits.check_elements([count], "Range")
        steps = torch.arange(count, dtype=dtype if dtype.is_floating_point else torch.int64)
        return (start + steps * delta).to(working(dtype))

    return run


@operator("Trilu", 14, attributes=("upper",), host=(1,))
def triangle(site: Site) -> Kernel:
    """Keep the upper or lower triangle of the last two dimensions."""
    function = torch.triu if site.flag("upper", 1) else torch.tril
    return lambda x, k=0: function(x, k[0] if isinstance(k, list) else k)
