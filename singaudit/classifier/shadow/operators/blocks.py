"""Products with weights packed into few bits, a scale for each block (com.microsoft MatMulNBits)."""

from __future__ import annotations

import torch
from torch import Tensor

from singaudit.classifier.shadow.operators.quantised import as_float
from singaudit.classifier.shadow.operators.registry import Kernel, Site, Unsupported, operator, same_as_input

MICROSOFT = "com.microsoft"


def _unpacked(packed: Tensor, bits: int) -> Tensor:
    """Bytes (..., n) as the numbers (..., n * 8 / bits) packed in them, the lowest bits first."""
    shifts = torch.arange(0, 8, bits, device=packed.device)
    return ((packed.unsqueeze(-1).long() >> shifts) & (2**bits - 1)).flatten(-2)


@operator(
    "MatMulNBits",
    domain=MICROSOFT,
    attributes=("K", "N", "bits", "block_size", "accuracy_level", "weight_prepacked"),
    types=same_as_input(),
)
def matmul_nbits(site: Site) -> Kernel:
    """A W' + bias, W dequantised block by block.

    Where the accuracy level lets ONNX Runtime round A to 8 bits, the copy computes what is rounded.
    """
    inner, outer, block, bits = site.need("K"), site.need("N"), site.need("block_size"), site.get("bits", 4)
    if bits not in (2, 4, 8) or site.get("weight_prepacked", 0):
        raise Unsupported(f"a weight packed into {bits} bits" if bits not in (2, 4, 8) else "a prepacked weight")
    blocks = -(-inner // block)

    def weight(packed: Tensor, scales: Tensor, zeros: Tensor | None, groups: Tensor | None) -> Tensor:
        whole = _unpacked(packed.reshape(outer, blocks, -1), bits)[..., :block].reshape(outer, -1)[:, :inner]
        if zeros is None:
            zero = torch.full((outer, blocks), 2 ** (bits - 1), device=packed.device)
        elif zeros.is_floating_point():
            zero = zeros.reshape(outer, blocks)
        else:
            zero = _unpacked(zeros.reshape(outer, -1), bits)[:, :blocks]
        at = torch.arange(inner, device=packed.device) // block if groups is None else groups.long()
        return (as_float(whole) - as_float(zero)[:, at]) * scales.reshape(outer, blocks)[:, at]

    constants = [*site.constants, *([None] * 6)][:6]
    known = weight(*constants[1:5]) if constants[1] is not None and constants[2] is not None else None

    def run(
        a: Tensor,
        packed: Tensor,
        scales: Tensor,
        zeros: Tensor | None = None,
        groups: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> Tensor:
        w = known if known is not None and known.device == a.device else weight(packed, scales, zeros, groups)
        y = a @ w.to(a.dtype).t()
        return y if bias is None else y + bias

    return run
