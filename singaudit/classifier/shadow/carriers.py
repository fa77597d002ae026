"""How each ONNX element type travels through torch.

Torch has no kernels for some ONNX types, and half precision would spoil gradients. Values therefore travel in a
*carrier*: half and 8-bit floats in float32, unsigned 16, 32 and 64-bit integers in the next signed type, 2 and 4-bit
integers in 8 bits. Integers that a quantisation operator produces travel as whole numbers in float32, so that
gradients pass straight through them.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from onnx import TensorProto

from singaudit.errors import ModelError

CARRIERS: dict[int, torch.dtype] = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.DOUBLE: torch.float64,
    TensorProto.FLOAT16: torch.float32,
    TensorProto.BFLOAT16: torch.float32,
    TensorProto.FLOAT8E4M3FN: torch.float32,
    TensorProto.FLOAT8E4M3FNUZ: torch.float32,
    TensorProto.FLOAT8E5M2: torch.float32,
    TensorProto.FLOAT8E5M2FNUZ: torch.float32,
    TensorProto.BOOL: torch.bool,
    TensorProto.INT8: torch.int8,
    TensorProto.INT16: torch.int16,
    TensorProto.INT32: torch.int32,
    TensorProto.INT64: torch.int64,
    TensorProto.UINT8: torch.uint8,
    TensorProto.UINT16: torch.int32,
    TensorProto.UINT32: torch.int64,
    TensorProto.UINT64: torch.int64,
    TensorProto.INT4: torch.int8,
    TensorProto.UINT4: torch.uint8,
}
"""Torch dtype that carries each ONNX element type; types not listed are unsupported."""

for _name, _dtype in (
    ("FLOAT4E2M1", torch.float32),
    ("FLOAT8E8M0", torch.float32),
    ("INT2", torch.int8),
    ("UINT2", torch.uint8),
):
    # Older versions of the onnx package do not know these.
    if _name in TensorProto.DataType.keys():  # noqa: SIM118  (a protobuf wrapper, not a dict)
        CARRIERS[TensorProto.DataType.Value(_name)] = _dtype

_BITS = {
    "BOOL": 1, "INT2": 2, "UINT2": 2, "INT4": 4, "UINT4": 4, "INT8": 8, "UINT8": 8, "INT16": 16, "UINT16": 16,
    "INT32": 32, "UINT32": 32, "INT64": 64, "UINT64": 64,
}  # fmt: skip


# A dict of our own: torch.compile cannot look into protobuf's.
_NAMES: dict[int, str] = {value: name for name, value in TensorProto.DataType.items()}


def type_name(element: int) -> str:
    """Return the ONNX name of an element type, such as ``"FLOAT16"``; unknown numbers are shown as they are."""
    return _NAMES.get(element, f"type {element}")


def is_integer(element: int) -> bool:
    """Whether the ONNX element type is a whole number (bool is not)."""
    name = type_name(element)
    return name in _BITS and name != "BOOL"


def is_unsigned(element: int) -> bool:
    """Whether the ONNX element type is an unsigned integer."""
    return is_integer(element) and type_name(element).startswith("U")


def bits_of(element: int) -> int:
    """Width in bits of an integer element type."""
    return _BITS[type_name(element)]


def integer_range(element: int) -> tuple[int, int]:
    """Smallest and largest value of an ONNX integer element type."""
    bits = bits_of(element)
    return (0, 2**bits - 1) if is_unsigned(element) else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def contains(outer: int, inner: int) -> bool:
    """Whether every value of the integer type ``inner`` is one of the integer type ``outer``."""
    (low, high), (inner_low, inner_high) = integer_range(outer), integer_range(inner)
    return low <= inner_low and inner_high <= high


def from_numpy(array: np.ndarray[Any, Any], element: int) -> torch.Tensor:
    """Bring a numpy array into the carrier of its ONNX element type; one that can be written is taken, not copied.

    Raises ModelError where the type has no carrier, or an unsigned 64-bit value exceeds a signed one.
    """
    if element not in CARRIERS:
        raise ModelError(f"A tensor of type {type_name(element)} cannot be read; numbers and booleans can.")
    if element == TensorProto.UINT64 and array.size and int(array.max()) > np.iinfo(np.int64).max:
        raise ModelError("An unsigned 64-bit value above 2**63 - 1 has no counterpart in torch.")
    dtype = CARRIERS[element]
    numpy_dtype = torch.zeros(0, dtype=dtype).numpy().dtype
    carried = np.asarray(array, dtype=numpy_dtype, order="C")
    return torch.from_numpy(carried if carried.flags.writeable else carried.copy())


def takes_pixels(element: int) -> bool:
    """Whether an input of the ONNX element type takes 8-bit pixels as they are."""
    return element == TensorProto.UINT8


def carry(tensor: torch.Tensor, element: int) -> torch.Tensor:
    """Bring a tensor from outside into the carrier of the element type the graph declares for it.

    Half-precision floats are widened. Where the graph takes 8-bit pixels, their whole numbers in float32 pass as they
    are, as those of quantisation operators do, so that gradients reach them. Any other tensor of another kind (float
    for integer, or the reverse) is refused with ModelError, since ONNX Runtime would refuse it too.
    """
    dtype = working(CARRIERS[element])
    if takes_pixels(element) and tensor.is_floating_point():
        dtype = working(torch.float32)
    if tensor.dtype == dtype:
        return tensor
    floats = (dtype.is_floating_point, tensor.dtype.is_floating_point)
    if floats == (True, True) or (floats == (False, False) and torch.bool not in (dtype, tensor.dtype)):
        return tensor.to(dtype)
    raise ModelError(
        f"An input declared {type_name(element)} arrived as {tensor.dtype}.", hint=f"Convert it: x.to({dtype})."
    )


class _Arithmetic(threading.local):
    """How this thread computes now. Not context variables: torch.compile cannot read those."""

    rounding: bool = True
    float64: bool = False


_ARITHMETIC = _Arithmetic()


@contextlib.contextmanager
def in_float64(widened: bool = True) -> Iterator[None]:
    """Compute in float64 what travels in float32, or with ``widened=False`` in float32 again."""
    before, _ARITHMETIC.float64 = _ARITHMETIC.float64, widened
    try:
        yield
    finally:
        _ARITHMETIC.float64 = before


def working(dtype: torch.dtype) -> torch.dtype:
    """Return the torch dtype that a carrier has now: float64 instead of float32 where that is asked for."""
    return torch.float64 if dtype == torch.float32 and _ARITHMETIC.float64 else dtype


class _Replace(torch.autograd.Function):
    """Shows ``shown`` going forward and passes gradients to ``real`` unchanged (straight-through)."""

    @staticmethod
    def forward(ctx: Any, real: torch.Tensor, shown: torch.Tensor) -> torch.Tensor:
        """Return the shown values, shape and dtype of ``real``."""
        return shown.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Hand the gradient to ``real``."""
        return gradient, None


def straight_through(real: torch.Tensor, shown: torch.Tensor) -> torch.Tensor:
    """Return ``shown`` with the gradient of ``real``, of the same shape and dtype.

    Exact, unlike the usual ``real + (shown - real)``.
    """
    if not (torch.is_grad_enabled() and real.requires_grad):
        return shown
    return _Replace.apply(real, shown.detach())


@contextlib.contextmanager
def without_rounding(left_out: bool = True) -> Iterator[None]:
    """Leave out every rounding that passes gradients straight through, as if all formats were exact.

    left_out: False rounds again within.

    Within it a copy computes the function whose derivative its straight-through gradient is.
    """
    before, _ARITHMETIC.rounding = _ARITHMETIC.rounding, not left_out
    try:
        yield
    finally:
        _ARITHMETIC.rounding = before


def rounds() -> bool:
    """Whether roundings are not left out now."""
    return _ARITHMETIC.rounding


def round_straight_through(x: torch.Tensor) -> torch.Tensor:
    """Round half to even; the gradient is that of the identity."""
    if not _ARITHMETIC.rounding:
        return x
    return straight_through(x, x.detach().round())


@dataclass(frozen=True)
class Minifloat:
    """A small float format: which values it has, and what lies beyond them."""

    mantissa: int
    """Stored mantissa bits."""
    smallest: int
    """Exponent of the smallest normal number."""
    largest: float
    """Largest finite value."""
    infinite: bool
    """Whether it has infinities."""
    nan: bool = True
    """Whether it has NaN."""


_MINIFLOATS = {
    "FLOAT8E4M3FN": Minifloat(3, -6, 448.0, False),
    "FLOAT8E4M3FNUZ": Minifloat(3, -7, 240.0, False),
    "FLOAT8E5M2": Minifloat(2, -14, 57344.0, True),
    "FLOAT8E5M2FNUZ": Minifloat(2, -15, 57344.0, False),
    "FLOAT4E2M1": Minifloat(1, 0, 6.0, False, nan=False),
    "FLOAT16": Minifloat(10, -14, 65504.0, True),
    "BFLOAT16": Minifloat(7, -126, 3.3895313892515355e38, True),
}


def has_format(element: int) -> bool:
    """Whether ``round_to_format`` knows the element type: floats narrower than float32, FLOAT8E8M0 aside."""
    return type_name(element) in _MINIFLOATS


def round_to_format(x: torch.Tensor, element: int, saturate: bool = True) -> torch.Tensor:
    """Round float32 or float64 values to those of a narrower float format, straight-through.

    Half to even; beyond the largest value 8-bit formats saturate, or with ``saturate=False`` become infinite or NaN
    (ONNX specification, Cast); half formats always become infinite. Returns the dtype of ``x``.
    """
    if not _ARITHMETIC.rounding:
        return x
    if element == TensorProto.FLOAT16:
        return straight_through(x, x.detach().to(torch.float16).to(x.dtype))
    if element == TensorProto.BFLOAT16:
        return straight_through(x, x.detach().to(torch.bfloat16).to(x.dtype))
    form = _MINIFLOATS[type_name(element)]
    v = x.detach().to(torch.float64)
    _, exponent = torch.frexp(v)
    # frexp's mantissa lies in [0.5, 1), so the leading bit's exponent is one less.
    step = torch.ldexp(torch.ones_like(v), exponent.clamp(min=form.smallest + 1) - 1 - form.mantissa)
    rounded = (v / step).round() * step
    if saturate or not form.nan:
        shown = rounded.clamp(-form.largest, form.largest)
        shown = torch.where(v.isnan(), v if form.nan else torch.zeros_like(v), shown)
        if type_name(element).endswith("UZ"):
            shown = torch.where(shown == 0, torch.zeros_like(shown), shown)
    else:
        beyond = torch.full_like(v, math.inf if form.infinite else math.nan).copysign(v)
        shown = torch.where(rounded.abs() > form.largest, beyond, rounded)
    return straight_through(x, shown.to(x.dtype))
