"""The operators around a head that move, pick or repeat entries, each as what it does to an affine function."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from singaudit.classifier.graph.lookup import attributes
from singaudit.classifier.head.affine import LARGEST, Affine, HeadStep, Scale, add, lift, mapped, materialise
from singaudit.classifier.head.linear_form import Array, NotLinear


def _reshape(step: HeadStep) -> Affine:
    value = step.affine()
    true_shape = step.in_shapes[[isinstance(item, Affine) for item in step.inputs].index(True)]
    if value.constant.size != int(np.prod(step.out_shape)):
        if int(np.prod(true_shape)) * max(1, len(value.parts)) > LARGEST:
            raise NotLinear("the head reshapes a feature map too large to follow")
        if int(np.prod(true_shape)) != int(np.prod(step.out_shape)):
            raise NotLinear(f"{step.graph.label(step.node)} mixes the images of a batch")
        value = mapped(value, lambda x: np.broadcast_to(x, (x.shape[0], *true_shape)))
    return mapped(value, lambda x: x.reshape(x.shape[0], *step.out_shape))


def _transpose(step: HeadStep) -> Affine:
    value = step.affine()
    order = attributes(step.node).get("perm") or list(range(value.constant.ndim))[::-1]
    return mapped(value, lambda x: x.transpose(0, *(axis + 1 for axis in order)))


def _concat(step: HeadStep) -> Affine:
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


def _gather(step: HeadStep) -> Affine:
    if not isinstance(step.inputs[0], Affine) or not isinstance(step.inputs[1], np.ndarray):
        raise NotLinear(f"{step.graph.label(step.node)} picks entries that depend on the image")
    axis = attributes(step.node).get("axis", 0) % len(step.in_shapes[0])
    value = _expanded(step.inputs[0], axis, step.in_shapes[0][axis])
    return mapped(value, lambda x: np.take(x, step.inputs[1].astype(np.int64), axis=axis + 1), value.noise)


def _slice(step: HeadStep) -> Affine:
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


def _split(step: HeadStep) -> Affine:
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


def _expand(step: HeadStep) -> Affine:
    value = step.affine()
    shape = np.broadcast_shapes(value.constant.shape, step.out_shape)
    return mapped(value, lambda x: np.broadcast_to(lift(x, len(shape)), (x.shape[0], *shape)), value.noise)


MOVES: dict[str, Callable[[HeadStep], Affine]] = {
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _reshape),
    "Transpose": _transpose,
    "Concat": _concat,
    "Gather": _gather,
    "Slice": _slice,
    "Split": _split,
    "Expand": _expand,
}
"""By operator: the affine tensor after it."""
