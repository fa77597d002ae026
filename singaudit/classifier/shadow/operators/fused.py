"""Operators that fusions write (domain ``singaudit``): what exporters took apart, in one piece again."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from singaudit.classifier.shadow.operators.normalisation import layer_norm_kernel
from singaudit.classifier.shadow.operators.registry import Kernel, Site, operator, same_as_input
from singaudit.errors import ModelError

DOMAIN = "singaudit"


@operator("Gelu", domain=DOMAIN, keeps="type", types=same_as_input())
def fused_gelu(site: Site) -> Kernel:
    """x (1 + erf(x / sqrt 2)) / 2."""
    return F.gelu


@operator("Silu", domain=DOMAIN, keeps="type", types=same_as_input())
def fused_silu(site: Site) -> Kernel:
    """X sigmoid(x)."""
    return F.silu


@operator("HardSwish", domain=DOMAIN, keeps="type", types=same_as_input())
def fused_hard_swish(site: Site) -> Kernel:
    """X max(0, min(1, x / 6 + 1 / 2))."""
    return F.hardswish


@operator("LayerNorm", domain=DOMAIN, attributes=("axis", "epsilon"), keeps="type", types=same_as_input())
def fused_layer_norm(site: Site) -> Kernel:
    """Layer normalisation of trailing axes; scale and bias optional."""
    return layer_norm_kernel(site.need("axis"), site.need("epsilon"), False)


@operator("Linear", domain=DOMAIN, types=same_as_input())
def fused_linear(site: Site) -> Kernel:
    """X W + b with a two-dimensional W and a one-dimensional b."""
    return lambda x, w, b: F.linear(x, w.t(), b)


@operator("Attention", domain=DOMAIN, attributes=("divides",), host=(3, 4, 5), types=same_as_input())
def fused_attention(site: Site) -> Kernel:
    """softmax(s q k + masks) v, where k is already transposed and s is the product of up to three numbers.

    With ``divides`` 1 the last of the numbers divides.
    """
    divides = site.flag("divides", 0)

    def run(
        q: Tensor, k: Tensor, v: Tensor, s1: float | None, s2: float | None, s3: float | None, *masks: Tensor
    ) -> Tensor:
        scale = 1.0
        for factor in (s1, s2, None if divides else s3):
            if factor is not None:
                scale *= _number(factor)
        if divides and s3 is not None:
            scale /= _number(s3)
        mask = masks[0] if masks else None
        for extra in masks[1:]:
            mask = extra if mask is None else mask + extra
        alike = q.shape[:-2] == k.shape[:-2] == v.shape[:-2] and q.shape[-1] == v.shape[-1] and q.ndim == 4
        fits = mask is None or (mask.is_floating_point() and mask.ndim <= 4)
        if not (alike and fits):
            scores = torch.matmul(q, k)
            if scale != 1.0:
                scores = scores * scale
            return torch.matmul(torch.softmax(scores if mask is None else scores + mask, -1), v)
        if q.is_meta:
            return q.new_empty(q.shape)  # torch has this in Python alone
        if mask is not None:
            while mask.ndim < 4:
                mask = mask.unsqueeze(0)
        keys = k.mT
        if keys.stride(-1) != 1:
            # Torch's fused kernel wants features next to each other in memory.
            keys = keys.contiguous()
        return F.scaled_dot_product_attention(q, keys, v, mask, scale=scale)

    return run


def _number(value: float | list[float]) -> float:
    while isinstance(value, list):
        if len(value) != 1:
            raise ModelError("A factor of attention scores, computed from shapes, is not a single number.")
        value = value[0]
    return float(value)
