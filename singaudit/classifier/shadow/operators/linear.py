"""Matrix products (ONNX operator specification: MatMul, Gemm, Einsum, Det; and Microsoft's fused forms)."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from singaudit.classifier.shadow import carriers
from singaudit.classifier.shadow.operators.registry import Kernel, Site, Unsupported, operator, same_as_input

MICROSOFT = "com.microsoft"


@operator("MatMul")
def matmul(site: Site) -> Kernel:
    """Matrix product with numpy's broadcasting."""
    if carriers.is_integer(site.output_types[0]):
        # Integer products have no BLAS; torch's integer kernels are exact on the CPU.
        return torch.matmul
    return torch.matmul


@operator("Gemm", attributes=("alpha", "beta", "transA", "transB", "broadcast"))
def gemm(site: Site) -> Kernel:
    """Alpha A' B' + beta C."""
    alpha, beta = site.get("alpha", 1.0), site.get("beta", 1.0)
    trans_a, trans_b = site.flag("transA", 0), site.flag("transB", 0)
    integer = carriers.is_integer(site.output_types[0])
    bias = site.constants[2] if len(site.constants) > 2 else None
    if not trans_a and alpha == beta == 1.0 and not integer and bias is not None and bias.ndim == 1:
        if trans_b:
            return lambda a, b, c: F.linear(a, b, c)
        return lambda a, b, c: torch.addmm(c, a, b)

    def run(a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
        product = (a.t() if trans_a else a) @ (b.t() if trans_b else b)
        if alpha != 1.0:
            product = (alpha * product).to(a.dtype)
        if c is None:
            return product
        return product + (c if beta == 1.0 else (beta * c).to(a.dtype))

    return run


@operator("Einsum", 12, attributes=("equation",))
def einsum(site: Site) -> Kernel:
    """Einstein summation; the equation is the specification's, blanks ignored."""
    equation = site.need("equation").replace(" ", "")
    return lambda *inputs: torch.einsum(equation, *inputs)


@operator("Det", 11)
def determinant(site: Site) -> Kernel:
    """Determinant of the last two dimensions."""
    return torch.linalg.det


@operator(
    "FusedMatMul",
    domain=MICROSOFT,
    attributes=("alpha", "transA", "transB", "transBatchA", "transBatchB"),
    types=same_as_input(),
)
def fused_matmul(site: Site) -> Kernel:
    """Matrix product with transposes and a factor, as ONNX Runtime's optimiser writes it."""
    if site.get("transBatchA", 0) or site.get("transBatchB", 0):
        raise Unsupported("transposed batch dimensions")
    alpha, trans_a, trans_b = site.get("alpha", 1.0), site.flag("transA", 0), site.flag("transB", 0)

    def run(a: Tensor, b: Tensor) -> Tensor:
        product = torch.matmul(a.mT if trans_a and a.ndim > 1 else a, b.mT if trans_b and b.ndim > 1 else b)
        return product if alpha == 1.0 else alpha * product

    return run


@operator(
    "FusedGemm",
    domain=MICROSOFT,
    attributes=("alpha", "beta", "transA", "transB", "activation", "activation_alpha", "activation_beta"),
    types=same_as_input(),
)
def fused_gemm(site: Site) -> Kernel:
    """Gemm followed by an activation."""
    product, activation = gemm(site), fused_activation(site)
    return lambda *inputs: activation(product(*inputs))


def fused_activation(site: Site) -> Kernel:
    """Return the activation that Microsoft's fused operators name in ``activation``, "" for none."""
    name = site.get("activation", "")
    parameters = site.get("activation_params", None)
    if name == "":
        return lambda x: x
    plain = {"Relu": torch.relu, "Sigmoid": torch.sigmoid, "Tanh": torch.tanh}
    if name in plain:
        return plain[name]
    if name == "HardSwish":
        return F.hardswish
    if name == "LeakyRelu":
        slope = parameters[0] if parameters else site.get("activation_alpha", 0.01)
        return lambda x: F.leaky_relu(x, slope)
    if name == "Clip" and parameters:
        return lambda x: torch.clamp(x, parameters[0], parameters[1])
    if name == "HardSigmoid" and parameters:
        return lambda x: torch.clamp(parameters[0] * x + parameters[1], 0.0, 1.0)
    raise Unsupported(f"activation={name!r}")
