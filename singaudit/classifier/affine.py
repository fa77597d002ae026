"""Affine functions of the features, carried through the operators that stand around a head."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from singaudit.classifier.graph import Graph, attributes
from singaudit.classifier.linear import Array, Linear, NotLinear

if TYPE_CHECKING:
    pass

_LARGEST = 1 << 28
"""Numbers (2 GiB in float64) that one coefficient array may hold."""


@dataclass(frozen=True)
class Affine:
    """A tensor as ``sum_k coefficients[k] . f_k + constant``, for one image (batch axis of length 1).

    Axes along which the tensor is the same everywhere (a feature map given by its mean) may have length 1 here
    though they are longer in the graph.
    """

    parts: Mapping[int, Array | None]
    """By feature tensor: (m_k, *shape); None for the identity, before anything was done to it."""
    constant: Array
    """(*shape)."""
    noise: float = 0.0
    """Bound on what rounding to the quantised grids on the way adds, in the tensor's units."""
    clip: tuple[float, float] | None = None
    """Range that the last quantisation cuts to, in the tensor's units."""
    pending: str | None = None
    """Name of a scale that depends on the image and still has to be multiplied on; None for none."""


@dataclass(frozen=True)
class Scale:
    """A number that depends on the image: ``factor`` times the tensor ``name`` (dynamic quantisation)."""

    name: str
    factor: Array


@dataclass(frozen=True)
class Step:
    """What a handler sees of one node."""

    graph: Graph
    node: Any
    inputs: Sequence[Any]
    """Affine, Scale, array, or None for an input left out, in the node's order."""
    in_shapes: Sequence[tuple[int, ...]]
    """As the graph has them for one image; () where unknown."""
    out_shape: tuple[int, ...]
    out_name: str

    def affine(self) -> Affine:
        """The only input that depends on the features; NotLinear if there are several."""
        found = [value for value in self.inputs if isinstance(value, Affine)]
        if len(found) != 1:
            raise NotLinear(f"{self.graph.label(self.node)} combines {len(found)} tensors of the features")
        return found[0]


def materialise(value: Affine) -> Affine:
    """The same with every identity written out."""
    parts = {}
    for key, part in value.parts.items():
        if part is None:
            size = value.constant.size
            if size * size > _LARGEST:
                raise NotLinear(f"features of {size} numbers are too many to follow through this head")
            part = np.eye(size).reshape(size, *value.constant.shape)
        parts[key] = part
    return replace(value, parts=parts)


def mapped(value: Affine, function: Callable[[Array], Array], noise: float | None = None) -> Affine:
    """The affine tensor after a linear function of arrays that carry one leading axis more."""
    parts = {key: function(part) for key, part in materialise(value).parts.items() if part is not None}
    for part in parts.values():
        if part.size > _LARGEST:
            raise NotLinear("the head's coefficients do not fit in memory")
    return Affine(
        parts, function(value.constant[None])[0], value.noise if noise is None else noise, None, value.pending
    )


def apply_linear(value: Affine, linear: Linear, out_rank: int) -> Affine:
    """The tensor after one linear operator."""
    if linear.input_scale is not None:
        value = _shifted(_scaled(value, np.asarray(linear.input_scale)), -linear.input_zero * linear.input_scale)
    m, c = linear.matrix.shape
    rank = value.constant.ndim
    axes = [axis % rank for axis in linear.feature_axes]
    if int(np.prod([value.constant.shape[axis] for axis in axes])) != m:
        raise NotLinear(f"{linear.title} expected {m} features, its input has shape {value.constant.shape}")
    class_axis = linear.class_axis % out_rank

    def product(x: Array) -> Array:
        moved = np.moveaxis(x, [axis + 1 for axis in axes], range(-len(axes), 0))
        rows = moved.reshape(*moved.shape[: moved.ndim - len(axes)], m) @ linear.matrix
        return np.moveaxis(rows, -1, class_axis + 1)

    bound = value.noise * float(np.abs(linear.matrix).sum(axis=0).max(initial=0.0))
    plain = [key for key, part in value.parts.items() if part is None]
    if plain and value.constant.size == m:
        out = product(value.constant[None])[0]
        shape = [1] * out.ndim
        shape[class_axis] = c
        parts: dict[int, Array | None] = {plain[0]: linear.matrix.reshape(m, *shape)}
        value = Affine(parts, out, bound)
    else:
        value = mapped(value, product, bound)
    if linear.bias is not None:
        value = add_constant(value, linear.bias)
    value = replace(value, pending=linear.dynamic)
    if linear.output_scale is not None:
        value = quantised(value, linear.output_scale, linear.output_zero, linear.output_range)
    return value


def quantised(value: Affine, scale: float, zero: float, bounds: tuple[float, float]) -> Affine:
    """Rounded to the grid: stored = round(value / scale) + zero, cut to ``bounds``."""
    stored = _shifted(_scaled(value, np.asarray(1 / scale)), zero)
    return replace(stored, noise=stored.noise + 0.5, clip=bounds)


def _scaled(value: Affine, factor: Array) -> Affine:
    clip = None
    if value.clip is not None and factor.size == 1 and float(factor.reshape(())) > 0:
        clip = (value.clip[0] * float(factor.reshape(())), value.clip[1] * float(factor.reshape(())))
    noise = value.noise * float(np.abs(factor).max(initial=0.0))
    return replace(mapped(value, lambda x: _lift(x, factor.ndim) * factor, noise), clip=clip)


def _shifted(value: Affine, offset: float) -> Affine:
    clip = None if value.clip is None else (value.clip[0] + offset, value.clip[1] + offset)
    return replace(value, constant=value.constant + offset, clip=clip)


def _lift(x: Array, rank: int) -> Array:
    """Axes of length 1 put after the leading one, until ``rank`` others are there."""
    missing = rank - (x.ndim - 1)
    return x.reshape(x.shape[0], *([1] * missing), *x.shape[1:]) if missing > 0 else x


def add_constant(value: Affine, other: Array) -> Affine:
    """The tensor plus a constant, with broadcasting."""
    constant = value.constant + other
    if constant.shape == value.constant.shape:
        return replace(value, constant=constant, clip=None)
    parts = {
        key: np.broadcast_to(_lift(part, constant.ndim), (part.shape[0], *constant.shape))
        for key, part in materialise(value).parts.items()
        if part is not None
    }
    return replace(value, parts=parts, constant=constant, clip=None)


def add(first: Affine, second: Affine, sign: float = 1.0) -> Affine:
    """The sum (or, with sign -1, the difference) of two affine tensors."""
    if first.pending or second.pending:
        raise NotLinear("a dynamically quantised product is added before it is scaled")
    first, second = materialise(first), materialise(second)
    constant = first.constant + sign * second.constant
    parts: dict[int, Array] = {}
    for factor, source in ((1.0, first), (sign, second)):
        for key, part in source.parts.items():
            if part is None:
                continue
            wide = np.broadcast_to(_lift(part, constant.ndim), (part.shape[0], *constant.shape))
            parts[key] = parts[key] + factor * wide if key in parts else factor * wide
    return Affine(parts, constant, first.noise + second.noise)


def _identity(step: Step) -> Affine:
    return step.affine()


def _reshape(step: Step) -> Affine:
    value = step.affine()
    true_shape = step.in_shapes[[isinstance(item, Affine) for item in step.inputs].index(True)]
    if value.constant.size != int(np.prod(step.out_shape)):
        if int(np.prod(true_shape)) * max(1, len(value.parts)) > _LARGEST:
            raise NotLinear("the head reshapes a feature map too large to follow")
        spread = mapped(value, lambda x: np.broadcast_to(x, (x.shape[0], *true_shape)))
        value = replace(spread, clip=value.clip)
    clip, noise = value.clip, value.noise
    return replace(mapped(value, lambda x: x.reshape(x.shape[0], *step.out_shape), noise), clip=clip)


def _transpose(step: Step) -> Affine:
    value = step.affine()
    order = attributes(step.node).get("perm") or list(range(value.constant.ndim))[::-1]
    moved = mapped(value, lambda x: x.transpose(0, *(axis + 1 for axis in order)), value.noise)
    return replace(moved, clip=value.clip)


def _sum(step: Step) -> Affine:
    values = [value for value in step.inputs if value is not None]
    operator = step.node.op_type
    total: Affine | None = None
    offset: Any = 0.0
    for index, value in enumerate(values):
        sign = -1.0 if operator == "Sub" and index == 1 else 1.0
        if isinstance(value, Scale):
            raise NotLinear(f"{step.graph.label(step.node)} adds a dynamic scale")
        if not isinstance(value, Affine):
            offset = offset + sign * np.asarray(value, dtype=np.float64)
        elif total is None:
            total = value if sign > 0 else _scaled(value, np.asarray(-1.0))
        else:
            total = add(total, value, sign)
    if total is None:
        raise NotLinear(f"{step.graph.label(step.node)} does not depend on the features")
    if np.any(offset):
        if total.pending:
            raise NotLinear("a bias is added before a dynamically quantised product is scaled")
        total = add_constant(total, np.asarray(offset, dtype=np.float64))
    return _scaled(total, np.asarray(1 / len(values))) if operator == "Mean" else total


def _multiply(step: Step) -> Affine | Scale:
    left, right = step.inputs[0], step.inputs[1]
    divide = step.node.op_type == "Div"
    if divide and not isinstance(right, np.ndarray):
        raise NotLinear(f"{step.graph.label(step.node)} divides by a number that depends on the image")
    if not isinstance(left, Affine | Scale):
        left, right = right, left
    if isinstance(right, Affine) and isinstance(left, Scale):
        left, right = right, left
    if isinstance(left, Affine) and isinstance(right, Scale) and left.pending == right.name:
        return replace(_scaled(left, right.factor), pending=None)
    if not isinstance(right, np.ndarray):
        raise NotLinear(f"{step.graph.label(step.node)} multiplies two tensors that both depend on the image")
    factor = right.astype(np.float64)
    factor = 1 / factor if divide else factor
    return Scale(left.name, left.factor * factor) if isinstance(left, Scale) else _scaled(left, factor)


def _negate(step: Step) -> Affine:
    return _scaled(step.affine(), np.asarray(-1.0))


def _batch_norm(step: Step) -> Affine:
    options = attributes(step.node)
    if options.get("training_mode", 0):
        raise NotLinear(f"{step.graph.label(step.node)} normalises by the batch it sees (training mode)")
    value = step.affine()
    gain, shift, mean, variance = (np.asarray(item, dtype=np.float64) for item in step.inputs[1:5])
    factor = gain / np.sqrt(variance + options.get("epsilon", 1e-5))
    shape = (-1, *([1] * (value.constant.ndim - 2)))
    return add_constant(_scaled(value, factor.reshape(shape)), (shift - mean * factor).reshape(shape))


def _reduced_axes(step: Step, rank: int) -> tuple[int, ...]:
    if step.node.op_type.startswith("Reduce"):
        given = attributes(step.node).get("axes")
        if given is None and len(step.inputs) > 1 and step.inputs[1] is not None:
            given = np.asarray(step.inputs[1]).reshape(-1)
        if given is not None and len(given):
            return tuple(int(axis) % rank for axis in given)
        return () if attributes(step.node).get("noop_with_empty_axes") else tuple(range(rank))
    return tuple(range(2, rank))


def _mean(step: Step) -> Affine:
    value = step.affine()
    rank = value.constant.ndim
    axes = _reduced_axes(step, rank)
    options = attributes(step.node)
    if step.node.op_type == "AveragePool" and (
        any(side != 1 for side in step.out_shape[2:])
        or any(options.get("pads", ()))
        or tuple(options.get("kernel_shape", ())) != tuple(step.in_shapes[0][2:])
    ):
        raise NotLinear(f"{step.graph.label(step.node)} averages over windows, not over the whole map")
    keep = bool(options.get("keepdims", 1))
    factor = 1.0
    if step.node.op_type == "ReduceSum":
        factor = float(np.prod([step.in_shapes[0][axis] for axis in axes]))
    return mapped(value, lambda x: factor * x.mean(axis=tuple(axis + 1 for axis in axes), keepdims=keep))


def _concat(step: Step) -> Affine:
    rank = len(step.out_shape)
    axis = attributes(step.node)["axis"] % rank
    total: Affine | None = None
    start = 0
    for value, true_shape in zip(step.inputs, step.in_shapes, strict=True):
        if isinstance(value, Scale) or (isinstance(value, Affine) and value.pending):
            raise NotLinear(f"{step.graph.label(step.node)} joins dynamically quantised products")
        length = true_shape[axis] if isinstance(value, Affine) else value.shape[axis]
        item = value if isinstance(value, Affine) else Affine({}, np.asarray(value, dtype=np.float64))
        placed = mapped(item, _placing(axis, start, length, step.out_shape), item.noise)
        total = placed if total is None else add(total, placed)
        start += length
    if total is None:
        raise NotLinear(f"{step.graph.label(step.node)} joins nothing")
    return total


def _placing(axis: int, start: int, length: int, out_shape: tuple[int, ...]) -> Callable[[Array], Array]:
    def place(x: Array) -> Array:
        shape = list(x.shape)
        shape[axis + 1] = out_shape[axis]
        out = np.zeros(shape)
        np.moveaxis(out, axis + 1, 0)[start : start + length] = np.moveaxis(x, axis + 1, 0)
        return out

    return place


def _expanded(value: Affine, axis: int, length: int) -> Affine:
    """With one axis of equal entries written out, so that it can be indexed."""
    if value.constant.shape[axis] == length:
        return materialise(value)
    return mapped(value, lambda x: np.repeat(x, length, axis=axis + 1), value.noise)


def _gather(step: Step) -> Affine:
    if not isinstance(step.inputs[0], Affine) or not isinstance(step.inputs[1], np.ndarray):
        raise NotLinear(f"{step.graph.label(step.node)} picks entries that depend on the image")
    axis = attributes(step.node).get("axis", 0) % len(step.in_shapes[0])
    value = _expanded(step.inputs[0], axis, step.in_shapes[0][axis])
    return mapped(value, lambda x: np.take(x, step.inputs[1].astype(np.int64), axis=axis + 1), value.noise)


def _slice(step: Step) -> Affine:
    options = attributes(step.node)
    rank = len(step.in_shapes[0])
    given = [None if item is None else np.asarray(item).reshape(-1) for item in step.inputs[1:]]
    if "starts" in options:
        given = [np.asarray(options["starts"]), np.asarray(options["ends"])]
        given.append(np.asarray(options["axes"]) if "axes" in options else None)
    given += [None] * (4 - len(given))
    starts, ends, axes, strides = given
    if starts is None or ends is None:
        raise NotLinear(f"{step.graph.label(step.node)} has no constant bounds")
    axes = np.arange(len(starts)) if axes is None else axes
    strides = np.ones(len(starts), dtype=np.int64) if strides is None else strides
    value = step.affine()
    for start, end, axis, stride in zip(starts, ends, axes, strides, strict=True):
        place = int(axis) % rank
        value = _expanded(value, place, step.in_shapes[0][place])
        indices = np.arange(step.in_shapes[0][place])[_range(int(start), int(end), int(stride), len_of(step, place))]
        value = mapped(value, _taking(indices, place), value.noise)
    return value


def len_of(step: Step, axis: int) -> int:
    """Length of one axis of the first input, as the graph has it."""
    return step.in_shapes[0][axis]


def _range(start: int, end: int, stride: int, length: int) -> slice:
    if stride < 0 and end < -length:
        return slice(start, None, stride)
    return slice(start, end, stride)


def _taking(indices: NDArray[np.int64], axis: int) -> Callable[[Array], Array]:
    return lambda x: np.take(x, indices, axis=axis + 1)


def _split(step: Step) -> Affine:
    axis = attributes(step.node).get("axis", 0) % len(step.in_shapes[0])
    length = step.in_shapes[0][axis]
    outputs = list(step.node.output)
    sizes = attributes(step.node).get("split")
    if sizes is None and len(step.inputs) > 1 and step.inputs[1] is not None:
        sizes = np.asarray(step.inputs[1]).reshape(-1).tolist()
    if sizes is None:
        chunk = -(-length // len(outputs))
        sizes = [min(chunk, length - index * chunk) for index in range(len(outputs))]
    place = outputs.index(step.out_name)
    start = int(sum(sizes[:place]))
    value = _expanded(step.affine(), axis, length)
    return mapped(value, _taking(np.arange(start, start + int(sizes[place])), axis), value.noise)


def _expand(step: Step) -> Affine:
    value = step.affine()
    shape = np.broadcast_shapes(value.constant.shape, step.out_shape)
    return mapped(value, lambda x: np.broadcast_to(_lift(x, len(shape)), (x.shape[0], *shape)), value.noise)


def _quantise(step: Step) -> Affine:
    scale, zero = step.inputs[1], step.inputs[2] if len(step.inputs) > 2 else None
    if not isinstance(scale, np.ndarray) or scale.size != 1:
        raise NotLinear(f"{step.graph.label(step.node)} quantises per channel or by a scale that depends on the image")
    info = np.iinfo(np.uint8 if zero is None else np.asarray(zero).dtype)
    offset = 0.0 if zero is None else float(np.asarray(zero).reshape(()))
    return quantised(step.affine(), float(scale.reshape(())), offset, (float(info.min), float(info.max)))


def _dequantise(step: Step) -> Affine:
    scale, zero = step.inputs[1], step.inputs[2] if len(step.inputs) > 2 else None
    if not isinstance(scale, np.ndarray) or scale.size != 1:
        raise NotLinear(f"{step.graph.label(step.node)} dequantises per channel or by a scale of the image")
    offset = 0.0 if zero is None else float(np.asarray(zero).reshape(()))
    return _scaled(_shifted(step.affine(), -offset), np.asarray(float(scale.reshape(()))))


def _quantised_sum(step: Step) -> Affine:
    terms = []
    for index in (0, 3):
        value, scale, zero = step.inputs[index : index + 3]
        offset = 0.0 if zero is None else float(np.asarray(zero).reshape(()))
        factor = np.asarray(float(np.asarray(scale).reshape(())))
        if isinstance(value, Affine):
            terms.append(_scaled(_shifted(value, -offset), factor))
        else:
            terms.append(Affine({}, (np.asarray(value, dtype=np.float64) - offset) * factor))
    scale, zero = step.inputs[6], step.inputs[7] if len(step.inputs) > 7 else None
    info = np.iinfo(np.uint8 if zero is None else np.asarray(zero).dtype)
    offset = 0.0 if zero is None else float(np.asarray(zero).reshape(()))
    total = add(terms[0], terms[1])
    return quantised(total, float(np.asarray(scale).reshape(())), offset, (float(info.min), float(info.max)))


HANDLERS: dict[str, Callable[[Step], Affine | Scale]] = {
    **dict.fromkeys(("Identity", "Cast", "Dropout"), _identity),
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _reshape),
    **dict.fromkeys(("Add", "Sub", "Sum", "Mean"), _sum),
    **dict.fromkeys(("Mul", "Div"), _multiply),
    **dict.fromkeys(("GlobalAveragePool", "AveragePool", "ReduceMean", "ReduceSum"), _mean),
    "Transpose": _transpose,
    "Neg": _negate,
    "BatchNormalization": _batch_norm,
    "Concat": _concat,
    "Gather": _gather,
    "Slice": _slice,
    "Split": _split,
    "Expand": _expand,
    "QuantizeLinear": _quantise,
    "DequantizeLinear": _dequantise,
    "QLinearAdd": _quantised_sum,
}
"""By operator: the affine tensor after it. Operators outside this table and linear.LINEAR_OPS end a head."""
