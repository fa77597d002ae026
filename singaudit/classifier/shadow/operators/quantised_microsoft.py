"""Quantised operators that ONNX Runtime's quantiser and optimiser write (domain com.microsoft)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from onnx import TensorProto
from torch import Tensor

from singaudit.classifier.shadow.operators.pooling import average_pool
from singaudit.classifier.shadow.operators.quantised import (
    along,
    as_float,
    dequantise,
    dynamic_quantise,
    quantise,
    shifted,
)
from singaudit.classifier.shadow.operators.registry import Kernel, Site, Unsupported, fixed, operator, same_as_input

MICROSOFT = "com.microsoft"


def _scalar(x: Tensor | None) -> Tensor | None:
    return None if x is None else as_float(x).reshape(())


def _binary(kind: str, function: Callable[[Tensor, Tensor], Tensor]) -> None:
    @operator(kind, domain=MICROSOFT, types=same_as_input())
    def build(site: Site) -> Kernel:
        element = site.output_types[0]

        def run(
            a: Tensor, sa: Tensor, za: Tensor | None, b: Tensor, sb: Tensor, zb: Tensor | None, sy: Tensor, *zy: Tensor
        ) -> Tensor:
            y = function(dequantise(a, sa.reshape(()), _scalar(za)), dequantise(b, sb.reshape(()), _scalar(zb)))
            return quantise(y, sy.reshape(()), _scalar(zy[0] if zy else None), element)

        return run


_binary("QLinearAdd", torch.add)
_binary("QLinearMul", torch.mul)


def _unary(kind: str, choose: Callable[[Site], Kernel], attributes: tuple[str, ...] = ()) -> None:
    @operator(kind, domain=MICROSOFT, attributes=attributes, types=same_as_input())
    def build(site: Site) -> Kernel:
        function, element = choose(site), site.output_types[0]

        def run(x: Tensor, sx: Tensor, zx: Tensor | None, sy: Tensor, zy: Tensor | None = None) -> Tensor:
            y = function(dequantise(x, sx.reshape(()), _scalar(zx)))
            return quantise(y, sy.reshape(()), _scalar(zy), element)

        return run


def _channels_first(site: Site, function: Kernel) -> Kernel:
    if not site.flag("channels_last", 0):
        return function
    return lambda x: function(x.movedim(-1, 1)).movedim(1, -1)


def _global_average(site: Site) -> Kernel:
    return _channels_first(site, lambda x: x.mean(list(range(2, x.ndim)), keepdim=True))


def _softmax(site: Site) -> Kernel:
    if site.need("opset") < 13:
        raise Unsupported("flattening softmax (opset before 13)")
    axis = site.get("axis", -1)
    return lambda x: torch.softmax(x, axis)


_POOL = ("auto_pad", "ceil_mode", "count_include_pad", "kernel_shape", "pads", "strides", "channels_last")
_unary("QLinearSigmoid", lambda site: torch.sigmoid)
_unary("QLinearLeakyRelu", lambda site: lambda x: F.leaky_relu(x, site.get("alpha", 0.01)), ("alpha",))
_unary("QLinearGlobalAveragePool", _global_average, ("channels_last",))
_unary("QLinearAveragePool", lambda site: _channels_first(site, average_pool(site)), _POOL)
_unary("QLinearSoftmax", _softmax, ("axis", "opset"))


@operator("QLinearConcat", domain=MICROSOFT, attributes=("axis",), types=same_as_input(1))
def qlinear_concat(site: Site) -> Kernel:
    """Dequantise each part, join, quantise."""
    axis, element = site.need("axis"), site.output_types[0]

    def run(sy: Tensor, zy: Tensor, *parts: Tensor) -> Tensor:
        triples = zip(parts[0::3], parts[1::3], parts[2::3], strict=True)
        joined = torch.cat([dequantise(x, s.reshape(()), _scalar(z)) for x, s, z in triples], axis)
        return quantise(joined, sy.reshape(()), _scalar(zy), element)

    return run


def _qgemm_types(site: Site) -> tuple[int, ...]:
    return (site.input_types[8] if site.has(8) else TensorProto.FLOAT,)


@operator("QGemm", domain=MICROSOFT, attributes=("alpha", "transA", "transB"), types=_qgemm_types)
def qgemm(site: Site) -> Kernel:
    """Quantised Gemm; without an output scale the result is float."""
    alpha, trans_a, trans_b = site.get("alpha", 1.0), site.flag("transA", 0), site.flag("transB", 0)
    element = site.output_types[0]

    def run(
        a: Tensor,
        sa: Tensor,
        za: Tensor,
        b: Tensor,
        sb: Tensor,
        zb: Tensor,
        c: Tensor | None = None,
        sy: Tensor | None = None,
        zy: Tensor | None = None,
    ) -> Tensor:
        left = dequantise(a, sa.reshape(()), _scalar(za))
        columns = 0 if trans_b else 1
        right = dequantise(b, along(sb, b, columns), along(as_float(zb), b, columns))
        y = alpha * ((left.t() if trans_a else left) @ (right.t() if trans_b else right))
        if c is not None:
            y = y + as_float(c) * (alpha * sa.reshape(()) * sb.reshape(-1))
        return y if sy is None else quantise(y, sy.reshape(()), _scalar(zy), element)

    return run


@operator("DynamicQuantizeMatMul", domain=MICROSOFT, types=fixed(TensorProto.FLOAT))
def dynamic_quantize_matmul(site: Site) -> Kernel:
    """Quantise the left side over its own range, multiply by a quantised right side, add a bias."""

    def run(a: Tensor, b: Tensor, sb: Tensor, zb: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        whole, scale, zero = dynamic_quantise(a)
        y = torch.matmul((whole - zero) * scale, shifted(b, zb, -1) * along(sb, b, -1))
        return y if bias is None else y + bias

    return run


@operator("MatMulIntegerToFloat", domain=MICROSOFT, types=same_as_input(2))
def matmul_integer_to_float(site: Site) -> Kernel:
    """Multiply two quantised matrices into a float one, add a bias."""

    def run(
        a: Tensor,
        b: Tensor,
        sa: Tensor,
        sb: Tensor,
        za: Tensor | None = None,
        zb: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> Tensor:
        y = torch.matmul(shifted(a, za, -2) * along(sa, a, -2), shifted(b, zb, -1) * along(sb, b, -1))
        return y if bias is None else y + bias

    return run
