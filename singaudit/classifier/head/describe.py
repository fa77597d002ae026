"""What is said of a head beside its numbers: how its weight is stored, and its pattern in words."""

from __future__ import annotations

from typing import Any

import numpy as np

from singaudit.classifier.graph.lookup import GraphIndex
from singaudit.classifier.head.linear_form import Array, Linear
from singaudit.classifier.head.logits import is_unit_norm
from singaudit.classifier.head.plan import HeadPlan
from singaudit.classifier.interface import StoredDtype
from singaudit.errors import ModelError

_STORED: dict[int, StoredDtype] = {
    1: "float32",
    2: "int8",
    3: "int8",
    10: "float16",
    11: "float64",
    16: "bfloat16",
}


def _unknown_storage(reason: str) -> ModelError:
    return ModelError(
        f"the model's final linear layer cannot be audited: {reason}",
        hint="Export it with weights in float32, float16, bfloat16 or int8",
    )


def storage(graph: GraphIndex, plan: HeadPlan, weight: Array) -> tuple[StoredDtype, Array | None]:
    """How the file stores the weight; the coarsest counts where there are several. And its int8 step per logit."""
    order: list[StoredDtype] = ["float64", "float32", "float16", "bfloat16", "int8"]
    stored: list[StoredDtype] = []
    steps: list[Array] = []
    for linear in plan.linears.values():
        dtype, scale = _stored_as(graph, linear)
        stored.append(dtype)
        if scale is not None:
            steps.append(_final_step(linear, scale, weight))
    coarsest: StoredDtype = max(stored, key=order.index, default="float32")
    if coarsest != "int8":
        return coarsest, None
    if not steps:
        raise _unknown_storage("its weight is stored as integers without a scale")
    size = max(step.size for step in steps)
    return coarsest, np.max([np.broadcast_to(step, size) for step in steps], axis=0)


def _final_step(linear: Linear, scale: Array, weight: Array) -> Array:
    """The step in units of the final weight: what follows the layer (temperature, normalisation) scales it along."""
    if linear.matrix.shape != weight.T.shape:
        # Several heads or stacked layers: the largest gain from one to the other is a bound.
        gain = float(np.linalg.norm(weight)) / max(float(np.linalg.norm(linear.matrix)), 1e-300)
        return np.atleast_1d(np.abs(scale).max() * gain)
    before = np.linalg.norm(linear.matrix, axis=0)
    after = np.linalg.norm(weight, axis=1)
    gains = np.divide(after, before, out=np.zeros_like(after), where=before > 0)
    steps = np.abs(scale) * gains
    return steps[:1] if np.allclose(steps, steps[0], rtol=1e-6) else steps


def _stored_as(graph: GraphIndex, linear: Linear) -> tuple[StoredDtype, Array | None]:
    """Type of the largest stored tensor that the weight is computed from, and its int8 scale."""
    names = [name for name in graph.ancestors([linear.weight]) if graph.is_stored(name)]
    arrays = {name: _stored_tensor(graph, name) for name in names}
    largest = max(arrays, key=lambda name: (int(np.prod(arrays[name].dims)), name == linear.weight))
    dtype = _STORED.get(arrays[largest].data_type)
    if dtype is None:
        raise _unknown_storage(f"its weight {largest!r} is stored as element type number {arrays[largest].data_type}")
    if dtype != "int8":
        return dtype, None
    if linear.step is not None:
        return dtype, linear.step
    for name in graph.ancestors([linear.weight]):
        node = graph.producers.get(name)
        if node is None or node.op_type != "DequantizeLinear" or not graph.is_stored(node.input[1]):
            continue
        if largest in graph.ancestors([node.input[0]]):
            return dtype, np.abs(graph.initializer(node.input[1]).astype(np.float64).reshape(-1))
    return dtype, None


def _stored_tensor(graph: GraphIndex, name: str) -> Any:
    from onnx import numpy_helper

    return graph.initializers.get(name) or numpy_helper.from_array(graph.initializer(name), name)


def kind(graph: GraphIndex, plan: HeadPlan) -> str:
    """The pattern in words."""
    operators = {node.op_type for node in plan.nodes}
    title = next(iter(plan.linears.values())).title if plan.linears else "linear"
    last = max(plan.linears, default=0)
    if plan.folded:  # the branch with the most weights names the head
        last = max(plan.linears, key=lambda place: plan.linears[place].matrix.size)
    title = plan.linears[last].title if plan.linears else title
    fed = {name for linear in plan.linears.values() for name in (linear.data,)}
    if title == "MatMul" and operators & {"Add", "Sub", "QLinearAdd"} and len(fed) == 1:
        title = "MatMul+Add"
    stored_by = {
        graph.producers[name].op_type
        for linear in plan.linears.values()
        for name in graph.ancestors([linear.weight])
        if name in graph.producers
    }
    if "DequantizeLinear" in stored_by or "QuantizeLinear" in operators:
        title += " (quantised)"
    if any(leaf.pooled for leaf in plan.leaves):
        title += ", averaged over positions"
    if plan.collapsed:
        title = f"{len(plan.linears)} stacked linear layers ({title})"
    if plan.folded:
        title = f"{title} + parallel linear branch"
    elif len(plan.leaves) > 1 or len(plan.linears) > 1 + plan.collapsed:
        count = len(plan.linears) - plan.collapsed
        joined = "Concat" in operators
        words = "concatenated" if joined else "averaged" if operators & {"Div", "Mul", "Mean"} else "added"
        title = f"{_COUNTS.get(count, str(count))} heads {words} ({title})"
    if any(is_unit_norm(graph, leaf.tensor) for leaf in plan.leaves):
        title = f"cosine ({title})"
    if "BatchNormalization" in operators and not plan.collapsed:
        title += " + BatchNormalization"
    return title


_COUNTS = {2: "two", 3: "three", 4: "four"}
