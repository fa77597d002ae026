"""The head alone as a model of its own, so that features can be put in and logits read."""

from __future__ import annotations

from typing import Any

import numpy as np

from singaudit.classifier.graph.lookup import GraphIndex, node_inputs
from singaudit.classifier.head.plan import HeadPlan, Trace


def head_model(graph: GraphIndex, trace: Trace, plan: HeadPlan) -> bytes:
    """The nodes from the features to the logits, serialised, for any batch size where the graph's own allows it.

    Reshapes get the shape seen in the trace with the batch axis left open, so that neither a fixed batch nor one
    read from the image's shape binds the head; other values computed from the input's shape become constants.
    """
    import onnx
    from onnx import helper, numpy_helper

    produced = {name for node in plan.nodes for name in node.output}
    leaves = {leaf.tensor for leaf in plan.leaves}
    nodes: list[Any] = []
    initializers: dict[str, Any] = {}
    needed: dict[str, None] = {}
    for node in plan.nodes:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        if node.op_type == "Reshape" and trace.static_batch is None and node.output[0] in trace.shapes:
            name = f"{node.output[0]}:shape"
            initializers[name] = numpy_helper.from_array(_open_shape(trace, node.output[0]), name)
            copy.input[1] = name
            del copy.attribute[:]
        nodes.append(copy)
        needed.update(dict.fromkeys(node_inputs(copy)))
    constants = _constant_nodes(graph, [name for name in needed if graph.kind(name) == "const"])
    for name in [*needed, *(item for node in constants for item in node_inputs(node))]:
        if name in produced or name in leaves or name in initializers:
            continue
        if name in graph.initializers:
            initializers[name] = graph.initializers[name]
        elif graph.kind(name) == "shape":
            initializers[name] = numpy_helper.from_array(trace.values[name], name)
    inputs = [
        helper.make_tensor_value_info(
            leaf.tensor,
            helper.np_dtype_to_tensor_dtype(np.dtype(trace.dtypes[leaf.tensor])),
            [None] * len(leaf.shape),
        )
        for leaf in plan.leaves
    ]
    body = helper.make_graph(
        [*constants, *nodes], "head", inputs, [onnx.ValueInfoProto(name=plan.logits)], list(initializers.values())
    )
    model = helper.make_model(body, opset_imports=list(graph.model.opset_import))
    model.ir_version = graph.model.ir_version
    return model.SerializeToString()


def _open_shape(trace: Trace, name: str) -> Any:
    shape = list(trace.shapes[name])
    axis = trace.batch_axes.get(name)
    if axis is not None:
        shape[axis] = -1
    return np.asarray(shape, dtype=np.int64)


def _constant_nodes(graph: GraphIndex, names: list[str]) -> list[Any]:
    """The nodes that compute constants, in graph order."""
    wanted = graph.ancestors(names)
    return [node for node in graph.order if any(name in wanted for name in node.output)]
