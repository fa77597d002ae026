"""The head read along the way that was found: the logits as W f + b, in float64."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from singaudit.classifier.graph.lookup import GraphIndex
from singaudit.classifier.head.affine import Affine, HeadStep, Scale, apply_linear
from singaudit.classifier.head.affine_operators import HANDLERS
from singaudit.classifier.head.linear_form import Array, NotLinear
from singaudit.classifier.head.logits import finite
from singaudit.classifier.head.plan import HeadPlan, Trace, constants


def read_head(graph: GraphIndex, trace: Trace, plan: HeadPlan) -> Affine:
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


def _step(
    graph: GraphIndex, trace: Trace, node: Any, name: str, known: Mapping[str, Affine | Scale], values: Any
) -> HeadStep:
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
    return HeadStep(graph, node, inputs, shapes, trace.shapes.get(name, ()), name)


def weight_and_bias(plan: HeadPlan, found: Affine, classes: tuple[int, ...]) -> tuple[Array, Array]:
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
