"""What is said of a head beside its numbers: how its weight is stored, and its pattern in words."""

from __future__ import annotations

from typing import Any

import numpy as np

from singaudit.classifier.graph.lookup import GraphIndex, attributes
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
    21: "int4",
    22: "int4",
    25: "int2",
    26: "int2",
}
_PACKED: dict[int, StoredDtype] = {2: "int2", 4: "int4", 8: "int8"}


def _unknown_storage(reason: str) -> ModelError:
    return ModelError(
        f"the model's final linear layer cannot be audited: {reason}",
        hint="Export it with weights in float32, float16, bfloat16, int8 or int4",
    )


def storage(graph: GraphIndex, plan: HeadPlan, weight: Array) -> tuple[StoredDtype, Array | None]:
    """How the file stores the weight; the coarsest counts where there are several. And the step of
    its integers per logit."""
    order: list[StoredDtype] = ["float64", "float32", "float16", "bfloat16", "int8", "int4", "int2"]
    stored: list[StoredDtype] = []
    steps: list[Array] = []
    for linear in plan.linears.values():
        dtype, scale = _stored_as(graph, linear)
        stored.append(dtype)
        if scale is not None:
            steps.append(_final_step(linear, scale, weight))
    coarsest: StoredDtype = max(stored, key=order.index, default="float32")
    if not coarsest.startswith("int"):
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
    """Type of the largest stored tensor that the weight is computed from, and the scale of its
    integers: of blocks the root of the mean square, which is what their rounding adds up to."""
    if linear.stored_bits:
        return _PACKED[linear.stored_bits], linear.step
    names = [name for name in graph.ancestors([linear.weight]) if graph.is_stored(name)]
    arrays = {name: _stored_tensor(graph, name) for name in names}
    largest = max(arrays, key=lambda name: (int(np.prod(arrays[name].dims)), name == linear.weight))
    dtype = _STORED.get(arrays[largest].data_type)
    if dtype is None:
        raise _unknown_storage(f"its weight {largest!r} is stored as element type number {arrays[largest].data_type}")
    if not dtype.startswith("int"):
        return dtype, None
    if linear.step is not None:
        return dtype, linear.step
    for name in graph.ancestors([linear.weight]):
        node = graph.producers.get(name)
        if node is None or node.op_type != "DequantizeLinear" or not graph.is_stored(node.input[1]):
            continue
        if largest in graph.ancestors([node.input[0]]):
            return dtype, _steps(graph.initializer(node.input[1]), attributes(node).get("axis", 1), linear)
    return dtype, None


def _steps(scale: Any, axis: int, linear: Linear) -> Array:
    """(c,) or (1,): the scales of a DequantizeLinear, one a tensor, a row, or a block along ``axis``."""
    steps = np.abs(np.asarray(scale, dtype=np.float64))
    if steps.ndim < 2:
        return steps.reshape(-1)
    rows = np.sqrt(np.mean(steps**2, axis=axis)).reshape(-1)
    return rows if rows.size == linear.matrix.shape[1] else np.atleast_1d(np.sqrt(np.mean(steps**2)))


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
