"""Elementwise arithmetic (ONNX operator specification: Add, Sub, Mul, Div, Pow, Mod, Min, Max, Abs, Exp, ...)."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from onnx import TensorProto
from torch import Tensor

from singaudit.classifier.shadow import carriers
from singaudit.classifier.shadow.operators.registry import Kernel, Site, Unsupported, operator

_UNARY: dict[str, tuple[int, Callable[[Tensor], Tensor]]] = {
    "Abs": (1, torch.abs),
    "Neg": (1, torch.neg),
    "Sqrt": (1, torch.sqrt),
    "Exp": (1, torch.exp),
    "Log": (1, torch.log),
    "Reciprocal": (1, torch.reciprocal),
    "Floor": (1, torch.floor),
    "Ceil": (1, torch.ceil),
    "Round": (11, torch.round),
    "Sign": (9, torch.sign),
    "Erf": (9, torch.erf),
    "Sin": (7, torch.sin),
    "Cos": (7, torch.cos),
    "Tan": (7, torch.tan),
    "Asin": (7, torch.asin),
    "Acos": (7, torch.acos),
    "Atan": (7, torch.atan),
    "Sinh": (9, torch.sinh),
    "Cosh": (9, torch.cosh),
    "Asinh": (9, torch.asinh),
    "Acosh": (9, torch.acosh),
    "Atanh": (9, torch.atanh),
}


def _wrapping(site: Site, kernel: Kernel) -> Kernel:
    """Let unsigned 16 and 32-bit results wrap around as they would in their own width."""
    if site.output_types[0] not in (TensorProto.UINT16, TensorProto.UINT32):
        return kernel
    mask = 2 ** carriers.bits_of(site.output_types[0]) - 1

    def run(*inputs: Tensor) -> Tensor:
        result = kernel(*inputs)
        return result if result.is_floating_point() else result & mask

    return run


def _register_unary(kind: str, since: int, function: Callable[[Tensor], Tensor]) -> None:
    @operator(kind, since)
    def build(site: Site) -> Kernel:
        return _wrapping(site, function)


for _kind, (_since, _function) in _UNARY.items():
    _register_unary(_kind, _since, _function)


def _divide(site: Site) -> Kernel:
    if carriers.is_integer(site.output_types[0]):
        return lambda a, b: torch.div(a, b, rounding_mode="trunc")
    return torch.div


_BINARY: dict[str, Callable[[Site], Kernel]] = {
    "Add": lambda site: torch.add,
    "Sub": lambda site: torch.sub,
    "Mul": lambda site: torch.mul,
    "Div": _divide,
}


def _register_binary(kind: str, choose: Callable[[Site], Kernel]) -> None:
    # Before opset 7 broadcasting was asked for by attributes; without them both shapes are equal.
    @operator(kind)
    def build(site: Site) -> Kernel:
        return _wrapping(site, choose(site))


for _kind, _choose in _BINARY.items():
    _register_binary(_kind, _choose)


@operator("Pow")
def power(site: Site) -> Kernel:
    """Power with the first input's type; integers stay integers (negative powers truncate)."""
    base, exponent = site.input_types[:2]
    constant = site.constants[1] if len(site.constants) > 1 else None
    if constant is not None and constant.numel() == 1 and constant.ndim == 0 and not carriers.is_integer(base):
        number = constant.item()
        # A Python exponent spares torch the general kernel: squares are a multiplication.
        return lambda x, y: torch.square(x) if number == 2 else torch.pow(x, number)
    if carriers.is_integer(base) and not carriers.is_integer(exponent):
        return lambda x, y: torch.pow(x.to(torch.float64), y.to(torch.float64)).to(x.dtype)
    return lambda x, y: torch.pow(x, y).to(x.dtype)


@operator("Mod", 10, attributes=("fmod",))
def modulo(site: Site) -> Kernel:
    """Remainder with the divisor's sign, or the dividend's where ``fmod`` is 1."""
    function = torch.fmod if site.flag("fmod", 0) else torch.remainder
    if site.input_types[0] == TensorProto.UINT64:
        raise Unsupported("unsigned 64-bit integers") if not site.flag("fmod", 0) else Unsupported("fmod of uint64")
    return function


def _nary(kind: str, function: Callable[[Tensor, Tensor], Tensor]) -> None:
    @operator(kind)
    def build(site: Site) -> Kernel:
        return lambda *inputs: functools.reduce(function, inputs)


_nary("Sum", torch.add)
_nary("Min", torch.minimum)
_nary("Max", torch.maximum)


@operator("Mean")
def mean(site: Site) -> Kernel:
    """Elementwise mean of all inputs, broadcast."""
    return lambda *inputs: functools.reduce(torch.add, inputs) / len(inputs)


@operator("Clip", attributes=("min", "max"), keeps="type")
def clip_by_attributes(site: Site) -> Kernel:
    """Clip before opset 11: bounds are attributes."""
    low, high = site.get("min"), site.get("max")
    if low is None and high is None:
        return lambda x: x
    if low is not None and high is not None and low <= high:
        return lambda x: F.hardtanh(x, low, high)
    return lambda x: torch.clamp(x, low, high)


@operator("Clip", 11, keeps="type")
def clip(site: Site) -> Kernel:
    """Clip with optional bounds; constants become Python numbers, computed ones stay tensors."""
    bounds = [site.constants[i] if i < len(site.constants) else None for i in (1, 2)]
    present = [site.has(1), site.has(2)]
    if not any(present):
        return lambda x, *_: x
    if all(value is not None for value, there in zip(bounds, present, strict=True) if there):
        low, high = (None if value is None else value.reshape(()).item() for value in bounds)
        if (low, high) == (0, None):
            return lambda x, *_: torch.relu(x)
        if low is not None and high is not None and low <= high and not carriers.is_integer(site.input_types[0]):
            # The same values as clamp, with a backward pass in one kernel.
            return lambda x, *_: F.hardtanh(x, low, high)
        return lambda x, *_: torch.clamp(x, low, high)

    def run(x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
        if low is not None:
            x = torch.maximum(x, low.to(x.dtype))
        return x if high is None else torch.minimum(x, high.to(x.dtype))

    return run


@operator("CumSum", 11, attributes=("exclusive", "reverse"), host=(1,))
def cumulative_sum(site: Site) -> Kernel:
    """Running sum along an axis."""
    return _cumulative(site, torch.cumsum, 0)


@operator("CumProd", 26, attributes=("exclusive", "reverse"), host=(1,))
def cumulative_product(site: Site) -> Kernel:
    """Running product along an axis."""
    return _cumulative(site, torch.cumprod, 1)


def _cumulative(site: Site, function: Callable[..., Tensor], neutral: int) -> Kernel:
    exclusive, backwards = site.flag("exclusive", 0), site.flag("reverse", 0)

    def run(x: Tensor, axis: int | list[int]) -> Tensor:
        dim = axis[0] if isinstance(axis, list) else axis
        if backwards:
            x = x.flip(dim)
        if exclusive:
            first = torch.full_like(x.narrow(dim, 0, min(1, x.shape[dim])), neutral)
            x = torch.cat([first, x.narrow(dim, 0, max(x.shape[dim] - 1, 0))], dim)
        result = function(x, dim).to(x.dtype)
        return result.flip(dim) if backwards else result

    return run
