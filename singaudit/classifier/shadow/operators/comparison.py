"""Comparisons, logic and bits (ONNX operator specification: Equal, Less, And, Where, BitShift, IsNaN, Cast, ...)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from onnx import TensorProto
from torch import Tensor

from singaudit.classifier.shadow import carriers
from singaudit.classifier.shadow.operators.registry import Kernel, Site, Unsupported, fixed, operator

_BOOL = fixed(TensorProto.BOOL)


def _register(kind: str, since: int, function: Callable[..., Tensor], logical: bool = True) -> None:
    @operator(kind, since, types=_BOOL if logical else None)
    def build(site: Site) -> Kernel:
        if TensorProto.UINT64 in site.input_types and kind in ("Less", "Greater", "LessOrEqual", "GreaterOrEqual"):
            # Carried as signed 64-bit integers; inputs above 2**63 - 1 are refused at the door.
            return function
        return function


_register("Equal", 1, torch.eq)
_register("Less", 1, torch.lt)
_register("Greater", 1, torch.gt)
_register("LessOrEqual", 12, torch.le)
_register("GreaterOrEqual", 12, torch.ge)
_register("And", 1, torch.logical_and)
_register("Or", 1, torch.logical_or)
_register("Xor", 1, torch.logical_xor)
_register("Not", 1, torch.logical_not)
_register("IsNaN", 9, torch.isnan)
_register("BitwiseAnd", 18, torch.bitwise_and, logical=False)
_register("BitwiseOr", 18, torch.bitwise_or, logical=False)
_register("BitwiseXor", 18, torch.bitwise_xor, logical=False)


@operator("BitwiseNot", 18)
def bitwise_not(site: Site) -> Kernel:
    """Invert all bits, within the width of the declared type."""
    element = site.input_types[0]
    if element in (TensorProto.UINT16, TensorProto.UINT32):
        mask = 2 ** carriers.bits_of(element) - 1
        return lambda x: ~x & mask
    return torch.bitwise_not


@operator("BitShift", 11, attributes=("direction",))
def bit_shift(site: Site) -> Kernel:
    """Shift bits left or right (unsigned integers; signed ones since opset 28, arithmetically)."""
    element = site.input_types[0]
    bits = carriers.bits_of(element)
    direction = site.choice("direction", "", ("LEFT", "RIGHT"))
    if element == TensorProto.UINT64 and direction == "RIGHT":
        # The carrier is signed: the arithmetic shift's copies of the sign bit are masked away.
        def logical(x: Tensor, n: Tensor) -> Tensor:
            kept = torch.bitwise_right_shift(x, n)
            mask = torch.bitwise_right_shift(torch.full_like(x, 2**63 - 1), (n - 1).clamp(min=0))
            return torch.where(n == 0, x, kept & mask)

        return logical
    if direction == "RIGHT":
        return torch.bitwise_right_shift
    mask = 2**bits - 1

    def left(x: Tensor, n: Tensor) -> Tensor:
        shifted = torch.bitwise_left_shift(x, n)
        return shifted & mask if element in (TensorProto.UINT16, TensorProto.UINT32) else shifted

    return left


@operator("Where", 9)
def where(site: Site) -> Kernel:
    """Choose elementwise between two tensors."""

    def run(condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return torch.where(condition, x, y)

    return run


@operator("IsInf", 10, attributes=("detect_negative", "detect_positive"), types=_BOOL)
def is_infinite(site: Site) -> Kernel:
    """Find infinities of the wanted signs."""
    negative, positive = site.flag("detect_negative", 1), site.flag("detect_positive", 1)

    def run(x: Tensor) -> Tensor:
        found = torch.zeros_like(x, dtype=torch.bool)
        if negative:
            found = found | torch.isneginf(x)
        return found | torch.isposinf(x) if positive else found

    return run


def cast_kernel(source: int, target: int, saturate: bool = True) -> Kernel:
    """Return the conversion between two ONNX element types (0: unknown source); Unsupported where there is none."""
    if target not in carriers.CARRIERS:
        raise Unsupported(f"casting to {carriers.type_name(target)}")
    if carriers.type_name(source) == "STRING":
        raise Unsupported("casting from STRING")
    dtype = carriers.CARRIERS[target]
    if carriers.has_format(target) and source != target:
        return lambda x: carriers.round_to_format(
            x if x.is_floating_point() else x.to(torch.float32), target, saturate
        ).to(carriers.working(torch.float32))
    if carriers.type_name(target) == "FLOAT8E8M0":
        raise Unsupported("casting to FLOAT8E8M0")
    if dtype == torch.bool:
        return lambda x: x != 0
    if carriers.is_integer(target):
        return _to_integer(source, target, dtype)
    return lambda x: x.to(carriers.working(dtype))


def _to_integer(source: int, target: int, dtype: torch.dtype) -> Kernel:
    """Truncate toward zero and keep the target's lowest bits; narrow widths have wider carriers."""
    bits, unsigned = carriers.bits_of(target), carriers.is_unsigned(target)
    # Quantised integers travel in float32; a wider integer type holds them as they are, gradients included.
    widens = carriers.is_integer(source) and carriers.contains(target, source)
    fits_carrier = bits == torch.iinfo(dtype).bits and unsigned == (dtype == torch.uint8)

    def run(x: Tensor) -> Tensor:
        if x.is_floating_point():
            if widens:
                return x
            x = x.to(torch.int64)
        if fits_carrier or target == TensorProto.UINT64:
            return x.to(dtype)
        x = x.to(torch.int64) & (2**bits - 1)
        if not unsigned:
            x = torch.where(x >= 2 ** (bits - 1), x - 2**bits, x)
        return x.to(dtype)

    return run


@operator("Cast", attributes=("to", "saturate", "round_mode"), types=lambda site: (int(site.need("to")),))
def cast(site: Site) -> Kernel:
    """Convert to another element type; half precision rounds straight-through and stays in float32."""
    if isinstance(site.need("to"), str):
        raise Unsupported("a textual type (opset before 6)")
    return cast_kernel(site.input_types[0], int(site.need("to")), site.flag("saturate", 1))


@operator("CastLike", 15, attributes=("saturate", "round_mode"), types=lambda site: (site.input_types[1],))
def cast_like(site: Site) -> Kernel:
    """Convert to the element type of the second input."""
    kernel = cast_kernel(site.input_types[0], site.input_types[1], site.flag("saturate", 1))
    return lambda x, like: kernel(x)


_OWN: dict[int, torch.dtype] = {
    TensorProto.FLOAT16: torch.float16,
    TensorProto.BFLOAT16: torch.bfloat16,
    TensorProto.UINT16: torch.uint16,
    TensorProto.UINT32: torch.uint32,
}


@operator("BitCast", 26, attributes=("to",), types=lambda site: (int(site.need("to")),))
def bit_cast(site: Site) -> Kernel:
    """Reinterpret bits as another type of the same width (8 bits and more; not 8-bit floats)."""
    source, target = site.input_types[0], int(site.need("to"))
    for element in (source, target):
        if element not in carriers.CARRIERS or carriers.type_name(element).startswith(("FLOAT8", "FLOAT4")):
            raise Unsupported(f"type {carriers.type_name(element)}")
        if carriers.is_integer(element) and carriers.bits_of(element) < 8:
            raise Unsupported(f"type {carriers.type_name(element)}")
    before = _OWN.get(source, carriers.CARRIERS[source])
    after = _OWN.get(target, carriers.CARRIERS[target])
    carrier = carriers.CARRIERS[target]
    return lambda x: x.to(before).view(after).to(carrier)
