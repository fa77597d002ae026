"""Activations (ONNX operator specification: Relu, Gelu, HardSwish, Softmax, PRelu, ...; and Microsoft's variants)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from singaudit.classifier.shadow.operators.registry import Kernel, Site, from_front, operator, same_as_input

MICROSOFT = "com.microsoft"


def _plain(kind: str, since: int, function: Callable[[Tensor], Tensor]) -> None:
    @operator(kind, since, keeps="type")
    def build(site: Site) -> Kernel:
        return function


_plain("Relu", 1, torch.relu)
_plain("Sigmoid", 1, torch.sigmoid)
_plain("Tanh", 1, torch.tanh)
_plain("Softsign", 1, F.softsign)
_plain("HardSwish", 14, F.hardswish)
_plain("Mish", 18, F.mish)
# F.softplus switches to the identity above its threshold; this form is exact everywhere.
_plain("Softplus", 1, lambda x: torch.logaddexp(x, torch.zeros((), dtype=x.dtype, device=x.device)))


@operator("LeakyRelu", attributes=("alpha",), keeps="type")
def leaky_relu(site: Site) -> Kernel:
    """Slope ``alpha`` below zero."""
    alpha = site.get("alpha", 0.01)
    return lambda x: F.leaky_relu(x, alpha)


@operator("PRelu")
def prelu(site: Site) -> Kernel:
    """Slope per element, broadcast to the input."""

    def run(x: Tensor, slope: Tensor) -> Tensor:
        per_channel = slope.ndim == x.ndim - 1 and x.ndim > 1 and slope.numel() == slope.shape[0] == x.shape[1]
        if x.is_floating_point() and (slope.numel() == 1 or per_channel):
            return F.prelu(x, slope.reshape(-1))
        return torch.where(x >= 0, x, x * slope)

    return run


@operator("Elu", attributes=("alpha",), keeps="type")
def elu(site: Site) -> Kernel:
    """Exponential linear unit: alpha (exp(x) - 1) below zero."""
    alpha = site.get("alpha", 1.0)
    return lambda x: F.elu(x, alpha)


@operator("Selu", attributes=("alpha", "gamma"))
def selu(site: Site) -> Kernel:
    """Scaled exponential linear unit."""
    alpha, gamma = site.get("alpha", 1.67326319217681884765625), site.get("gamma", 1.05070102214813232421875)
    return lambda x: gamma * F.elu(x, alpha)


@operator("Celu", 12, attributes=("alpha",))
def celu(site: Site) -> Kernel:
    """Continuously differentiable exponential linear unit."""
    alpha = site.get("alpha", 1.0)
    return lambda x: F.celu(x, alpha)


@operator("ThresholdedRelu", 10, attributes=("alpha",))
def thresholded_relu(site: Site) -> Kernel:
    """Zero up to ``alpha``, the identity above."""
    alpha = site.get("alpha", 1.0)
    return lambda x: F.threshold(x, alpha, 0.0)


@operator("HardSigmoid", attributes=("alpha", "beta"), keeps="type")
def hard_sigmoid(site: Site) -> Kernel:
    """max(0, min(1, alpha x + beta))."""
    alpha, beta = site.get("alpha", 0.2), site.get("beta", 0.5)
    if math.isclose(alpha, 1 / 6, rel_tol=1e-6) and beta == 0.5:
        return F.hardsigmoid
    return lambda x: torch.clamp(alpha * x + beta, 0.0, 1.0)


@operator("Shrink", 9, attributes=("bias", "lambd"))
def shrink(site: Site) -> Kernel:
    """x + bias below -lambd, x - bias above lambd, zero between."""
    bias, lambd = site.get("bias", 0.0), site.get("lambd", 0.5)

    def run(x: Tensor) -> Tensor:
        zero = torch.zeros_like(x)
        return torch.where(x < -lambd, x + bias, torch.where(x > lambd, x - bias, zero)).to(x.dtype)

    return run


@operator("Gelu", 20, attributes=("approximate",), keeps="type")
def gelu(site: Site) -> Kernel:
    """Gaussian error linear unit, exact or by tanh."""
    approximate = site.choice("approximate", "none", ("none", "tanh"))
    return lambda x: F.gelu(x, approximate=approximate)


def _swish(alpha: float) -> Callable[[Tensor], Tensor]:
    return F.silu if alpha == 1.0 else lambda x: x * torch.sigmoid(alpha * x)


@operator("Swish", 24, attributes=("alpha",), keeps="type")
def swish(site: Site) -> Kernel:
    """X sigmoid(alpha x)."""
    return _swish(site.get("alpha", 1.0))


@operator("SwiGLU", 28, attributes=("alpha",))
def swiglu(site: Site) -> Kernel:
    """Swish of the first input times the second."""
    gate = _swish(site.get("alpha", 1.0))
    return lambda a, b: gate(a) * b


def _softmax_family(kind: str, function: Callable[[Tensor, int], Tensor]) -> None:
    @operator(kind, 1, attributes=("axis",), keeps="type")
    def flattening(site: Site) -> Kernel:
        # Before opset 13 the input counts as a matrix: everything from ``axis`` on is one dimension.
        axis = site.get("axis", 1)

        def run(x: Tensor) -> Tensor:
            if axis in (-1, x.ndim - 1):
                return function(x, -1)
            start = from_front(axis, x.ndim) if x.ndim else 0
            return function(x.reshape(math.prod(x.shape[:start]), -1), -1).reshape(x.shape)

        return run

    @operator(kind, 13, attributes=("axis",), keeps="type")
    def along_axis(site: Site) -> Kernel:
        axis = site.get("axis", -1)
        return lambda x: function(x, axis)


def _hardmax(x: Tensor, axis: int) -> Tensor:
    return torch.zeros_like(x).scatter(axis, x.argmax(axis, keepdim=True), 1)


_softmax_family("Softmax", torch.softmax)
_softmax_family("LogSoftmax", torch.log_softmax)
_softmax_family("Hardmax", _hardmax)


@operator("Gelu", domain=MICROSOFT, keeps="type", types=same_as_input())
def microsoft_gelu(site: Site) -> Kernel:
    """Exact Gelu, as ONNX Runtime's optimiser writes it."""
    return F.gelu


@operator("BiasGelu", domain=MICROSOFT, types=same_as_input())
def bias_gelu(site: Site) -> Kernel:
    """Exact Gelu of the sum of both inputs."""
    return lambda x, bias: F.gelu(x + bias)


@operator("FastGelu", domain=MICROSOFT, types=same_as_input())
def fast_gelu(site: Site) -> Kernel:
    """Gelu by tanh, after an optional bias."""
    return lambda x, bias=None: F.gelu(x if bias is None else x + bias, approximate="tanh")


@operator("QuickGelu", domain=MICROSOFT, attributes=("alpha",), keeps="type", types=same_as_input())
def quick_gelu(site: Site) -> Kernel:
    """X sigmoid(alpha x)."""
    return _swish(site.get("alpha", 1.702))
