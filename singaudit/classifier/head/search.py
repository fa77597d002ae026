"""The affine way back from the logits to the last constant weight, by structure."""

from __future__ import annotations

from typing import Any

from singaudit.classifier.graph.lookup import GraphIndex, node_inputs
from singaudit.classifier.head.affine_operators import HANDLERS
from singaudit.classifier.head.branches import MOST_NODES, collapse_stack, fold, position
from singaudit.classifier.head.linear import LINEAR_OPS, read_linear
from singaudit.classifier.head.linear_form import Linear, NotLinear
from singaudit.classifier.head.plan import HeadPlan, Leaf, Trace, constants

_LONGEST_SCALE = 20
"""Operators between a dynamic quantisation and the place where its scale is multiplied on."""


def surroundings(graph: GraphIndex, tensors: list[str]) -> tuple[list[str], list[str]]:
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


def _dynamic_scale(graph: GraphIndex, name: str) -> bool:
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


def plan_head(
    graph: GraphIndex, trace: Trace, logits: str, features: str | None = None, collapse: bool = True
) -> HeadPlan:
    """The way back from the logits to the features; NotLinear says what stands in it.

    With ``features`` named, every linear layer between that tensor and the logits belongs to the head; otherwise
    the last one does and, with ``collapse``, linear layers before it with nothing but affine operators between.
    """
    plan = HeadPlan(logits)
    values = constants(graph, trace.values)
    heads: dict[str, Linear | None] = {}
    _walk(graph, logits, features, values, plan, heads)
    if features is None and len(heads) > 1:
        heads = fold(graph, values, plan, heads)
    if features is None and collapse:
        heads = collapse_stack(graph, trace, values, plan, heads)
    plan.nodes = sorted({graph.positions[id(node)]: node for node in plan.nodes}.items(), key=lambda item: item[0])
    plan.nodes = [node for _, node in plan.nodes]
    plan.leaves = [_leaf(trace, name, linear) for name, linear in heads.items()]
    plan.leaves.sort(key=lambda leaf: position(graph, leaf.tensor))
    return plan


def _walk(
    graph: GraphIndex,
    start: str,
    stop: str | None,
    values: Any,
    plan: HeadPlan,
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
        if len(plan.nodes) > MOST_NODES:
            raise NotLinear(f"more than {MOST_NODES} operators stand between the logits and a linear layer")
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


def _collect(graph: GraphIndex, name: str, plan: HeadPlan) -> None:
    while (node := graph.producers.get(name)) is not None:
        plan.nodes.append(node)
        if node.op_type == "DynamicQuantizeLinear":
            return
        name = graph.data_inputs(node)[0]


def _reason(graph: GraphIndex, node: Any, start: str) -> str:
    return (
        f"between the logits {start!r} and the last linear layer stands {graph.label(node)} "
        f"({node.op_type}), which is not linear"
    )


def _leaf(trace: Trace, name: str, linear: Linear | None) -> Leaf:
    shape = trace.shapes.get(name)
    if shape is None:
        raise NotLinear("the last linear layer reads the image itself; there are no penultimate features")
    batch_axis = trace.batch_axes.get(name)
    if batch_axis is None and trace.static_batch != 1:
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
