"""Operators of ai.onnx.ml that end a classifier, written out in standard ones, which the rest of the package reads.

scikit-learn's converters keep a linear classifier, its weights among them, in one node (ONNX-ML operator specification:
LinearClassifier, Normalizer). What the file computes stays: every node is compared with what takes its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from singaudit.classifier.graph.lookup import attributes, opset_imports
from singaudit.errors import SingauditError

if TYPE_CHECKING:
    import onnx

_DOMAIN = "ai.onnx.ml"
_AFTER = {"NONE": "", "SOFTMAX": "Softmax", "LOGISTIC": "Sigmoid"}
"""By post_transform: the operator that does it."""
_ROWS = 16
_TOLERANCE = 1e-5
"""Largest difference between scores of a node and of what takes its place, over the largest score; both sum float32."""
_LARGEST, _WIDEST = 1 << 26, 1 << 20
"""Numbers of one weight, and features, that are written out."""
_MOST = 16
"""Such nodes of one model that are looked at; a classifier has one or two."""


def spell_out(model: onnx.ModelProto) -> bool:
    """Write such nodes out, in place; whether any was. One that means something else than is known here stays."""
    if not 0 < sum(node.domain == _DOMAIN and node.op_type in _READERS for node in model.graph.node) <= _MOST:
        return False
    taken = {name for node in model.graph.node for name in (*node.input, *node.output)}
    taken |= {item.name for item in (*model.graph.initializer, *model.graph.input)}
    nodes: list[Any] = []
    changed = False
    for node in model.graph.node:
        known = node.domain == _DOMAIN and node.op_type in _READERS
        made, width = _READERS[node.op_type](node, opset_imports(model).get("", 0)) if known else (None, 0)
        inner = {name for one in made or () for name in one.output} - set(node.output)
        if made is None or inner & taken or not _same(node, made, width, model):
            nodes.append(node)
            continue
        nodes += made
        taken |= inner
        changed = True
    if changed:
        kept = [one.SerializeToString() for one in nodes]
        del model.graph.node[:]
        for data in kept:
            model.graph.node.add().ParseFromString(data)
    return changed


def _linear_classifier(node: onnx.NodeProto, opset: int) -> tuple[list[Any] | None, int]:
    """(nodes in its place, features); None where it is no linear layer with a score a class."""
    from onnx import TensorProto, helper, numpy_helper

    said = attributes(node)
    bias = np.asarray(said.get("intercepts", ()), np.float32)
    weight = np.asarray(said.get("coefficients", ()), np.float32)
    labels: list[Any] = list(said.get("classlabels_strings") or said.get("classlabels_ints") or ())
    after = said.get("post_transform", "NONE")
    if opset < 11 or after not in _AFTER or len(bias) < 2 or len(labels) != len(bias) or len(node.output) < 2:
        return None, 0
    if weight.size == 0 or weight.size % len(bias) or weight.size > _LARGEST or not node.output[1]:
        return None, 0
    weight = weight.reshape(len(bias), -1)
    if weight.shape[1] > _WIDEST:
        return None, 0
    label, scores = node.output[0], node.output[1]
    start = f"{scores}:linear"
    operator = _AFTER[after]
    logits = f"{start}:logits" if operator else scores

    def constant(name: str, values: Any) -> Any:
        return helper.make_node("Constant", [], [f"{start}:{name}"], value=numpy_helper.from_array(values, name))

    made = [
        constant("weight", weight),
        constant("bias", bias),
        helper.make_node("Cast", [node.input[0]], [f"{start}:features"], to=TensorProto.FLOAT),
        helper.make_node(
            "Gemm", [f"{start}:features", f"{start}:weight", f"{start}:bias"], [logits], node.name, transB=1
        ),
    ]
    if operator == "Softmax":
        made.append(helper.make_node(operator, [logits], [scores], axis=1))
    elif operator:
        made.append(helper.make_node(operator, [logits], [scores]))
    if label:
        names = np.asarray(labels, object if isinstance(labels[0], bytes) else np.int64)
        made += [
            constant("labels", names),
            helper.make_node("ArgMax", [logits], [f"{start}:index"], axis=1, keepdims=0),
            helper.make_node("Gather", [f"{start}:labels", f"{start}:index"], [label], axis=0),
        ]
    return made, weight.shape[1]


def _normalizer(node: onnx.NodeProto, opset: int) -> tuple[list[Any] | None, int]:
    """(nodes in its place, features it is tried with); None unless it divides each row by the sum of its sizes."""
    from onnx import helper, numpy_helper

    if attributes(node).get("norm") != "L1" or opset < 11:
        return None, 0
    total = f"{node.output[0]}:norm"
    if opset < 18:
        return [
            helper.make_node("ReduceL1", [node.input[0]], [total], axes=[1], keepdims=1),
            helper.make_node("Div", [node.input[0], total], [node.output[0]], node.name),
        ], 3
    axes = numpy_helper.from_array(np.array([1], np.int64), "axes")
    return [
        helper.make_node("Constant", [], [f"{total}:axes"], value=axes),
        helper.make_node("ReduceL1", [node.input[0], f"{total}:axes"], [total], keepdims=1),
        helper.make_node("Div", [node.input[0], total], [node.output[0]], node.name),
    ], 3


_READERS = {"LinearClassifier": _linear_classifier, "Normalizer": _normalizer}


def _same(node: onnx.NodeProto, made: list[Any], width: int, model: onnx.ModelProto) -> bool:
    """Whether ONNX Runtime gives the same for both on random features."""
    from singaudit.classifier.graph.session import make_session, run

    rows = np.random.default_rng(0).standard_normal((_ROWS, width)).astype(np.float32)
    outputs = [name for name in node.output if name]
    found = []
    for nodes in ([node], made):
        try:
            session = make_session(_alone(nodes, node, outputs, width, model), None, threads=1, mode="unoptimised")
            found.append(run(session, outputs, {node.input[0]: rows}))
        except SingauditError:
            return False
    for have, want in zip(*found, strict=True):
        if have.shape != want.shape or have.dtype != want.dtype:
            return False
        if have.dtype.kind != "f":
            if not np.array_equal(have, want):
                return False
        elif not np.abs(have - want).max() <= _TOLERANCE * np.abs(have).max():
            return False
    return True


def _alone(nodes: list[Any], of: onnx.NodeProto, outputs: list[str], width: int, model: onnx.ModelProto) -> bytes:
    from onnx import TensorProto, ValueInfoProto, helper

    rows = helper.make_tensor_value_info(of.input[0], TensorProto.FLOAT, ["rows", width])
    graph = helper.make_graph(nodes, "node", [rows], [ValueInfoProto(name=name) for name in outputs])
    alone = helper.make_model(graph, opset_imports=list(model.opset_import))
    alone.ir_version = model.ir_version
    data: bytes = alone.SerializeToString()
    return data
