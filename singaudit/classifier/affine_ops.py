"""The operators that may stand around a head, each as what it does to an affine function of the features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singaudit.classifier.affine import (
    LARGEST,
    Affine,
    Scale,
    add,
    add_constant,
    lift,
    mapped,
    materialise,
    quantised,
    scaled,
    shifted,
)
from singaudit.classifier.graph import Graph, attributes
from singaudit.classifier.linear_form import Array, NotLinear


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


def _identity(step: Step) -> Affine:
    return step.affine()


def _reshape(step: Step) -> Affine:
    value = step.affine()
    true_shape = step.in_shapes[[isinstance(item, Affine) for item in step.inputs].index(True)]
    if value.constant.size != int(np.prod(step.out_shape)):
        if int(np.prod(true_shape)) * max(1, len(value.parts)) > LARGEST:
            raise NotLinear("the head reshapes a feature map too large to follow")
        if int(np.prod(true_shape)) != int(np.prod(step.out_shape)):
            raise NotLinear(f"{step.graph.label(step.node)} mixes the images of a batch")
        value = mapped(value, lambda x: np.broadcast_to(x, (x.shape[0], *true_shape)))
    return mapped(value, lambda x: x.reshape(x.shape[0], *step.out_shape))


def _transpose(step: Step) -> Affine:
    value = step.affine()
    order = attributes(step.node).get("perm") or list(range(value.constant.ndim))[::-1]
    return mapped(value, lambda x: x.transpose(0, *(axis + 1 for axis in order)))


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
            total = value if sign > 0 else scaled(value, np.asarray(-1.0))
        else:
            total = add(total, value, sign)
    if total is None:
        raise NotLinear(f"{step.graph.label(step.node)} does not depend on the features")
    if np.any(offset):
        if total.pending:
            raise NotLinear("a bias is added before a dynamically quantised product is scaled")
        total = add_constant(total, np.asarray(offset, dtype=np.float64))
    return scaled(total, np.asarray(1 / len(values))) if operator == "Mean" else total


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
        return replace(scaled(left, right.factor), pending=None)
    if not isinstance(right, np.ndarray):
        raise NotLinear(f"{step.graph.label(step.node)} multiplies two tensors that both depend on the image")
    factor = right.astype(np.float64)
    factor = 1 / factor if divide else factor
    return Scale(left.name, left.factor * factor) if isinstance(left, Scale) else scaled(left, factor)


def _negate(step: Step) -> Affine:
    return scaled(step.affine(), np.asarray(-1.0))


def _batch_norm(step: Step) -> Affine:
    options = attributes(step.node)
    if options.get("training_mode", 0):
        raise NotLinear(f"{step.graph.label(step.node)} normalises by the batch it sees (training mode)")
    value = step.affine()
    gain, shift, mean, variance = (np.asarray(item, dtype=np.float64) for item in step.inputs[1:5])
    factor = gain / np.sqrt(variance + options.get("epsilon", 1e-5))
    shape = (-1, *([1] * (value.constant.ndim - 2)))
    return add_constant(scaled(value, factor.reshape(shape)), (shift - mean * factor).reshape(shape))


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
        indices = np.arange(step.in_shapes[0][place])[
            _range(int(start), int(end), int(stride), step.in_shapes[0][place])
        ]
        value = mapped(value, _taking(indices, place), value.noise)
    return value


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
    return mapped(value, lambda x: np.broadcast_to(lift(x, len(shape)), (x.shape[0], *shape)), value.noise)


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
    return scaled(shifted(step.affine(), -offset), np.asarray(float(scale.reshape(()))))


def _quantised_sum(step: Step) -> Affine:
    terms = []
    for index in (0, 3):
        value, scale, zero = step.inputs[index : index + 3]
        offset = 0.0 if zero is None else float(np.asarray(zero).reshape(()))
        factor = np.asarray(float(np.asarray(scale).reshape(())))
        if isinstance(value, Affine):
            terms.append(scaled(shifted(value, -offset), factor))
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
