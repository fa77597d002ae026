"""Quantised linear layers: QOperator nodes, dynamic quantisation and weights packed in blocks, read by dequantising."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from singaudit.classifier.graph.lookup import GraphIndex, attributes
from singaudit.classifier.head.linear_form import (
    Array,
    Linear,
    NotLinear,
    Values,
    channel_bias,
    optional,
    pointwise,
    real,
)

if TYPE_CHECKING:
    import onnx

_INT8_ACTIVATIONS = 4
"""The accuracy level from which ONNX Runtime rounds the features to 8 bits, block by block."""


def _scaled(values: Values, node: onnx.NodeProto, scale: int, zero: int) -> tuple[Array, Array]:
    zero_point = optional(values, node, zero)
    return real(values, node.input[scale]), np.zeros(1) if zero_point is None else zero_point


def _single(array: Array, what: str) -> float:
    if array.size != 1:
        raise NotLinear(f"{what} is quantised per channel; expected one scale")
    return float(array.reshape(()))


def _integer_range(values: Values, name: str | None) -> tuple[float, float]:
    info = np.iinfo(np.asarray(values(name)).dtype if name else np.uint8)
    return float(info.min), float(info.max)


def qgemm(graph: GraphIndex, node: onnx.NodeProto, values: Values) -> Linear:
    """ONNX Runtime's QGemm."""
    options = attributes(node)
    if graph.data_inputs(node) != [node.input[0]]:
        raise NotLinear(f"{graph.label(node)} has a weight or scale that depends on the image")
    x_scale = real(values, node.input[1])
    w_scale, w_zero = _scaled(values, node, 4, 5)
    weight = real(values, node.input[3])
    weight = weight.T if options.get("transB", 0) else weight
    alpha = options.get("alpha", 1.0)
    bias = optional(values, node, 6)
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


def qmatmul(graph: GraphIndex, node: onnx.NodeProto, values: Values) -> Linear:
    """QLinearMatMul."""
    if graph.data_inputs(node) != [node.input[0]]:
        raise NotLinear(f"{graph.label(node)} does not have a constant weight on the right")
    w_scale, w_zero = _scaled(values, node, 4, 5)
    matrix = (real(values, node.input[3]) - w_zero) * w_scale
    return _quantised(node, values, matrix, None, w_scale.reshape(-1), (-1, -1), (6, 7), "QLinearMatMul", 3)


def qconv(graph: GraphIndex, node: onnx.NodeProto, values: Values) -> Linear:
    """QLinearConv of one position."""
    if graph.data_inputs(node) != [node.input[0]]:
        raise NotLinear(f"{graph.label(node)} has a weight or scale that depends on the image")
    w_scale, w_zero = _scaled(values, node, 4, 5)
    weight = real(values, node.input[3])
    matrix = (pointwise(graph, node, weight) - w_zero) * w_scale
    bias = optional(values, node, 8)
    if bias is not None:
        bias = bias * _single(real(values, node.input[1]), "the input of QLinearConv") * w_scale
    bias = channel_bias(bias, weight.ndim - 2)
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
    y_scale = optional(values, node, output[0])
    y_zero = optional(values, node, output[1])
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


def matmul_integer(graph: GraphIndex, node: onnx.NodeProto, values: Values) -> Linear:
    """MatMulInteger and ConvInteger behind DynamicQuantizeLinear; their scale is multiplied on later."""
    maker = graph.producers.get(node.input[0])
    if maker is None or maker.op_type != "DynamicQuantizeLinear" or graph.kind(node.input[1]) == "data":
        raise NotLinear(f"{graph.label(node)} does not multiply a dynamically quantised tensor by a constant weight")
    if len(node.input) > 2 and node.input[2] and node.input[2] != maker.output[2]:
        raise NotLinear(f"{graph.label(node)} has a zero point that is not its own input's")
    weight = real(values, node.input[1])
    zero = optional(values, node, 3)
    if node.op_type == "ConvInteger":
        matrix, axis, class_axis, title = pointwise(graph, node, weight), 1, 1, "ConvInteger 1x1"
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


def matmul_integer_to_float(graph: GraphIndex, node: onnx.NodeProto, values: Values) -> Linear:
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
    matrix = (real(values, node.input[1]) - w_zero) * w_scale
    return Linear(
        data,
        node.input[1],
        (-1,),
        matrix,
        optional(values, node, bias),
        -1,
        node.op_type,
        np.abs(w_scale.reshape(-1)),
        input_rounding=True,
    )


def unpacked(packed: NDArray[Any], bits: int) -> Array:
    """Bytes (..., n) as the numbers (..., n * 8 / bits) packed in them, the lowest bits first."""
    shifts = np.arange(0, 8, bits)
    return ((packed[..., None].astype(np.int64) >> shifts) & (2**bits - 1)).reshape(*packed.shape[:-1], -1) * 1.0


def matmul_nbits(graph: GraphIndex, node: onnx.NodeProto, values: Values) -> Linear:
    """MatMulNBits (operator of com.microsoft): inputs A, B, scales, zero_points, g_idx, bias."""
    if graph.data_inputs(node) != [node.input[0]]:
        raise NotLinear(f"{graph.label(node)} has a weight or scale that depends on the image")
    options = attributes(node)
    features, classes, block = int(options["K"]), int(options["N"]), int(options["block_size"])
    bits = int(options.get("bits", 4))
    if bits not in (2, 4, 8):
        raise NotLinear(f"{graph.label(node)} packs its weight into {bits} bits")
    blocks = -(-features // block)
    whole = unpacked(np.asarray(values(node.input[1])).reshape(classes, blocks, -1), bits)
    whole = whole[:, :, :block].reshape(classes, -1)[:, :features]
    scale = real(values, node.input[2]).reshape(classes, blocks)
    zero = _zero_points(values, node, classes, blocks, bits)
    groups = optional(values, node, 4)
    of_feature = np.arange(features) // block if groups is None else groups.astype(np.int64)
    return Linear(
        node.input[0],
        node.input[1],
        (-1,),
        ((whole - zero[:, of_feature]) * scale[:, of_feature]).T,
        optional(values, node, 5),
        -1,
        f"MatMulNBits ({bits} bits)",
        np.sqrt(np.mean(scale**2, axis=1)),
        input_rounding=int(options.get("accuracy_level", 0)) >= _INT8_ACTIVATIONS,
        stored_bits=bits,
    )


def _zero_points(values: Values, node: onnx.NodeProto, classes: int, blocks: int, bits: int) -> Array:
    """(classes, blocks): packed as the weight is, in a row of whole bytes a class; floats are not packed."""
    if len(node.input) <= 3 or not node.input[3]:
        return np.full((classes, blocks), 2.0 ** (bits - 1))
    stored = np.asarray(values(node.input[3]))
    if stored.dtype != np.uint8:
        return stored.astype(np.float64).reshape(classes, blocks)
    return unpacked(stored.reshape(classes, -1), bits)[:, :blocks]
