"""Indexing (ONNX operator specification: Slice, Gather, Scatter, OneHot, TopK, NonZero, Compress, Unique, ...)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from onnx import TensorProto
from torch import Tensor

from singaudit.classifier.shadow import limits
from singaudit.classifier.shadow.operators.registry import Kernel, Site, Unsupported, fixed, from_front, operator

_INT64 = fixed(TensorProto.INT64)


def _slice(x: Tensor, starts: Sequence[int], ends: Sequence[int], axes: Any, steps: Any) -> Tensor:
    """Slice as numpy does; negative steps select by index, since torch has none."""
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        # slice() clamps the specification's huge ends, but reads a negative end of a backward slice as "from the
        # back": below -size it means "beyond the beginning", which Python writes None.
        size = x.shape[axis]
        last = None if step < 0 and end < -size else end
        begin, stop, by = slice(start, last, step).indices(size)
        if by == 1:
            if (begin, stop) != (0, size):
                x = x.narrow(axis, min(begin, size), max(stop - begin, 0))
        elif by > 1:
            index = [slice(None)] * x.ndim
            index[axis] = slice(begin, max(stop, begin), by)
            x = x[tuple(index)]
        else:
            x = x.index_select(axis, torch.arange(begin, stop, by, device=x.device) if begin > stop else _none(x))
    return x


def _none(x: Tensor) -> Tensor:
    return torch.zeros(0, dtype=torch.int64, device=x.device)


@operator("Slice", attributes=("axes", "ends", "starts"))
def slice_by_attribute(site: Site) -> Kernel:
    """Slice before opset 10."""
    starts, ends, axes = site.need("starts"), site.need("ends"), site.get("axes")
    return lambda x: _slice(x, starts, ends, axes, None)


@operator("Slice", 10, host=(1, 2, 3, 4))
def slice_(site: Site) -> Kernel:
    """Slice with starts, ends, axes and steps."""
    return lambda x, starts, ends, axes=None, steps=None: _slice(x, starts, ends, axes, steps)


@operator("Gather", attributes=("axis",))
def gather(site: Site) -> Kernel:
    """Pick entries along an axis; negative indices count from the end."""
    axis = site.get("axis", 0)
    constant = site.constants[1] if len(site.constants) > 1 else None
    if constant is not None and constant.numel() == 1:
        # One constant entry is a view; index_select would copy and its gradient would scatter.
        position, shape = int(constant), tuple(constant.shape)
        if not shape:
            return lambda x, index: x.select(axis, position)

    def run(x: Tensor, index: Tensor) -> Tensor:
        dim = from_front(axis, x.ndim)
        flat = index.reshape(-1).to(torch.int64)
        flat = torch.where(flat < 0, flat + x.shape[dim], flat)
        picked = x.index_select(dim, flat)
        return picked if index.ndim == 1 else picked.reshape(*x.shape[:dim], *index.shape, *x.shape[dim + 1 :])

    return run


def _positive(index: Tensor, size: int) -> Tensor:
    index = index.to(torch.int64)
    return torch.where(index < 0, index + size, index)


@operator("GatherElements", 11, attributes=("axis",))
def gather_elements(site: Site) -> Kernel:
    """Pick single elements along an axis."""
    axis = site.get("axis", 0)
    return lambda x, index: x.gather(axis, _positive(index, x.shape[axis]))


@operator("GatherND", 11, attributes=("batch_dims",))
def gather_nd(site: Site) -> Kernel:
    """Pick slices by index tuples, after shared leading batch dimensions."""
    batch = site.get("batch_dims", 0)

    def run(x: Tensor, index: Tensor) -> Tensor:
        depth = index.shape[-1]
        parts = [_positive(index[..., i], x.shape[batch + i]) for i in range(depth)]
        leading = []
        for axis in range(batch):
            shape = [1] * (index.ndim - 1)
            shape[axis] = -1
            leading.append(torch.arange(x.shape[axis], device=x.device).view(shape))
        return x[tuple(leading + parts)]

    return run


_REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def _reduction(site: Site) -> str:
    return site.choice("reduction", "none", ("none", *_REDUCTIONS))


@operator("Scatter", 9, attributes=("axis",))
@operator("ScatterElements", 11, attributes=("axis", "reduction"))
def scatter_elements(site: Site) -> Kernel:
    """Write single elements along an axis, or combine them with what is there."""
    axis, how = site.get("axis", 0), _reduction(site)

    def run(x: Tensor, index: Tensor, updates: Tensor) -> Tensor:
        index = _positive(index, x.shape[axis])
        if how == "none":
            return x.scatter(axis, index, updates.to(x.dtype))
        return x.scatter_reduce(axis, index, updates.to(x.dtype), _REDUCTIONS[how], include_self=True)

    return run


@operator("ScatterND", 11, attributes=("reduction",))
def scatter_nd(site: Site) -> Kernel:
    """Write slices by index tuples, or combine them with what is there."""
    how = _reduction(site)

    def run(x: Tensor, index: Tensor, updates: Tensor) -> Tensor:
        depth = index.shape[-1]
        flat = torch.zeros(index.shape[:-1], dtype=torch.int64, device=x.device)
        for i in range(depth):
            flat = flat * x.shape[i] + _positive(index[..., i], x.shape[i])
        rows = x.reshape(-1, *x.shape[depth:]) if depth else x.unsqueeze(0)
        flat, updates = flat.reshape(-1), updates.reshape(-1, *x.shape[depth:]).to(x.dtype)
        if how == "none":
            return rows.index_copy(0, flat, updates).reshape(x.shape)
        wide = flat.view(-1, *[1] * (rows.ndim - 1)).expand_as(updates)
        return rows.scatter_reduce(0, wide, updates, _REDUCTIONS[how], include_self=True).reshape(x.shape)

    return run


@operator("TensorScatter", 24, attributes=("axis", "mode"))
def tensor_scatter(site: Site) -> Kernel:
    """Write a run of entries into a cache, per sample at its own position."""
    axis, circular = site.get("axis", -2), site.choice("mode", "linear", ("linear", "circular")) == "circular"

    def run(cache: Tensor, update: Tensor, positions: Tensor | None = None) -> Tensor:
        dim = from_front(axis, cache.ndim)
        steps = torch.arange(update.shape[dim], device=cache.device)
        start = steps.new_zeros(cache.shape[0]) if positions is None else positions
        index = start.view(-1, 1) + steps
        if circular:
            index = index % cache.shape[dim]
        shape = [1] * cache.ndim
        shape[0], shape[dim] = index.shape[0], index.shape[1]
        return cache.scatter(dim, index.view(shape).expand_as(update), update.to(cache.dtype))

    return run


@operator("OneHot", 9, attributes=("axis",), host=(1,), types=lambda site: (site.input_types[2],))
def one_hot(site: Site) -> Kernel:
    """Place the on-value where the index says, the off-value elsewhere; an index out of range is all off."""
    axis = site.get("axis", -1)

    def run(index: Tensor, depth: int | list[int], values: Tensor) -> Tensor:
        count = int(depth[0] if isinstance(depth, list) else depth)
        limits.check_elements([*index.shape, count], "OneHot")
        index = index.to(torch.int64)
        index = torch.where(index < 0, index + count, index)
        hit = index.unsqueeze(-1) == torch.arange(count, device=index.device)
        return torch.where(hit, values[1], values[0]).movedim(-1, axis)

    return run


def _top_k(x: Tensor, k: int, axis: int, largest: bool) -> tuple[Tensor, Tensor]:
    # A stable sort: among equals the specification wants the lower index first.
    values, index = torch.sort(x, dim=axis, descending=largest, stable=True)
    return values.narrow(axis, 0, k), index.narrow(axis, 0, k)


def _top_k_types(site: Site) -> tuple[int, ...]:
    return (site.input_types[0], TensorProto.INT64)


@operator("TopK", attributes=("axis", "k"), types=_top_k_types)
def top_k_by_attribute(site: Site) -> Kernel:
    """TopK before opset 10."""
    return lambda x: _top_k(x, site.need("k"), site.get("axis", -1), True)


@operator("TopK", 10, attributes=("axis", "largest", "sorted"), host=(1,), types=_top_k_types)
def top_k(site: Site) -> Kernel:
    """The largest or smallest entries along an axis and where they are."""
    axis, largest = site.get("axis", -1), site.flag("largest", 1)
    return lambda x, k: _top_k(x, int(k[0] if isinstance(k, list) else k), axis, largest)


def _register_arg(kind: str) -> None:
    @operator(kind, attributes=("axis", "keepdims", "select_last_index"), types=_INT64)
    def build(site: Site) -> Kernel:
        axis, keep, last = site.get("axis", 0), site.flag("keepdims", 1), site.flag("select_last_index", 0)

        def run(x: Tensor) -> Tensor:
            extreme = x.amax(axis, keepdim=True) if kind == "ArgMax" else x.amin(axis, keepdim=True)
            hits = (x == extreme).to(torch.int8)
            # argmax of a 0/1 tensor is not promised to be the first hit; weighting by position makes it so.
            size = x.shape[axis]
            order = torch.arange(1, size + 1, device=x.device)
            shape = [1] * x.ndim
            shape[axis] = size
            weight = (order if last else order.flip(0)).view(shape)
            return (hits * weight).argmax(axis, keepdim=keep)

        return run


_register_arg("ArgMax")
_register_arg("ArgMin")


@operator("NonZero", 9, data_shape=True, types=_INT64)
def non_zero(site: Site) -> Kernel:
    """Indices of non-zero elements, one row per dimension."""
    return lambda x: torch.nonzero(x).t() if x.ndim else torch.zeros((0, int(x != 0)), dtype=torch.int64)


@operator("Compress", 9, attributes=("axis",), data_shape=True)
def compress(site: Site) -> Kernel:
    """Keep the entries whose condition holds."""
    axis = site.get("axis")

    def run(x: Tensor, condition: Tensor) -> Tensor:
        index = torch.nonzero(condition).reshape(-1)
        return x.reshape(-1).index_select(0, index) if axis is None else x.index_select(axis, index)

    return run


@operator(
    "Unique",
    11,
    attributes=("axis", "sorted"),
    data_shape=True,
    types=lambda site: (site.input_types[0], *[TensorProto.INT64] * 3),
)
def unique(site: Site) -> Kernel:
    """Distinct entries, where each came first, which one each entry is, and how often."""
    axis, in_order = site.get("axis"), site.flag("sorted", 1)

    def run(x: Tensor) -> tuple[Tensor, ...]:
        flat = x.reshape(-1) if axis is None else x
        dim = 0 if axis is None else axis
        values, inverse, counts = torch.unique(flat, return_inverse=True, return_counts=True, dim=dim)
        size = values.shape[dim]
        positions = torch.arange(inverse.numel(), device=x.device)
        first = torch.full((size,), inverse.numel(), device=x.device, dtype=torch.int64)
        first = first.scatter_reduce(0, inverse, positions, "amin")
        if not in_order:
            order = first.argsort()
            values, first, counts = values.index_select(dim, order), first[order], counts[order]
            inverse = order.argsort()[inverse]
        return values, first, inverse, counts

    return run


@operator("ReverseSequence", 10, attributes=("batch_axis", "time_axis"))
def reverse_sequence(site: Site) -> Kernel:
    """Reverse the first entries of each sample in time."""
    batch_axis, time_axis = site.get("batch_axis", 1), site.get("time_axis", 0)
    if {batch_axis, time_axis} != {0, 1}:
        raise Unsupported(f"batch_axis={batch_axis}, time_axis={time_axis}")

    def run(x: Tensor, lengths: Tensor) -> Tensor:
        time = torch.arange(x.shape[time_axis], device=x.device).unsqueeze(1)
        index = torch.where(time < lengths, lengths - 1 - time, time)
        index = index if time_axis == 0 else index.t()
        return x.gather(time_axis, index.view(*index.shape, *[1] * (x.ndim - 2)).expand_as(x))

    return run


@operator("ArrayFeatureExtractor", 1, domain="ai.onnx.ml", types=lambda site: (site.input_types[0],))
def array_feature_extractor(site: Site) -> Kernel:
    """Pick entries of the last axis."""
    return lambda x, index: x.index_select(-1, index.reshape(-1).to(torch.int64))
