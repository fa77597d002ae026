"""Where a head's numbers stand in the file: found by reading the graph's layers with positions in place of values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singaudit.classifier.graph.lookup import GraphIndex, attributes, node_inputs
from singaudit.classifier.head.linear import read_linear
from singaudit.classifier.head.linear_form import Linear, NotLinear, Values
from singaudit.classifier.head.plan import HeadPlan, Trace, constants
from singaudit.repair.mixing import mixing

Array = NDArray[np.float64]

_STORABLE = frozenset({1, 10, 11, 16})
"""float32, float16, float64 and bfloat16, as ONNX numbers element types."""


@dataclass(frozen=True)
class Stored:
    """A tensor of the file that holds part of a head, and how it reaches the node that reads it."""

    node: Any
    """The node of the head that reads it."""
    place: int
    """Which of the node's inputs."""
    name: str
    """Name of the initializer, or of the Constant node's output."""
    order: NDArray[np.intp]
    """Shape of the node's input: the position in the stored tensor of each of its entries."""
    alone: bool
    """Whether nothing else in the graph reads it, or anything on its way to the node."""


@dataclass(frozen=True)
class Layer:
    """One linear layer whose weight can be replaced: its outputs are ``x @ matrix``."""

    leaf: int
    """Which of the plan's feature tensors it reads."""
    stored: Stored
    """Where its weight stands."""
    entries: NDArray[np.intp]
    """(m, k): the flat position in the node's input of each entry of ``matrix``."""
    factor: Array
    """(m, k): what the node multiplies each entry by (alpha)."""
    matrix: Array
    """(m, k) as it is."""
    mixing: Array
    """(c, k): what its outputs add to the logits."""


@dataclass(frozen=True)
class Offset:
    """A stored constant that is added to the logits, one entry to each of some logits."""

    stored: Stored
    """Where it stands."""
    factor: Array
    """(k,): what the node multiplies each entry by (beta, or -1 of a Sub)."""
    mixing: Array
    """(c, k): what it adds to the logits."""
    values: Array
    """(k,) as it is, the factor left out."""


@dataclass(frozen=True)
class Places:
    """Every place of a head that can be written."""

    layers: tuple[Layer, ...]
    """Its linear layers."""
    offsets: tuple[Offset, ...]
    """Its biases."""
    free: NDArray[np.bool_]
    """(c,): logits that have a bias."""


def find_places(graph: GraphIndex, trace: Trace, plan: HeadPlan) -> Places:
    """The places where the weight and bias of a head stand. NotLinear says why they cannot be written."""
    _refuse_quantised(plan)
    values = constants(graph, trace.values)
    leaves = {leaf.tensor: index for index, leaf in enumerate(plan.leaves)}
    read = [(graph.order[position], linear) for position, linear in sorted(plan.linears.items())]
    if any(linear.data not in leaves for _, linear in read):
        raise NotLinear(
            "several linear layers follow one another between the features and the logits; name features right "
            "before the last one, or none"
        )
    outputs = {node.output[0]: linear.class_axis % len(trace.shapes[node.output[0]]) for node, linear in read}
    matrices = mixing(graph, trace, plan, outputs)
    read = [(node, linear) for node, linear in read if node.output[0] in matrices]
    layers = tuple(
        _layer(graph, node, linear, values, leaves[linear.data], matrices[node.output[0]]) for node, linear in read
    )
    offsets = []
    for node, linear in read:
        offset = _own_bias(graph, trace, node, linear, values, matrices[node.output[0]])
        if offset is not None:
            offsets.append(offset)
    free = _reached(offsets, len(layers[0].mixing))
    for node in plan.nodes:
        added = None if free.all() else _added(graph, trace, plan, node, values, outputs)
        if added is not None and (np.abs(added.mixing).sum(axis=1) > 0)[~free].any():
            offsets.append(added)
            free = _reached(offsets, len(free))
    return Places(layers, tuple(offsets), free)


def _refuse_quantised(plan: HeadPlan) -> None:
    quantised = any(
        linear.step is not None or linear.dynamic or linear.input_rounding or linear.input_scale is not None
        for linear in plan.linears.values()
    )
    if quantised or any("Quantize" in node.op_type or node.op_type.startswith("QLinear") for node in plan.nodes):
        raise NotLinear("it is quantised: fit the float model anew, then quantise that one")


def _reached(offsets: list[Offset], logits: int) -> NDArray[np.bool_]:
    free = np.zeros(logits, bool)
    for offset in offsets:
        free |= np.abs(offset.mixing).sum(axis=1) > 0
    return free


def _layer(graph: GraphIndex, node: Any, linear: Linear, values: Values, leaf: int, matrix: Array) -> Layer:
    place = list(node.input).index(linear.weight)
    shape = np.shape(values(linear.weight))
    entries, factor = _layout(
        lambda given: read_linear(graph, node, given).matrix, values, linear.weight, shape, graph.label(node)
    )
    return Layer(leaf, _stored(graph, node, place, values), entries, factor, linear.matrix, matrix)


def _layout(read: Any, values: Values, name: str, shape: tuple[int, ...], label: str) -> tuple[NDArray[np.intp], Array]:
    """(flat positions, factors) of what ``read`` makes of the constant ``name``: each entry is one stored number,
    scaled. NotLinear where it is not."""
    size = int(np.prod(shape))

    def instead(array: Array) -> Array:
        found: Array = read(lambda item: array if item == name else values(item))
        return found

    factor = instead(np.ones(shape))
    if not np.all(np.isfinite(factor)) or not np.all(factor):
        raise NotLinear(f"{label} multiplies its weight by zero")
    places = instead(np.arange(1.0, size + 1).reshape(shape)) / factor
    entries = np.rint(places).astype(np.intp) - 1
    if np.abs(places - entries - 1).max(initial=0.0) > 1e-3 or len(np.unique(entries)) != size:
        raise NotLinear(f"{label} does not use each stored number of {name!r} once")
    return entries, factor


def _own_bias(
    graph: GraphIndex, trace: Trace, node: Any, linear: Linear, values: Values, matrix: Array
) -> Offset | None:
    """The bias of a linear layer itself; None where it has none with an entry for each output."""
    if linear.bias is None or len(node.input) < 3:
        return None
    name, place = node.input[2], 2
    shape = np.shape(values(name))
    if int(np.prod(shape)) != matrix.shape[1]:
        return None
    out = trace.shapes[node.output[0]]

    def read(given: Values) -> Array:
        bias = read_linear(graph, node, given).bias
        wide = np.broadcast_to(np.asarray(bias), out)
        return np.moveaxis(wide, linear.class_axis % len(out), 0).reshape(matrix.shape[1], -1)[:, 0]

    entries, factor = _layout(read, values, name, shape, graph.label(node))
    return _offset(_stored(graph, node, place, values), entries, factor, matrix, values(name))


def _added(
    graph: GraphIndex, trace: Trace, plan: HeadPlan, node: Any, values: Values, outputs: dict[str, int]
) -> Offset | None:
    """A constant that an Add or Sub of the head adds, where it has an entry for each logit it reaches; else None."""
    if node.op_type not in ("Add", "Sub") or len(graph.data_inputs(node)) != 1:
        return None
    place = next(i for i, item in enumerate(node.input) if graph.kind(item) != "data")
    name, out = node.input[place], trace.shapes[node.output[0]]
    if graph.kind(name) != "const":
        return None
    shape = np.shape(values(name))
    varied = [axis for axis, length in enumerate(shape) if length > 1]
    size = int(np.prod(shape))
    if len(varied) > 1 or len(shape) > len(out):
        return None
    axis = len(out) - len(shape) + varied[0] if varied else int(np.argmax(out))
    if out[axis] != size or axis == trace.batch_axes.get(node.output[0]):
        return None
    try:
        found = mixing(graph, trace, plan, {**outputs, node.output[0]: axis})
        stored = _stored(graph, node, place, values)
    except NotLinear:
        return None
    if node.output[0] not in found:
        return None
    sign = -1.0 if node.op_type == "Sub" and place == 1 else 1.0
    return _offset(stored, np.arange(size), np.full(size, sign), found[node.output[0]], values(name))


def _offset(stored: Stored, entries: NDArray[np.intp], factor: Array, matrix: Array, array: NDArray[Any]) -> Offset:
    """With its entries in the order of the node's input."""
    mixing_in_order, factor_in_order = np.empty_like(matrix), np.empty_like(factor)
    mixing_in_order[:, entries], factor_in_order[entries] = matrix, factor
    return Offset(stored, factor_in_order, mixing_in_order, np.asarray(array).astype(np.float64).reshape(-1))


def _stored(graph: GraphIndex, node: Any, place: int, values: Values) -> Stored:
    """Where the node's constant input stands, through the operators that only move its entries."""
    chain, name = [], node.input[place]
    alone = _readers(graph, name) == 1
    while not graph.is_stored(name):
        maker = graph.producers[name]
        if maker.op_type not in _MOVES:
            raise NotLinear(f"its weight is computed in the graph, by {graph.label(maker)} ({maker.op_type})")
        chain.append(maker)
        name = maker.input[0]
        alone &= _readers(graph, name) == 1
    tensor = graph.initializer(name)
    kind = graph.initializers[name].data_type if name in graph.initializers else None
    if kind is not None and kind not in _STORABLE:
        raise NotLinear(f"{name!r} is stored as element type number {kind}; expected floating-point numbers")
    order = np.arange(tensor.size).reshape(tensor.shape)
    for maker in reversed(chain):
        order = _MOVES[maker.op_type](graph, maker, order)
    order = order.reshape(np.shape(values(node.input[place])))
    return Stored(node, place, name, order, alone)


def _readers(graph: GraphIndex, name: str) -> int:
    """How often a tensor is read: by nodes, the bodies they hold, and as an output of the graph."""
    return sum(item == name for node in graph.order for item in node_inputs(node)) + graph.outputs.count(name)


def _ints(graph: GraphIndex, node: Any, place: int, name: str) -> list[int]:
    """A list of whole numbers that newer operators take as an input and older ones as an attribute."""
    if len(node.input) > place and node.input[place]:
        if not graph.is_stored(node.input[place]):
            raise NotLinear(f"{graph.label(node)} moves the weight by a shape that is computed in the graph")
        return [int(item) for item in graph.initializer(node.input[place]).reshape(-1)]
    return [int(item) for item in attributes(node).get(name, ())]


def _transpose(graph: GraphIndex, node: Any, array: NDArray[np.intp]) -> NDArray[np.intp]:
    return np.transpose(array, attributes(node).get("perm"))


def _reshape(graph: GraphIndex, node: Any, array: NDArray[np.intp]) -> NDArray[np.intp]:
    shape = _ints(graph, node, 1, "shape")
    if not attributes(node).get("allowzero"):
        shape = [array.shape[i] if length == 0 else length for i, length in enumerate(shape)]
    return array.reshape(shape)


def _flatten(graph: GraphIndex, node: Any, array: NDArray[np.intp]) -> NDArray[np.intp]:
    axis = attributes(node).get("axis", 1)
    return array.reshape(int(np.prod(array.shape[:axis])), -1)


def _squeeze(graph: GraphIndex, node: Any, array: NDArray[np.intp]) -> NDArray[np.intp]:
    axes = _ints(graph, node, 1, "axes")
    return np.squeeze(array, tuple(axes) if axes else None)


def _unsqueeze(graph: GraphIndex, node: Any, array: NDArray[np.intp]) -> NDArray[np.intp]:
    return np.expand_dims(array, tuple(_ints(graph, node, 1, "axes")))


def _same(graph: GraphIndex, node: Any, array: NDArray[np.intp]) -> NDArray[np.intp]:
    return array


_MOVES = {
    "Identity": _same,
    "Cast": _same,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
}
"""Operators that put the entries of a constant elsewhere and change none, by what they do to their positions."""
