"""What a graph itself says of its input: which axis holds the channels, and which range of pixels it normalises."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from singaudit.classifier.graph.lookup import GraphIndex, attributes

if TYPE_CHECKING:
    import onnx

_MOST = 12
"""Operators between the input and the first convolution that are looked at."""
_PASSED = ("Identity", "Cast", "Dropout")
_GEOMETRY = ("mode", "crop", "interpolation", "channels")
"""What no arithmetic in a graph can say."""


def settled_shape(graph: GraphIndex, value: onnx.ValueInfoProto, shape: Sequence[int | None]) -> list[int | None]:
    """The input's shape with its channels put in where the axis is open and the graph settles it.

    By the first convolution's weight, behind what moves no pixel: (C, H, W), or (H, W, C) where a Transpose brings the
    last axis forward; else by the axes' own names (num_channels), which say colour images are meant where a first
    convolution does not.
    """
    found = list(shape)
    if len(found) != 4 or any(found[axis] in (1, 3) for axis in (1, 3)):
        return found
    place, count = _by_convolution(graph, value.name)
    if place is None or found[place] is not None:
        return found
    found[place] = count
    return found


def layout_by_names(value: onnx.ValueInfoProto) -> str | None:
    """nchw or nhwc where one axis of the input is called after channels; None otherwise."""
    names = [axis.dim_param.lower() for axis in value.type.tensor_type.shape.dim]
    if len(names) != 4:
        return None
    named = [at for at, name in enumerate(names) if "channel" in name]
    return {1: "nchw", 3: "nhwc"}.get(named[0]) if len(named) == 1 else None


def _by_convolution(graph: GraphIndex, name: str) -> tuple[int | None, int | None]:
    """(axis of the channels, their number) by the first convolution."""
    axis = 1
    for _ in range(_MOST):
        users = [node for node in graph.order if name in node.input and graph.kind(node.output[0]) == "data"]
        if len(users) != 1:
            return None, None
        node = users[0]
        if node.op_type == "Conv" and node.input[0] == name:
            weight = graph.initializers.get(node.input[1])
            if weight is None:
                return None, None
            count = int(weight.dims[1]) * int(attributes(node).get("group", 1))
            return (axis, count) if count in (1, 3) else (None, None)
        if node.op_type == "Transpose" and list(attributes(node).get("perm", ())) == [0, 3, 1, 2] and axis == 1:
            axis = 3
        elif node.op_type not in (*_PASSED, "Sub", "Add", "Mul", "Div", "BatchNormalization"):
            return None, None
        name = node.output[0]
    return None, None


def graph_preprocess(graph: GraphIndex, name: str) -> dict[str, Any]:
    """Scale, mean and std of the pixels that a graph takes, where it normalises them itself; {} where it does not say.

    y = (x - mean) / std read off Sub, Add, Mul, Div and BatchNormalization behind the input: a mean and std that fit
    pixels of 0-255 mean that those go in as they are, ones that fit 0-1 that they are divided by 255 before. What is
    not arithmetic stays a guess.
    """
    gain, shift, steps = np.ones(1), np.zeros(1), 0
    for _ in range(_MOST):
        users = [node for node in graph.order if name in node.input and graph.kind(node.output[0]) == "data"]
        step = _READ.get(users[0].op_type) if len(users) == 1 else None
        if step is None:
            break
        read = step(graph, users[0], name)
        if read is None:
            break
        try:
            gain, shift = gain * read[0], shift * read[0] + read[1]
        except ValueError:  # constants that are no three channels
            return {}
        steps += users[0].op_type not in (*_PASSED, "Transpose")
        name = users[0].output[0]
    if not steps or not np.isfinite(gain).all() or not (gain > 0).all():
        return {}
    mean, std = -shift / gain, 1 / gain
    found: dict[str, Any] = {"mean": (0.0,), "std": (1.0,), "guesses": _GEOMETRY}
    if (std > 20).all() and (std < 300).all() and (mean > -1).all() and (mean < 256).all():
        return {"scale": 1.0, **found}
    if (np.abs(std - 1) < 0.01).all() and (mean > 60).all() and (mean < 190).all():  # the mean alone, as Caffe's do
        return {"scale": 1.0, **found}
    if (std > 0.05).all() and (std <= 1.01).all() and (mean > 0.15).all() and (mean < 0.85).all():
        return {"scale": 1 / 255, **found}
    return {}


Step = Callable[[GraphIndex, Any, str], "tuple[np.ndarray, np.ndarray] | None"]


def _constant(graph: GraphIndex, name: str) -> np.ndarray | None:
    """A constant of one number, or of one a channel, flat; of a whole image its mean by channel; None for others."""
    if not graph.is_stored(name):
        return None
    array = np.asarray(graph.initializer(name), dtype=np.float64)
    if array.ndim in (3, 4) and array.size > 3 and (array.ndim == 3 or len(array) == 1):
        image = array.reshape(array.shape[-3:])
        array = image.mean(axis=(1, 2)) if len(image) in (1, 3) else image.mean(axis=(0, 1))
    array = array.reshape(-1)
    return array if array.size in (1, 3) else None


def _arithmetic(graph: GraphIndex, node: Any, name: str) -> tuple[np.ndarray, np.ndarray] | None:
    left = node.input[0] == name
    other = _constant(graph, node.input[1] if left else node.input[0])
    if other is None or (node.op_type == "Div" and not left):
        return None
    one, none = np.ones(1), np.zeros(1)
    if node.op_type == "Mul":
        return other, none
    if node.op_type == "Div":
        return (1 / other, none) if other.all() else None
    if node.op_type == "Add":
        return one, other
    return (one, -other) if left else (-one, other)


def _batch_norm(graph: GraphIndex, node: Any, name: str) -> tuple[np.ndarray, np.ndarray] | None:
    numbers = [_constant(graph, item) for item in node.input[1:5]]
    if len(numbers) != 4 or any(item is None for item in numbers) or attributes(node).get("training_mode"):
        return None
    gain, shift, mean, variance = (np.asarray(item) for item in numbers)
    factor = gain / np.sqrt(np.abs(variance) + attributes(node).get("epsilon", 1e-5))
    return factor, shift - mean * factor


def _unchanged(graph: GraphIndex, node: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    return np.ones(1), np.zeros(1)


_READ: dict[str, Step] = {
    **dict.fromkeys(("Mul", "Div", "Add", "Sub"), _arithmetic),
    "BatchNormalization": _batch_norm,
    **dict.fromkeys((*_PASSED, "Transpose"), _unchanged),
}


def graph_class_names(graph: GraphIndex) -> tuple[tuple[str, ...] | None, str]:
    """Class names that the graph turns positions into, by ZipMap, LabelEncoder or a constant of texts, and where."""
    for node in graph.order:
        values = attributes(node)
        if node.op_type == "ZipMap":
            listed = values.get("classlabels_strings") or values.get("classlabels_int64s") or ()
        elif node.op_type == "LabelEncoder" and list(values.get("keys_int64s", ())) == list(
            range(len(values.get("values_strings", ())))
        ):
            listed = values.get("values_strings", ())
        elif node.op_type in ("ArrayFeatureExtractor", "Gather") and _texts(graph, node.input[0]):
            listed = np.asarray(graph.initializer(node.input[0])).reshape(-1).tolist()
        else:
            continue
        names = tuple(item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item) for item in listed)
        if names:
            return names, f"{node.op_type} in the graph"
    return None, ""


def _texts(graph: GraphIndex, name: str) -> bool:
    tensor = graph.initializers.get(name)
    if tensor is None and graph.is_stored(name):
        tensor = attributes(graph.producers[name]).get("value")
    return tensor is not None and tensor.data_type == 8
