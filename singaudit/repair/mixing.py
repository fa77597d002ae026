"""What stands between tensors inside a head and the logits, as matrices: how a layer's outputs become logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singaudit.classifier.graph.lookup import GraphIndex
from singaudit.classifier.head.linear_form import NotLinear
from singaudit.classifier.head.plan import HeadPlan, Leaf, Trace
from singaudit.classifier.head.read import read_head

Array = NDArray[np.float64]


def mixing(graph: GraphIndex, trace: Trace, plan: HeadPlan, cuts: Mapping[str, int]) -> dict[str, Array]:
    """Per tensor of ``cuts`` that is met on the way back from the logits: (c, length) what a unit of each entry adds
    to each logit.

    ``cuts`` maps tensors inside the head ``plan`` to the axis that counts their entries; the tensor must be the same
    along its other axes, or only its mean along them matter. Raises NotLinear where the way is not affine, or passes
    round the cuts.
    """
    nodes, met = _between(graph, plan, cuts)
    leaves = [_leaf(trace, name, axis) for name, axis in cuts.items() if name in met]
    found = read_head(graph, trace, HeadPlan(plan.logits, leaves, nodes))
    logits = trace.shapes[plan.logits]
    size = int(np.prod(logits))
    shape = np.broadcast_shapes(found.constant.shape, logits)
    matrices = {}
    for index, leaf in enumerate(leaves):
        part = found.parts.get(index)
        if part is None:  # the logits are this very tensor
            part = np.eye(leaf.size).reshape(leaf.size, *found.constant.shape)
        wide = np.broadcast_to(part, (leaf.size, *shape))
        matrices[leaf.tensor] = np.ascontiguousarray(wide.reshape(leaf.size, size).T)
    return matrices


def _between(graph: GraphIndex, plan: HeadPlan, cuts: Mapping[str, int]) -> tuple[list[Any], set[str]]:
    """The plan's nodes that a cut or the way round leaves, in graph order, and the cuts that are met."""
    within = {name: node for node in plan.nodes for name in node.output}
    used: dict[int, Any] = {}
    met: set[str] = set()
    stack = [plan.logits]
    while stack:
        name = stack.pop()
        if name in cuts:
            met.add(name)
            continue
        node = within.get(name)
        if node is None:
            raise NotLinear(f"the logits depend on {name!r} beside the head's own layers")
        if id(node) not in used:
            used[id(node)] = node
            stack += graph.data_inputs(node)
    return sorted(used.values(), key=lambda node: graph.positions[id(node)]), met


def _leaf(trace: Trace, name: str, axis: int) -> Leaf:
    batch_axis = trace.batch_axes.get(name)
    if batch_axis is None:
        raise NotLinear(f"the axis of {name!r} that counts images could not be told")
    shape = trace.shapes[name]
    if axis % len(shape) == batch_axis:
        raise NotLinear(f"the entries of {name!r} lie along its images")
    return Leaf(name, (axis % len(shape),), batch_axis, shape)
