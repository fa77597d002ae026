"""The operators that multiply features by a constant weight, each read into one common form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from singaudit.classifier.graph import Graph, attributes

if TYPE_CHECKING:
    import onnx

Array = NDArray[np.float64]
LINEAR_OPS = frozenset(
    {
        "Gemm",
        "MatMul",
        "FusedGemm",
        "FusedMatMul",
        "Conv",
        "Einsum",
        "QGemm",
        "QLinearMatMul",
        "QLinearConv",
        "MatMulInteger",
        "ConvInteger",
        "MatMulIntegerToFloat",
        "DynamicQuantizeMatMul",
    }
)


@dataclass(frozen=True)
class Linear:
    """One operator as ``y = x . matrix + bias`` along one axis."""

    data: str
    """Name of the tensor that holds x."""
    weight: str
    """Name of the tensor that holds the weight."""
    feature_axes: tuple[int, ...]
    """Axes of x that are contracted."""
    matrix: Array
    """(m, c), in real units: dequantised where the operator itself dequantises."""
    bias: Array | None
    """Added to y, broadcastable to y's axes; None for none."""
    class_axis: int
    """Axis of y that holds the c outputs."""
    title: str
    """As reports call it: "Gemm", "MatMul", "Conv 1x1", ..."""
    step: Array | None = None
    """(c,) or (1,): grid of the integer weight in the units of ``matrix``; None for float weights."""
    output_scale: float | None = None
    """Quantised operators: y is stored as round(y / output_scale) + output_zero."""
    output_zero: float = 0.0
    """See ``output_scale``."""
    output_range: tuple[float, float] = (0.0, 255.0)
    """Integers that y's type can hold; used with ``output_scale``."""
    input_scale: float | None = None
    """Quantised operators: the real x is (stored - input_zero) * input_scale."""
    input_zero: float = 0.0
    """See ``input_scale``."""
    dynamic: str | None = None
    """Name of the data-dependent scale that y must still be multiplied by (MatMulInteger); None otherwise."""
    input_rounding: bool = False
    """Whether x is rounded to 8 bits on the way in, so that y equals x . matrix only up to that rounding."""


class NotLinear(Exception):  # noqa: N818 - a reason that is caught and reported, not an error
    """Why a graph cannot be read as linear in the features; its text is shown to the user."""


Values = Callable[[str], NDArray[Any]]


def read_linear(graph: Graph, node: onnx.NodeProto, values: Values) -> Linear:
    """The operator in common form. ``values`` gives constants by name. NotLinear says why it is not one."""
    data = graph.data_inputs(node)
    reader = _READERS.get(node.op_type)
    if reader is None:
        raise NotLinear(f"{node.op_type} is not a linear layer")
    if not data:
        raise NotLinear(f"{node.op_type} does not depend on the image")
    return reader(graph, node, values)


def _real(values: Values, name: str) -> Array:
    return np.asarray(values(name)).astype(np.float64)


def _optional(values: Values, node: onnx.NodeProto, index: int) -> Array | None:
    return _real(values, node.input[index]) if index < len(node.input) and node.input[index] else None


def _one_data_input(graph: Graph, node: onnx.NodeProto) -> int:
    """0 or 1: which of the two factors depends on the image."""
    places = [place for place in (0, 1) if graph.kind(node.input[place]) == "data"]
    if len(places) != 1:
        raise NotLinear(f"{graph.label(node)} multiplies two tensors that both depend on the image")
    return places[0]


def _gemm(graph: Graph, node: onnx.NodeProto, values: Values) -> Linear:
    options = attributes(node)
    if options.get("activation"):
        raise NotLinear(f"{graph.label(node)} applies {options['activation']} after its product")
    place = _one_data_input(graph, node)
    other = _real(values, node.input[1 - place]) * options.get("alpha", 1.0)
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
        bias = _real(values, node.input[2]) * options.get("beta", 1.0)
    return Linear(node.input[place], node.input[1 - place], axes, matrix, bias, class_axis, "Gemm")


def _matmul(graph: Graph, node: onnx.NodeProto, values: Values) -> Linear:
    options = attributes(node)
    if options.get("transBatchA") or options.get("transBatchB"):
        raise NotLinear(f"{graph.label(node)} permutes batches")
    place = _one_data_input(graph, node)
    other = _real(values, node.input[1 - place]) * options.get("alpha", 1.0)
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


def _pointwise(graph: Graph, node: onnx.NodeProto, weight: Array) -> Array:
    """(m, c) of a convolution whose kernel covers one position."""
    options = attributes(node)
    if any(side != 1 for side in weight.shape[2:]) or any(options.get("pads", ())):
        raise NotLinear(f"{graph.label(node)} is a convolution over several positions, not a linear layer")
    if options.get("group", 1) != 1:
        raise NotLinear(f"{graph.label(node)} is a grouped convolution")
    if options.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise NotLinear(f"{graph.label(node)} has an unknown auto_pad")
    return weight.reshape(weight.shape[:2]).T


def _channel_bias(bias: Array | None, spatial: int) -> Array | None:
    return None if bias is None else bias.reshape(-1, *([1] * spatial))


def _conv(graph: Graph, node: onnx.NodeProto, values: Values) -> Linear:
    if graph.kind(node.input[1]) == "data":
        raise NotLinear(f"{graph.label(node)} has a kernel that depends on the image")
    weight = _real(values, node.input[1])
    bias = _channel_bias(_optional(values, node, 2), weight.ndim - 2)
    matrix = _pointwise(graph, node, weight)
    return Linear(node.input[0], node.input[1], (1,), matrix, bias, 1, f"Conv {'x'.join(['1'] * (weight.ndim - 2))}")


def _einsum(graph: Graph, node: onnx.NodeProto, values: Values) -> Linear:
    equation = attributes(node).get("equation", "").replace(" ", "")
    left, arrow, out = equation.partition("->")
    terms = left.split(",")
    if len(node.input) != 2 or len(terms) != 2 or not arrow or "." in equation:
        raise NotLinear(f"{graph.label(node)}: Einsum {equation!r} is not a plain product of two tensors")
    place = _one_data_input(graph, node)
    x, w = terms[place], terms[1 - place]
    contracted = [label for label in x if label in w and label not in out]
    classes = [label for label in w if label in out and label not in x]
    if (
        any(len(set(term)) != len(term) for term in (x, w, out))
        or len(classes) != 1
        or set(w) != {*contracted, *classes}
        or set(x) - set(contracted) != set(out) - set(classes)
        or [label for label in out if label in x] != [label for label in x if label in out]
    ):
        raise NotLinear(f"{graph.label(node)}: Einsum {equation!r} is not a linear layer")
    weight = np.einsum(f"{w}->{''.join(contracted)}{classes[0]}", _real(values, node.input[1 - place]))
    axes = tuple(x.index(label) for label in contracted)
    matrix = weight.reshape(-1, weight.shape[-1])
    return Linear(node.input[place], node.input[1 - place], axes, matrix, None, out.index(classes[0]), "Einsum")


def _scaled(values: Values, node: onnx.NodeProto, scale: int, zero: int) -> tuple[Array, Array]:
    zero_point = _optional(values, node, zero)
    return _real(values, node.input[scale]), np.zeros(1) if zero_point is None else zero_point


def _single(array: Array, what: str) -> float:
    if array.size != 1:
        raise NotLinear(f"{what} is quantised per channel; expected one scale")
    return float(array.reshape(()))


def _integer_range(values: Values, name: str | None) -> tuple[float, float]:
    info = np.iinfo(np.asarray(values(name)).dtype if name else np.uint8)
    return float(info.min), float(info.max)


def _qgemm(graph: Graph, node: onnx.NodeProto, values: Values) -> Linear:
    options = attributes(node)
    if graph.data_inputs(node) != [node.input[0]]:
        raise NotLinear(f"{graph.label(node)} has a weight or scale that depends on the image")
    x_scale = _real(values, node.input[1])
    w_scale, w_zero = _scaled(values, node, 4, 5)
    weight = _real(values, node.input[3])
    weight = weight.T if options.get("transB", 0) else weight
    alpha = options.get("alpha", 1.0)
    bias = _optional(values, node, 6)
    scale = _single(x_scale, "the input of QGemm")
    return _quantised(
        node,
        values,
        (weight - w_zero) * w_scale * alpha,
        None if bias is None else bias * scale * w_scale * alpha,
        w_scale * alpha,
        (0 if options.get("transA", 0) else 1, 1),
        (7, 8),
        "QGemm",
        3,
    )


def _qmatmul(graph: Graph, node: onnx.NodeProto, values: Values) -> Linear:
    if graph.data_inputs(node) != [node.input[0]]:
        raise NotLinear(f"{graph.label(node)} does not have a constant weight on the right")
    w_scale, w_zero = _scaled(values, node, 4, 5)
    matrix = (_real(values, node.input[3]) - w_zero) * w_scale
    return _quantised(node, values, matrix, None, w_scale.reshape(-1), (-1, -1), (6, 7), "QLinearMatMul", 3)


def _qconv(graph: Graph, node: onnx.NodeProto, values: Values) -> Linear:
    if graph.data_inputs(node) != [node.input[0]]:
        raise NotLinear(f"{graph.label(node)} has a weight or scale that depends on the image")
    w_scale, w_zero = _scaled(values, node, 4, 5)
    weight = _real(values, node.input[3])
    matrix = (_pointwise(graph, node, weight) - w_zero) * w_scale
    bias = _optional(values, node, 8)
    if bias is not None:
        bias = bias * _single(_real(values, node.input[1]), "the input of QLinearConv") * w_scale
    bias = _channel_bias(bias, weight.ndim - 2)
    return _quantised(node, values, matrix, bias, w_scale, (1, 1), (6, 7), "QLinearConv 1x1", 3)


def _quantised(
    node: onnx.NodeProto,
    values: Values,
    matrix: Array,
    bias: Array | None,
    step: Array,
    axes: tuple[int, int],
    output: tuple[int, int],
    title: str,
    weight: int,
) -> Linear:
    """A QOperator node: input at 0 with scale 1 and zero point 2, output scale and zero point at ``output``."""
    x_scale, x_zero = _scaled(values, node, 1, 2)
    y_scale = _optional(values, node, output[0])
    y_zero = _optional(values, node, output[1])
    zero_name = node.input[output[1]] if y_zero is not None else None
    return Linear(
        node.input[0],
        node.input[weight],
        axes[:1],
        matrix,
        bias,
        axes[1],
        title,
        np.abs(step.reshape(-1)),
        None if y_scale is None else _single(y_scale, f"the output of {title}"),
        0.0 if y_zero is None else _single(y_zero, f"the output of {title}"),
        _integer_range(values, zero_name),
        _single(x_scale, f"the input of {title}"),
        _single(x_zero, f"the input of {title}"),
    )


def _matmul_integer(graph: Graph, node: onnx.NodeProto, values: Values) -> Linear:
    maker = graph.producers.get(node.input[0])
    if maker is None or maker.op_type != "DynamicQuantizeLinear" or graph.kind(node.input[1]) == "data":
        raise NotLinear(f"{graph.label(node)} does not multiply a dynamically quantised tensor by a constant weight")
    if len(node.input) > 2 and node.input[2] and node.input[2] != maker.output[2]:
        raise NotLinear(f"{graph.label(node)} has a zero point that is not its own input's")
    weight = _real(values, node.input[1])
    zero = _optional(values, node, 3)
    if node.op_type == "ConvInteger":
        matrix, axis, class_axis, title = _pointwise(graph, node, weight), 1, 1, "ConvInteger 1x1"
    else:
        if weight.ndim != 2:
            raise NotLinear(f"{graph.label(node)} has a weight of {weight.ndim} axes; expected a matrix")
        matrix, axis, class_axis, title = weight, -1, -1, "MatMulInteger"
    matrix = matrix if zero is None else matrix - zero
    return Linear(
        maker.input[0],
        node.input[1],
        (axis,),
        matrix,
        None,
        class_axis,
        f"DynamicQuantizeLinear-{title}",
        np.ones(1),
        dynamic=maker.output[1],
        input_rounding=True,
    )


def _matmul_integer_to_float(graph: Graph, node: onnx.NodeProto, values: Values) -> Linear:
    """ONNX Runtime's fusions: MatMulIntegerToFloat (a, b, a_scale, b_scale, a_zero, b_zero, bias) and
    DynamicQuantizeMatMul (a, b, b_scale, b_zero, bias)."""
    fused = node.op_type == "MatMulIntegerToFloat"
    data = node.input[0]
    if fused:
        maker = graph.producers.get(data)
        if maker is None or maker.op_type != "DynamicQuantizeLinear":
            raise NotLinear(f"{graph.label(node)} does not multiply a dynamically quantised tensor")
        data = maker.input[0]
    scale, zero, bias = (3, 5, 6) if fused else (2, 3, 4)
    w_scale, w_zero = _scaled(values, node, scale, zero)
    matrix = (_real(values, node.input[1]) - w_zero) * w_scale
    return Linear(
        data,
        node.input[1],
        (-1,),
        matrix,
        _optional(values, node, bias),
        -1,
        node.op_type,
        np.abs(w_scale.reshape(-1)),
        input_rounding=True,
    )


_READERS: dict[str, Callable[[Graph, Any, Values], Linear]] = {
    "Gemm": _gemm,
    "FusedGemm": _gemm,
    "MatMul": _matmul,
    "FusedMatMul": _matmul,
    "Conv": _conv,
    "Einsum": _einsum,
    "QGemm": _qgemm,
    "QLinearMatMul": _qmatmul,
    "QLinearConv": _qconv,
    "MatMulInteger": _matmul_integer,
    "ConvInteger": _matmul_integer,
    "MatMulIntegerToFloat": _matmul_integer_to_float,
    "DynamicQuantizeMatMul": _matmul_integer_to_float,
}
