"""The operators that multiply features by a constant weight, each read into one common form."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from singaudit.classifier.graph.lookup import GraphIndex, attributes
from singaudit.classifier.head.linear_form import Linear, NotLinear, Values, channel_bias, optional, pointwise, real
from singaudit.classifier.head.linear_quantised import (
    matmul_integer,
    matmul_integer_to_float,
    matmul_nbits,
    qconv,
    qgemm,
    qmatmul,
)

if TYPE_CHECKING:
    import onnx


def read_linear(graph: GraphIndex, node: onnx.NodeProto, values: Values) -> Linear:
    """The operator in common form. ``values`` gives constants by name. NotLinear says why it is not one."""
    data = graph.data_inputs(node)
    reader = _READERS.get(node.op_type)
    if reader is None:
        raise NotLinear(f"{node.op_type} is not a linear layer")
    if not data:
        raise NotLinear(f"{node.op_type} does not depend on the image")
    return reader(graph, node, values)


def _one_data_input(graph: GraphIndex, node: onnx.NodeProto) -> int:
    """0 or 1: which of the two factors depends on the image."""
    places = [place for place in (0, 1) if graph.kind(node.input[place]) == "data"]
    if len(places) != 1:
        raise NotLinear(f"{graph.label(node)} multiplies two tensors that both depend on the image")
    return places[0]


def _gemm(graph: GraphIndex, node: onnx.NodeProto, values: Values) -> Linear:
    options = attributes(node)
    if options.get("activation"):
        raise NotLinear(f"{graph.label(node)} applies {options['activation']} after its product")
    place = _one_data_input(graph, node)
    other = real(values, node.input[1 - place]) * options.get("alpha", 1.0)
    if place == 0:
        matrix = other.T if options.get("transB", 0) else other
        axes, class_axis = (0 if options.get("transA", 0) else 1,), 1
    else:
        matrix = other if options.get("transA", 0) else other.T
        axes, class_axis = (1 if options.get("transB", 0) else 0,), 0
    bias = None
    if len(node.input) > 2 and node.input[2]:
        if graph.kind(node.input[2]) == "data":
            raise NotLinear(f"{graph.label(node)} adds a bias that depends on the image")
        bias = real(values, node.input[2]) * options.get("beta", 1.0)
    return Linear(node.input[place], node.input[1 - place], axes, matrix, bias, class_axis, "Gemm")


def _matmul(graph: GraphIndex, node: onnx.NodeProto, values: Values) -> Linear:
    options = attributes(node)
    if options.get("transBatchA") or options.get("transBatchB"):
        raise NotLinear(f"{graph.label(node)} permutes batches")
    place = _one_data_input(graph, node)
    other = real(values, node.input[1 - place]) * options.get("alpha", 1.0)
    if other.ndim > 2 and other.size == other.shape[-1] * other.shape[-2]:
        other = other.reshape(other.shape[-2:])
    if other.ndim != 2:
        raise NotLinear(f"{graph.label(node)} has a weight of {other.ndim} axes; expected a matrix")
    if place == 0:
        matrix = other.T if options.get("transB", 0) else other
        axis, class_axis = (-2 if options.get("transA", 0) else -1), -1
    else:
        matrix = other if options.get("transA", 0) else other.T
        axis, class_axis = (-1 if options.get("transB", 0) else -2), -2
    return Linear(node.input[place], node.input[1 - place], (axis,), matrix, None, class_axis, "MatMul")


def _conv(graph: GraphIndex, node: onnx.NodeProto, values: Values) -> Linear:
    if graph.kind(node.input[1]) == "data":
        raise NotLinear(f"{graph.label(node)} has a kernel that depends on the image")
    weight = real(values, node.input[1])
    bias = channel_bias(optional(values, node, 2), weight.ndim - 2)
    matrix = pointwise(graph, node, weight)
    return Linear(node.input[0], node.input[1], (1,), matrix, bias, 1, f"Conv {'x'.join(['1'] * (weight.ndim - 2))}")


def _einsum_terms(equation: str, ranks: tuple[int | None, int | None]) -> tuple[list[str], list[str], list[str]] | None:
    """The labels of both factors and of the output, "." for an ellipsis; None unless it is a product of two tensors.

    ``ranks`` are the factors' axes where known: an ellipsis that stands for none of them is left out.
    """
    left, arrow, out = equation.replace(" ", "").replace("...", ".").partition("->")
    terms = left.split(",")
    if len(terms) != 2:
        return None
    if not arrow:  # implied: what stands once, in the order of the alphabet
        letters = sorted(label for label in set(left) - {",", "."} if left.count(label) == 1)
        out = "".join(["." if "." in left else "", *letters])
    first, second = ([*term] for term in terms)
    for term, rank in zip((first, second), ranks, strict=True):
        if "." in term and rank == len(term) - 1:
            term.remove(".")
    return first, second, [*out]


def _axis(labels: list[str], label: str) -> int:
    """Place of a label, counted from the end behind an ellipsis, whose axes are not told."""
    place = labels.index(label)
    return place - len(labels) if "." in labels and place > labels.index(".") else place


def _einsum(graph: GraphIndex, node: onnx.NodeProto, values: Values) -> Linear:
    equation = attributes(node).get("equation", "")
    if len(node.input) != 2:
        raise NotLinear(f"{graph.label(node)}: Einsum {equation!r} is not a plain product of two tensors")
    place = _one_data_input(graph, node)
    constant = real(values, node.input[1 - place])
    terms = _einsum_terms(equation, (None, constant.ndim) if place == 0 else (constant.ndim, None))
    if terms is None:
        raise NotLinear(f"{graph.label(node)}: Einsum {equation!r} is not a plain product of two tensors")
    x, w, out = terms[place], terms[1 - place], terms[2]
    contracted = [label for label in x if label in w and label not in out]
    classes = [label for label in w if label in out and label not in x]
    if (
        any(len(set(term)) != len(term) for term in (x, w, out))
        or len(classes) != 1
        or "." in w
        or set(w) != {*contracted, *classes}
        or set(x) - set(contracted) != set(out) - set(classes)
        or [label for label in out if label in x] != [label for label in x if label in out]
    ):
        raise NotLinear(f"{graph.label(node)}: Einsum {equation!r} is not a linear layer")
    weight = np.einsum(f"{''.join(w)}->{''.join(contracted)}{classes[0]}", constant)
    axes = tuple(_axis(x, label) for label in contracted)
    matrix = weight.reshape(-1, weight.shape[-1])
    return Linear(node.input[place], node.input[1 - place], axes, matrix, None, _axis(out, classes[0]), "Einsum")


_READERS: dict[str, Callable[[GraphIndex, Any, Values], Linear]] = {
    "Gemm": _gemm,
    "FusedGemm": _gemm,
    "MatMul": _matmul,
    "FusedMatMul": _matmul,
    "Conv": _conv,
    "Einsum": _einsum,
    "QGemm": qgemm,
    "QLinearMatMul": qmatmul,
    "QLinearConv": qconv,
    "MatMulInteger": matmul_integer,
    "ConvInteger": matmul_integer,
    "MatMulIntegerToFloat": matmul_integer_to_float,
    "DynamicQuantizeMatMul": matmul_integer_to_float,
    "MatMulNBits": matmul_nbits,
}

LINEAR_OPS = frozenset(_READERS)
"""Operators that may be a linear layer; their attributes and inputs decide."""
