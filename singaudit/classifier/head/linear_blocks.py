"""Linear layers whose weight is packed into 2, 4 or 8 bits with a scale for each block: ONNX Runtime's MatMulNBits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from singaudit.classifier.graph.lookup import GraphIndex, attributes
from singaudit.classifier.head.linear_form import Array, Linear, NotLinear, Values, optional, real

if TYPE_CHECKING:
    import onnx

_INT8_ACTIVATIONS = 4
"""The accuracy level from which ONNX Runtime rounds the features to 8 bits, block by block."""


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
