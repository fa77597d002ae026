"""The seen coordinates in the graph: as one more output beside the logits, or in place of the features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from singaudit.classifier.graph.lookup import GraphIndex, node_inputs, opset_imports
from singaudit.classifier.head.plan import HeadPlan, Leaf, Trace
from singaudit.errors import ModelError
from singaudit.repair.rewrite import fresh

if TYPE_CHECKING:
    import onnx

Array = NDArray[np.float64]

OUTPUT = "features_seen"
"""Name of the added output."""
LOGITS_KEY = "singaudit.logits"
"""Metadata that names the logits, where a graph leaves a choice."""


@dataclass(frozen=True)
class Affine:
    """``rows @ matrix + offset``."""

    matrix: Array
    """(k, r)."""
    offset: Array
    """(r,)."""


class Builder:
    """Adds nodes to a graph under names that are free."""

    def __init__(self, model: onnx.ModelProto, trace: Trace) -> None:
        self.model, self.trace = model, trace
        self.nodes: list[Any] = []
        self.opset = opset_imports(model).get("", 1)
        graph = model.graph
        self._taken = {name for node in graph.node for name in (*node_inputs(node), *node.output, node.name)}
        self._taken |= {item.name for item in (*graph.initializer, *graph.input, *graph.output, *graph.value_info)}

    def name(self, wanted: str) -> str:
        """A free name near ``wanted``, taken from now on."""
        found = fresh(wanted, self._taken)
        self._taken.add(found)
        return found

    def node(self, operator: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Add a node with one output and return the output's name."""
        from onnx import helper

        made = output or self.name(f"seen_{operator.lower()}")
        self.nodes.append(helper.make_node(operator, list(inputs), [made], self.name(f"seen/{operator}"), **attributes))
        return made

    def constant(self, array: NDArray[Any], wanted: str) -> str:
        """Add an initializer and return its name."""
        from onnx import helper, numpy_helper

        name = self.name(wanted)
        self.model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        if self.model.ir_version < 4:  # there every initializer is an input as well
            kind = helper.np_dtype_to_tensor_dtype(array.dtype)
            self.model.graph.input.append(helper.make_tensor_value_info(name, kind, list(array.shape)))
        return name

    def rows(self, leaves: list[Leaf]) -> str:
        """(n, m) floats of the feature tensors: averaged over positions, side by side."""
        parts = [self._rows_of(leaf) for leaf in leaves]
        return parts[0] if len(parts) == 1 else self.node("Concat", *parts, axis=1)

    def _rows_of(self, leaf: Leaf) -> str:
        if leaf.scale is not None:
            raise ModelError("expected float features, these are integers: the head is quantised", hint=QUANTISED)
        name, dtype = leaf.tensor, np.dtype(self.trace.dtypes[leaf.tensor])
        if dtype != self.dtype([leaf]):
            name = self.node("Cast", name, to=_element(self.dtype([leaf])))
        if leaf.batch_axis is None:
            raise _no_batch_axis()
        others = [axis for axis in range(len(leaf.shape)) if axis != leaf.batch_axis and axis not in leaf.axes]
        order = [leaf.batch_axis, *leaf.axes, *others]
        if order != sorted(order):
            name = self.node("Transpose", name, perm=order)
        if any(leaf.shape[axis] != 1 for axis in others):
            places = list(range(1 + len(leaf.axes), len(order)))
            if self.opset >= 18:
                axes = self.constant(np.array(places, np.int64), "seen_axes")
                name = self.node("ReduceMean", name, axes, keepdims=0)
            else:
                name = self.node("ReduceMean", name, axes=places, keepdims=0)
        return name if len(leaf.shape) == 2 and not others else self.node("Flatten", name, axis=1)

    def dtype(self, leaves: list[Leaf]) -> np.dtype[Any]:
        """What the added nodes compute in: float64 where the features are, else float32."""
        wide = any(self.trace.dtypes[leaf.tensor] == "float64" for leaf in leaves)
        return np.dtype(np.float64 if wide else np.float32)

    def affine(self, rows: str, how: Affine, dtype: np.dtype[Any], output: str | None = None) -> str:
        """``rows @ matrix + offset``, as one Gemm where there is an offset."""
        weight = self.constant(how.matrix.astype(dtype), "seen_weight")
        if not np.any(how.offset):
            return self.node("MatMul", rows, weight, output=output)
        return self.node("Gemm", rows, weight, self.constant(how.offset.astype(dtype), "seen_bias"), output=output)


QUANTISED = "trim the float model, then quantise that one"


def _element(dtype: np.dtype[Any]) -> int:
    from onnx import helper

    return int(helper.np_dtype_to_tensor_dtype(dtype))


def add_output(graph: GraphIndex, trace: Trace, plan: HeadPlan, seen: Affine) -> onnx.ModelProto:
    """A copy of the model with one more output, (n, r) coordinates of the features; all else stays as it is."""
    import onnx

    model = _copy(graph)
    builder = Builder(model, trace)
    dtype = builder.dtype(plan.leaves)
    name = builder.affine(builder.rows(plan.leaves), seen, dtype, output=builder.name(OUTPUT))
    model.graph.node.extend(builder.nodes)
    batch = graph.inputs[0].type.tensor_type.shape.dim[0]
    value = onnx.helper.make_tensor_value_info(name, _element(dtype), ["batch", seen.matrix.shape[1]])
    value.type.tensor_type.shape.dim[0].CopyFrom(batch)
    model.graph.output.append(value)
    if LOGITS_KEY not in {item.key for item in model.metadata_props}:
        model.metadata_props.append(onnx.StringStringEntryProto(key=LOGITS_KEY, value=plan.logits))
    return model


def replace_features(
    graph: GraphIndex, trace: Trace, plan: HeadPlan, leaves: list[Leaf], seen: Affine, head: Affine
) -> onnx.ModelProto:
    """A copy of the model whose logits come from the seen coordinates of the features in ``leaves`` alone.

    ``seen`` takes the leaves' features (n, m) to coordinates (n, r), ``head`` the coordinates to logits (n, c). What
    only the old head needed is taken out. Name, type and shape of the logits stay.
    """
    model = _copy(graph)
    builder = Builder(model, trace)
    body = [_without(node, plan.logits, builder) for node in model.graph.node]
    dtype = builder.dtype(leaves)
    rows = builder.affine(builder.rows(leaves), seen, dtype)
    _as_logits(builder, builder.affine(rows, head, dtype), plan.logits, dtype)
    nodes = [_own(node) for node in _sorted(_needed([*body, *builder.nodes], graph.outputs))]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    used = {name for node in nodes for name in node_inputs(node)} | set(graph.outputs)
    dead = {item.name for item in model.graph.initializer} - used
    _drop(model.graph.initializer, dead)
    _drop(model.graph.input, dead)
    made = {name for node in nodes for name in node.output} | used
    _drop(model.graph.value_info, {item.name for item in model.graph.value_info} - made)
    return model


def _without(node: Any, logits: str, builder: Builder) -> Any:
    """The node, with another name for the output that held the logits."""
    for place, name in enumerate(node.output):
        if name == logits:
            node.output[place] = builder.name(f"{logits}_before")
    return node


def _own(node: Any) -> Any:
    import onnx

    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    return copy


def _drop(field: Any, names: set[str]) -> None:
    for index in reversed([i for i, item in enumerate(field) if item.name in names]):
        del field[index]


def _no_batch_axis() -> ModelError:
    return ModelError(
        "the graph takes one image and drops the axis that counts images, along which a copy's rows would lie",
        hint="Export the classifier with a free batch axis.",
    )


def _as_logits(builder: Builder, rows: str, logits: str, dtype: np.dtype[Any]) -> None:
    """Give (n, c) logits the name, element type and shape that the old ones have."""
    shape, axis = builder.trace.shapes[logits], builder.trace.batch_axes[logits]
    if axis is None:
        raise _no_batch_axis()
    steps: list[tuple[str, list[str], dict[str, Any]]] = []
    moved = [length for place, length in enumerate(shape) if place != axis]
    if len(shape) != 2:
        steps.append(("Reshape", [builder.constant(np.array([-1, *moved], np.int64), "seen_shape")], {}))
    if axis != 0:
        steps.append(("Transpose", [], {"perm": [*range(1, axis + 1), 0, *range(axis + 1, len(shape))]}))
    wanted = np.dtype(builder.trace.dtypes[logits])
    if wanted != dtype:
        steps.append(("Cast", [], {"to": _element(wanted)}))
    steps = steps or [("Identity", [], {})]
    for index, (operator, inputs, attributes) in enumerate(steps):
        last = index == len(steps) - 1
        rows = builder.node(operator, rows, *inputs, output=logits if last else None, **attributes)


def _needed(nodes: list[Any], outputs: list[str]) -> list[Any]:
    """The nodes that some output of the graph depends on, in their order."""
    makers = {name: node for node in nodes for name in node.output if name}
    used: set[int] = set()
    stack = list(outputs)
    while stack:
        node = makers.get(stack.pop())
        if node is not None and id(node) not in used:
            used.add(id(node))
            stack += node_inputs(node)
    return [node for node in nodes if id(node) in used]


def _sorted(nodes: list[Any]) -> list[Any]:
    """Each node after those whose outputs it reads; the order kept where it allows that."""
    made = {name for node in nodes for name in node.output}
    done: set[str] = set()
    waiting: list[Any] = list(nodes)
    ordered: list[Any] = []
    while waiting:
        left = []
        for node in waiting:
            if all(name in done or name not in made for name in node_inputs(node)):
                done.update(node.output)
                ordered.append(node)
            else:
                left.append(node)
        if len(left) == len(waiting):
            raise ModelError("the graph's nodes form a cycle; expected a feed-forward ONNX graph")
        waiting = left
    return ordered


def _copy(graph: GraphIndex) -> onnx.ModelProto:
    import onnx

    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    return model
