"""Quantisation (ONNX operator specification: QuantizeLinear, QLinearConv, MatMulInteger, DynamicQuantizeLinear, ...).

Quantised integers are whole numbers in float32. Rounding passes gradients straight through; clipping stops them, as
the clipped value no longer moves. Sums of products stay below 2**24 in float32 for up to 500 taps at full range and
are rounded to 24 significant bits beyond.
"""

from __future__ import annotations

import torch
from onnx import TensorProto
from torch import Tensor

from singaudit.classifier.shadow import carriers
from singaudit.classifier.shadow.operators.convolution import ATTRIBUTES, convolve
from singaudit.classifier.shadow.operators.registry import Kernel, Site, Unsupported, fixed, operator


def as_float(x: Tensor) -> Tensor:
    """Return whole numbers in floats, whether they arrive as integers or as floats already."""
    return x if x.is_floating_point() else x.to(carriers.working(torch.float32))


def along(parameter: Tensor, x: Tensor, axis: int, block: int = 0) -> Tensor:
    """Shape a scale or zero point to broadcast against ``x``: a scalar, one per entry of ``axis``, or per block."""
    if parameter.numel() == 1 and parameter.ndim <= 1:
        return parameter.reshape(())
    if block:
        return parameter.repeat_interleave(block, axis).narrow(axis, 0, x.shape[axis])
    if parameter.ndim == 1:
        shape = [1] * x.ndim
        shape[axis] = -1
        return parameter.reshape(shape)
    return parameter


def quantise(x: Tensor, scale: Tensor, zero: Tensor | None, element: int, saturate: bool = True) -> Tensor:
    """Round x / scale + zero into an integer or 8-bit float type; scale and zero must broadcast."""
    ratio = x / scale
    if not carriers.is_integer(element):
        return carriers.round_to_format(ratio, element, saturate)
    low, high = carriers.integer_range(element)
    whole = carriers.round_straight_through(ratio)
    return torch.clamp(whole if zero is None else whole + zero, low, high)


def dequantise(x: Tensor, scale: Tensor, zero: Tensor | None) -> Tensor:
    """Return (x - zero) scale; scale and zero must broadcast."""
    x = as_float(x)
    return (x if zero is None else x - zero) * scale


def _quantised_type(site: Site) -> tuple[int, ...]:
    if site.has(2):
        return (site.input_types[2],)
    return (site.get("output_dtype", 0) or TensorProto.UINT8,)


_QUANTIZE = ("axis", "block_size", "saturate", "output_dtype", "precision")


@operator("QuantizeLinear", 10, attributes=_QUANTIZE, keeps="shape", types=_quantised_type)
@operator("QuantizeLinear", 1, domain="com.microsoft", attributes=("axis",), keeps="shape", types=_quantised_type)
def quantize_linear(site: Site) -> Kernel:
    """Quantise per tensor, per axis or per block."""
    axis, block, element = site.get("axis", 1), site.get("block_size", 0), site.output_types[0]
    saturate = site.flag("saturate", 1)
    if not carriers.is_integer(element) and not carriers.has_format(element):
        raise Unsupported(f"type {carriers.type_name(element)}")

    def run(x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
        zero = None if zero is None else along(as_float(zero), x, axis, block)
        return quantise(as_float(x), along(scale, x, axis, block), zero, element, saturate)

    return run


def _dequantised_type(site: Site) -> tuple[int, ...]:
    return (site.get("output_dtype", 0) or site.input_types[1],)


@operator(
    "DequantizeLinear", 10, attributes=("axis", "block_size", "output_dtype"), keeps="shape", types=_dequantised_type
)
@operator("DequantizeLinear", 1, domain="com.microsoft", attributes=("axis",), keeps="shape", types=_dequantised_type)
def dequantize_linear(site: Site) -> Kernel:
    """Undo a quantisation per tensor, per axis or per block."""
    axis, block = site.get("axis", 1), site.get("block_size", 0)

    def run(x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
        zero = None if zero is None else along(as_float(zero), x, axis, block)
        return dequantise(x, along(scale, x, axis, block), zero)

    return run


_DYNAMIC = fixed(TensorProto.UINT8, TensorProto.FLOAT, TensorProto.UINT8)


def dynamic_quantise(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Quantise to uint8 over the tensor's own range, zero included; returns values, scale and zero point.

    Scale and zero point carry no gradient: together with the values' straight-through gradient, dequantisation then
    has that of the identity. Without rounding it is the identity: the range covers every value, and what a rounded zero
    point clips at its ends would move with the range. Of few values, as in squeeze-and-excitation, the ends are many.
    """
    low, high = x.detach().amin().clamp(max=0.0), x.detach().amax().clamp(min=0.0)
    scale = (high - low) / 255
    # An all-zero tensor has no range; any scale represents it.
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    if not carriers.rounds():
        return x / scale - low / scale, scale, -low / scale
    zero = torch.clamp(torch.round(-low / scale), 0, 255)
    return quantise(x, scale, zero, TensorProto.UINT8), scale, zero


@operator("DynamicQuantizeLinear", 11, types=_DYNAMIC)
def dynamic_quantize_linear(site: Site) -> Kernel:
    """Quantise to uint8 over the tensor's own range."""
    return dynamic_quantise


def shifted(x: Tensor, zero: Tensor | None, axis: int) -> Tensor:
    """Subtract a zero point: a scalar, or one per entry of ``axis``."""
    x = as_float(x)
    return x if zero is None else x - along(as_float(zero), x, axis)


@operator("MatMulInteger", 10)
def matmul_integer(site: Site) -> Kernel:
    """Matrix product of integers after their zero points are subtracted (per row, per column)."""

    def run(a: Tensor, b: Tensor, a_zero: Tensor | None = None, b_zero: Tensor | None = None) -> Tensor:
        rows = -2 if a.ndim > 1 else -1
        return torch.matmul(shifted(a, a_zero, rows), shifted(b, b_zero, -1))

    return run


@operator("ConvInteger", 10, attributes=ATTRIBUTES)
def conv_integer(site: Site) -> Kernel:
    """Convolution of integers after their zero points are subtracted."""
    kernel = convolve(site)

    def run(x: Tensor, w: Tensor, x_zero: Tensor | None = None, w_zero: Tensor | None = None) -> Tensor:
        return kernel(shifted(x, x_zero, 1), shifted(w, w_zero, 0))

    return run


@operator("QLinearConv", 10, attributes=ATTRIBUTES, types=lambda site: (site.input_types[7],))
@operator("QLinearConv", 1, domain="com.microsoft", attributes=ATTRIBUTES, types=lambda site: (site.input_types[7],))
def qlinear_conv(site: Site) -> Kernel:
    """Dequantise, convolve, quantise; the bias is in steps of both scales' product."""
    kernel, element = convolve(site), site.output_types[0]

    def run(
        x: Tensor, xs: Tensor, xz: Tensor, w: Tensor, ws: Tensor, wz: Tensor, ys: Tensor, yz: Tensor, *bias: Tensor
    ) -> Tensor:
        real_w = dequantise(w, along(ws, w, 0), along(as_float(wz), w, 0))
        b = as_float(bias[0]) * (xs * ws).reshape(-1) if bias else None
        y = kernel(dequantise(x, xs.reshape(()), as_float(xz).reshape(())), real_w, b)
        return quantise(y, along(ys, y, 1), along(as_float(yz), y, 1), element)

    return run


@operator("QLinearMatMul", 10, types=lambda site: (site.input_types[7],))
def qlinear_matmul(site: Site) -> Kernel:
    """Dequantise, multiply, quantise; scales per tensor, per row (left) or per column (right)."""
    element = site.output_types[0]

    def run(
        a: Tensor, a_scale: Tensor, az: Tensor, b: Tensor, bs: Tensor, bz: Tensor, ys: Tensor, yz: Tensor
    ) -> Tensor:
        rows = -2 if a.ndim > 1 else -1
        left = dequantise(a, along(a_scale, a, rows), along(as_float(az), a, rows))
        right = dequantise(b, along(bs, b, -1), along(as_float(bz), b, -1))
        y = torch.matmul(left, right)
        return quantise(y, along(ys, y, rows), along(as_float(yz), y, rows), element)

    return run
