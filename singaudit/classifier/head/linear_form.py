"""The common form in which every operator that multiplies by a constant weight is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from singaudit.classifier.graph.lookup import GraphIndex, attributes

if TYPE_CHECKING:
    import onnx

Array = NDArray[np.float64]


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
    stored_bits: int = 0
    """Bits of each number of a weight that is packed into bytes; 0 where the tensor's own type says it."""


class NotLinear(Exception):  # noqa: N818 - a reason that is caught and reported, not an error
    """Why a graph cannot be read as linear in the features; its text is shown to the user."""


Values = Callable[[str], NDArray[Any]]


def real(values: Values, name: str) -> Array:
    """A constant in float64."""
    return np.asarray(values(name)).astype(np.float64)


def optional(values: Values, node: onnx.NodeProto, index: int) -> Array | None:
    """A constant input in float64, None where it is left out."""
    return real(values, node.input[index]) if index < len(node.input) and node.input[index] else None


def pointwise(graph: GraphIndex, node: onnx.NodeProto, weight: Array) -> Array:
    """(m, c) of a convolution whose kernel covers one position."""
    options = attributes(node)
    if any(side != 1 for side in weight.shape[2:]) or any(options.get("pads", ())):
        raise NotLinear(f"{graph.label(node)} is a convolution over several positions, not a linear layer")
    if options.get("group", 1) != 1:
        raise NotLinear(f"{graph.label(node)} is a grouped convolution")
    if options.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise NotLinear(f"{graph.label(node)} has an unknown auto_pad")
    return weight.reshape(weight.shape[:2]).T


def channel_bias(bias: Array | None, spatial: int) -> Array | None:
    """A bias per channel, ready to be added to (batch, channels, *spatial)."""
    return None if bias is None else bias.reshape(-1, *([1] * spatial))
