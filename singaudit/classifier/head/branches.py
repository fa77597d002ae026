"""Linear layers behind linear layers: what features are themselves an affine function of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from singaudit.classifier.graph.lookup import GraphIndex
from singaudit.classifier.head.linear import LINEAR_OPS, read_linear
from singaudit.classifier.head.linear_form import Linear, NotLinear
from singaudit.classifier.head.plan import HeadPlan, Trace

_CHAIN = frozenset(
    {
        *("Identity", "Cast", "Dropout", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"),
        *("Add", "Sub", "Mul", "Div", "Neg", "BatchNormalization"),
    }
)
"""What may stand between stacked linear layers that are read as one."""
MOST_NODES = 500
"""Operators between features and logits; a head has a few, a graph made to exhaust the reader has more."""


@dataclass(frozen=True)
class _Back:
    """Where one leads that goes back from a tensor through affine operators alone."""

    tensor: str
    linear: Linear | None
    """That reads the tensor, where a linear layer does."""
    nodes: tuple[Any, ...]
    """Passed on the way."""
    linears: Mapping[int, Linear]
    """Among them, by position in the graph's order."""


def _way_back(graph: GraphIndex, values: Any, name: str) -> Iterator[_Back]:
    """Tensor after tensor that ``name`` is an affine function of, as long as there is one way only."""
    passed: tuple[Any, ...] = ()
    linears: dict[int, Linear] = {}
    while (node := graph.producers.get(name)) is not None and len(passed) < MOST_NODES:
        passed = (*passed, node)
        if node.op_type in LINEAR_OPS:
            try:
                linear = read_linear(graph, node, values)
            except NotLinear:
                return
            if linear.data not in node.input:
                return
            linears = {**linears, graph.positions[id(node)]: linear}
            name = linear.data
            yield _Back(name, linear, passed, linears)
            continue
        data = graph.data_inputs(node)
        if node.op_type not in _CHAIN or len(data) != 1:
            return
        name = data[0]
        yield _Back(name, None, passed, linears)


def _take(plan: HeadPlan, back: _Back) -> None:
    plan.nodes += back.nodes
    plan.linears.update(back.linears)


def fold(graph: GraphIndex, values: Any, plan: HeadPlan, heads: dict[str, Linear | None]) -> dict[str, Linear | None]:
    """Features that are themselves an affine function of others become part of the head: W f + B (A f) has the
    features f alone (low-rank adapters that were not merged). So do several with a common origin: B (A f) + D (C f)."""
    heads = dict(heads)
    for name in sorted(heads, key=lambda name: -position(graph, name)):
        back = next((item for item in _way_back(graph, values, name) if item.tensor in heads), None)
        if back is not None and back.linears:
            _take(plan, back)
            plan.folded += 1
            del heads[name]
    if len(heads) < 2:
        return heads
    ways = {name: list(_way_back(graph, values, name)) for name in heads}
    common = set.intersection(*({item.tensor for item in way if item.linears} for way in ways.values()))
    if not common:
        return heads
    origin = max(common, key=lambda name: position(graph, name))
    for way in ways.values():
        back = next(item for item in way if item.tensor == origin)
        _take(plan, back)
        plan.folded += 1
        linear = back.linear
    return {origin: linear}


def position(graph: GraphIndex, name: str) -> int:
    """Of the node that makes a tensor, in the graph's order; -1 for none."""
    made = graph.producers.get(name)
    return -1 if made is None else graph.positions[id(made)]


def collapse_stack(
    graph: GraphIndex, trace: Trace, values: Any, plan: HeadPlan, heads: dict[str, Linear | None]
) -> dict[str, Linear | None]:
    """The features moved before linear layers that feed the head with nothing but affine operators between."""
    moved: dict[str, Linear | None] = {}
    for tensor, linear in heads.items():
        last: _Back | None = None
        if _vector(trace, tensor):
            for back in _way_back(graph, values, tensor):
                if not _vector(trace, back.tensor):
                    break
                if back.linear is not None:
                    if back.linear.input_scale is not None or back.linear.input_rounding:
                        break
                    last = back
        if last is not None:
            _take(plan, last)
            plan.collapsed += len(last.linears)
            tensor, linear = last.tensor, last.linear
        moved[tensor] = linear
    return moved


def _vector(trace: Trace, name: str) -> bool:
    """Whether the tensor has one axis of features and nothing else, for one image."""
    shape = trace.shapes.get(name)
    return shape is not None and int(np.prod(shape)) == max(shape, default=1)
