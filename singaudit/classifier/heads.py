"""The head by structure: the affine way back from the logits to the last constant weight, read as (W, b)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singaudit.classifier.affine import Affine, Scale, apply_linear
from singaudit.classifier.affine_ops import HANDLERS, Step
from singaudit.classifier.graph import Graph, node_inputs
from singaudit.classifier.linear import LINEAR_OPS, read_linear
from singaudit.classifier.linear_form import Array, Linear, NotLinear
from singaudit.classifier.logits import finite

_CHAIN = frozenset(
    {
        *("Identity", "Cast", "Dropout", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"),
        *("Add", "Sub", "Mul", "Div", "Neg", "BatchNormalization"),
    }
)
"""What may stand between stacked linear layers that are read as one."""
_MOST_NODES = 500
"""Operators between features and logits; a head has a few, a graph made to exhaust the reader has more."""
_LONGEST_SCALE = 20
"""Operators between a dynamic quantisation and the place where its scale is multiplied on."""


@dataclass(frozen=True)
class Trace:
    """What one run of the graph told about the tensors around its outputs."""

    shapes: Mapping[str, tuple[int, ...]]
    """Of tensors that depend on the image, for one image."""
    batch_axes: Mapping[str, int | None]
    """Which of those axes is the batch; None where none could be told."""
    values: Mapping[str, NDArray[Any]]
    """Of tensors that do not depend on pixels and do not stand in the file."""
    static_batch: int | None
    """The batch size the graph insists on, or None."""
    dtypes: Mapping[str, str]
    """NumPy's names of the data tensors' element types."""
    least_batch: int = 1
    """2 where the graph drops the batch axis of a single image (Squeeze without axes)."""


@dataclass(frozen=True)
class Leaf:
    """A tensor that holds penultimate features."""

    tensor: str
    """Its name."""
    axes: tuple[int, ...]
    """Its axes that are features, in order; it is averaged over the others, the batch axis excepted."""
    batch_axis: int
    shape: tuple[int, ...]
    """For one image."""
    scale: float | None = None
    """Integer tensors: features are (stored - zero) * scale."""
    zero: float = 0.0
    """See ``scale``."""

    @property
    def size(self) -> int:
        """Number of features."""
        return int(np.prod([self.shape[axis] for axis in self.axes]))

    @property
    def pooled(self) -> bool:
        """Whether features are a mean over positions."""
        others = set(range(len(self.shape))) - {*self.axes, self.batch_axis}
        return any(self.shape[axis] != 1 for axis in others)


@dataclass
class Plan:
    """A head's part of the graph."""

    logits: str
    leaves: list[Leaf] = field(default_factory=list)
    nodes: list[Any] = field(default_factory=list)
    """From the features to the logits, in graph order."""
    linears: dict[int, Linear] = field(default_factory=dict)
    """By position of the node in the graph's order."""
    collapsed: int = 0
    """How many linear layers before the last were folded in."""


def constants(graph: Graph, values: Mapping[str, NDArray[Any]]) -> Any:
    """A function from tensor names to constant arrays: from the file, else from the trace."""

    def value(name: str) -> NDArray[Any]:
        if graph.is_stored(name):
            return graph.initializer(name)
        if name in values:
            return values[name]
        raise NotLinear(f"the constant {name!r} could not be computed")

    return value


def surroundings(graph: Graph, tensors: list[str]) -> tuple[list[str], list[str]]:
    """(data tensors, other computed tensors) that reading a head of these logits may ask about."""
    data: dict[str, None] = {}
    other: dict[str, None] = {}
    stack = list(tensors)
    while stack:
        name = stack.pop()
        if name in data:
            continue
        data[name] = None
        node = graph.producers.get(name)
        if node is None or (
            node.op_type not in HANDLERS and node.op_type not in LINEAR_OPS and node.op_type != "DynamicQuantizeLinear"
        ):
            continue
        for item in node_inputs(node):
            if graph.kind(item) == "data":
                stack.append(item)
            elif item in graph.producers and not graph.is_stored(item):
                other[item] = None
    return list(data), list(other)


def _dynamic_scale(graph: Graph, name: str) -> bool:
    """Whether the tensor is the scale of a dynamic quantisation, times constants."""
    for _ in range(_LONGEST_SCALE):
        node = graph.producers.get(name)
        if node is None:
            return False
        if node.op_type == "DynamicQuantizeLinear":
            return name == node.output[1]
        data = graph.data_inputs(node)
        if node.op_type not in ("Mul", "Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze") or len(data) != 1:
            return False
        name = data[0]
    return False


def make_plan(graph: Graph, trace: Trace, logits: str, features: str | None = None) -> Plan:
    """The way back from the logits to the features; NotLinear says what stands in it.

    With ``features`` named, every linear layer between that tensor and the logits belongs to the head; otherwise
    the last one does, and linear layers before it with nothing but affine operators between.
    """
    plan = Plan(logits)
    values = constants(graph, trace.values)
    heads: dict[str, Linear | None] = {}
    _walk(graph, logits, features, values, plan, heads)
    if features is None:
        heads = _collapse(graph, trace, values, plan, heads)
    plan.nodes = sorted({graph.positions[id(node)]: node for node in plan.nodes}.items(), key=lambda item: item[0])
    plan.nodes = [node for _, node in plan.nodes]
    plan.leaves = [_leaf(trace, name, linear) for name, linear in heads.items()]
    producers = {name: graph.producers.get(name) for name in heads}
    plan.leaves.sort(key=lambda leaf: -1 if (made := producers[leaf.tensor]) is None else graph.positions[id(made)])
    return plan


def _walk(
    graph: Graph,
    start: str,
    stop: str | None,
    values: Any,
    plan: Plan,
    heads: dict[str, Linear | None],
) -> None:
    """Collects nodes and linear layers between ``start`` and the features into ``plan`` and ``heads``."""
    seen: set[str] = set()
    stack = [start]
    while stack:
        name = stack.pop()
        if name in seen:
            continue
        seen.add(name)
        if name == stop:
            heads.setdefault(name, None)
            continue
        node = graph.producers.get(name)
        if node is None:
            raise NotLinear("the way back from the logits reaches the image itself")
        if len(plan.nodes) > _MOST_NODES:
            raise NotLinear(f"more than {_MOST_NODES} operators stand between the logits and a linear layer")
        if node.op_type in LINEAR_OPS:
            linear = read_linear(graph, node, values)
            plan.linears[graph.positions[id(node)]] = linear
            plan.nodes.append(node)
            if linear.dynamic is not None or linear.data not in node.input:
                plan.nodes.append(graph.producers[node.input[0]])
            if stop is None or linear.data == stop:
                kept = heads.setdefault(linear.data, linear)
                if kept is not None and kept.feature_axes != linear.feature_axes:
                    raise NotLinear("two linear layers read the same tensor along different axes")
            else:
                stack.append(linear.data)
        elif node.op_type in HANDLERS:
            plan.nodes.append(node)
            factors = [item for item in graph.data_inputs(node) if not _dynamic_scale(graph, item)]
            if node.op_type in ("Mul", "Div") and len(factors) > 1:
                raise NotLinear(f"{graph.label(node)} combines two tensors that both depend on the image")
            for item in graph.data_inputs(node):
                if _dynamic_scale(graph, item):
                    _collect(graph, item, plan)
                else:
                    stack.append(item)
        else:
            raise NotLinear(_reason(graph, node, start))


def _collect(graph: Graph, name: str, plan: Plan) -> None:
    while (node := graph.producers.get(name)) is not None:
        plan.nodes.append(node)
        if node.op_type == "DynamicQuantizeLinear":
            return
        name = graph.data_inputs(node)[0]


def _reason(graph: Graph, node: Any, start: str) -> str:
    return (
        f"between the logits {start!r} and the last linear layer stands {graph.label(node)} "
        f"({node.op_type}), which is not linear"
    )


def _vector(trace: Trace, name: str) -> bool:
    """Whether the tensor has one axis of features and nothing else, for one image."""
    shape = trace.shapes.get(name)
    return shape is not None and int(np.prod(shape)) == max(shape, default=1)


def _collapse(
    graph: Graph, trace: Trace, values: Any, plan: Plan, heads: dict[str, Linear | None]
) -> dict[str, Linear | None]:
    """The features moved before linear layers that feed the head with nothing but affine operators between."""
    moved: dict[str, Linear | None] = {}
    for tensor, linear in heads.items():
        name = tensor
        passed: list[Any] = []
        while _vector(trace, name) and (node := graph.producers.get(name)) is not None:
            if node.op_type in LINEAR_OPS:
                try:
                    before = read_linear(graph, node, values)
                except NotLinear:
                    break
                if before.input_scale is not None or before.input_rounding or not _vector(trace, before.data):
                    break
                plan.linears[graph.positions[id(node)]] = before
                plan.nodes += [*passed, node]
                plan.collapsed += 1
                tensor, linear, name, passed = before.data, before, before.data, []
                continue
            data = graph.data_inputs(node)
            if node.op_type not in _CHAIN or len(data) != 1:
                break
            passed.append(node)
            name = data[0]
        moved[tensor] = linear
    return moved


def _leaf(trace: Trace, name: str, linear: Linear | None) -> Leaf:
    shape = trace.shapes.get(name)
    if shape is None:
        raise NotLinear("the last linear layer reads the image itself; there are no penultimate features")
    batch_axis = trace.batch_axes.get(name)
    if batch_axis is None:
        raise NotLinear(f"the axis of {name!r} that counts images could not be told")
    if linear is None:
        axes = tuple(axis for axis in range(len(shape)) if axis != batch_axis)
        return Leaf(name, axes, batch_axis, shape)
    axes = tuple(sorted(axis % len(shape) for axis in linear.feature_axes))
    if batch_axis in axes:
        raise NotLinear(f"{linear.title} mixes the images of a batch")
    if tuple(axis % len(shape) for axis in linear.feature_axes) != axes:
        raise NotLinear(f"{linear.title} contracts its axes in another order than they are stored")
    return Leaf(name, axes, batch_axis, shape, linear.input_scale, linear.input_zero)


def read_head(graph: Graph, trace: Trace, plan: Plan) -> Affine:
    """The logits as an affine function of the leaves' features, in float64, by structure alone.

    The result's parts have shape (m_k, *logits for one image). NotLinear when an operator on the way is not
    affine as it is used; ModelError when a weight is not finite.
    """
    values = constants(graph, trace.values)
    known: dict[str, Affine | Scale] = {}
    for index, leaf in enumerate(plan.leaves):
        shape = tuple(length if axis in leaf.axes else 1 for axis, length in enumerate(leaf.shape))
        if leaf.scale is None:
            known[leaf.tensor] = Affine({index: None}, np.zeros(shape))
        else:
            grid = np.eye(leaf.size).reshape(leaf.size, *shape) / leaf.scale
            known[leaf.tensor] = Affine({index: grid}, np.full(shape, leaf.zero))
    for node in plan.nodes:
        linear = plan.linears.get(graph.positions[id(node)])
        if node.op_type == "DynamicQuantizeLinear":
            known[node.output[1]] = Scale(node.output[1], np.ones(()))
        elif linear is not None:
            finite(linear.weight, linear.matrix)
            source = known[linear.data]
            if not isinstance(source, Affine):
                raise NotLinear(f"{linear.title} multiplies a scale")
            known[node.output[0]] = apply_linear(source, linear, len(trace.shapes[node.output[0]]))
        else:
            for name in node.output:
                if name in trace.shapes or len(node.output) == 1:
                    known[name] = HANDLERS[node.op_type](_step(graph, trace, node, name, known, values))
    found = known[plan.logits]
    if not isinstance(found, Affine) or found.pending:
        raise NotLinear("the logits are not scaled as dynamic quantisation needs")
    return found


def _step(graph: Graph, trace: Trace, node: Any, name: str, known: Mapping[str, Affine | Scale], values: Any) -> Step:
    inputs: list[Any] = []
    for item in node.input:
        if not item:
            inputs.append(None)
        elif item in known:
            inputs.append(known[item])
        elif graph.kind(item) == "data":
            raise NotLinear(f"{graph.label(node)} reads {item!r}, which is not a function of the features")
        elif node.op_type == "Reshape":
            inputs.append(None)  # the traced output shape says it, also where the batch decides it
        else:
            array = values(item)
            if np.asarray(array).dtype.kind == "f":
                finite(item, array)
            inputs.append(np.asarray(array))
    shapes = [
        trace.shapes.get(item, np.shape(value) if isinstance(value, np.ndarray) else ())
        for item, value in zip(node.input, inputs, strict=True)
    ]
    return Step(graph, node, inputs, shapes, trace.shapes.get(name, ()), name)


def weight_and_bias(plan: Plan, found: Affine, classes: tuple[int, ...]) -> tuple[Array, Array]:
    """(W (c, m), b (c,)) of the logits, flattened; ``classes`` is their shape for one image."""
    size = int(np.prod(classes))
    if size == 0 or any(leaf.size == 0 for leaf in plan.leaves):
        raise NotLinear("there are no features or no logits")
    shape = np.broadcast_shapes(found.constant.shape, classes)
    if int(np.prod(shape)) != size:
        raise NotLinear(f"the logits have shape {shape}; expected {classes}")
    blocks = []
    for index, leaf in enumerate(plan.leaves):
        part = found.parts.get(index)
        if part is None:
            raise NotLinear("no linear layer stands between the features and the logits")
        blocks.append(np.broadcast_to(part, (leaf.size, *shape)).reshape(leaf.size, size).T)
    return np.ascontiguousarray(np.hstack(blocks)), np.array(np.broadcast_to(found.constant, shape)).reshape(size)
