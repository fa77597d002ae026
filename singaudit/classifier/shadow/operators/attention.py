"""Attention (ONNX operator specification: Attention, RotaryEmbedding, LinearAttention, CausalConvWithState)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from singaudit.classifier.shadow.operators.registry import Kernel, Site, Unsupported, operator

_ATTENTION = (
    "is_causal", "kv_num_heads", "left_window_size", "q_num_heads", "qk_matmul_output_mode", "right_window_size",
    "scale", "softcap", "softmax_precision",
)  # fmt: skip


def split_heads(x: Tensor, heads: int | None) -> Tensor:
    """Turn (batch, length, heads * size) into (batch, heads, length, size); four dimensions stay."""
    if x.ndim == 4:
        return x
    if not heads:
        raise ValueError("three-dimensional attention inputs need the number of heads")
    return x.unflatten(2, (heads, -1)).transpose(1, 2)


def masked_softmax(scores: Tensor) -> Tensor:
    """Softmax over the last axis where masked scores are -inf; a fully masked row becomes zeros, without NaNs."""
    dead = torch.isneginf(scores).all(-1, keepdim=True)
    return torch.softmax(scores.masked_fill(dead, 0.0), -1).masked_fill(dead, 0.0)


def _allowed(site: Site, q: Tensor, k: Tensor, past: int, lengths: Tensor | None) -> Tensor | None:
    """Return which keys each query may see by causality, windows and padding: bool, broadcastable; None for all."""
    queries, keys = q.shape[2], k.shape[2]
    causal = site.flag("is_causal", 0)
    left, right = site.get("left_window_size", -1), site.get("right_window_size", -1)
    position = torch.arange(queries, device=q.device).view(1, 1, -1, 1)
    key = torch.arange(keys, device=q.device).view(1, 1, 1, -1)
    if lengths is not None:
        lengths = lengths.view(-1, 1, 1, 1)
        position = position + (past if past else lengths - queries)
    else:
        position = position + past
    rules = []
    if causal:
        rules.append(key <= position)
    if left >= 0:
        rules.append(key >= position - left)
    if right >= 0:
        rules.append(key <= position + right)
    if lengths is not None:
        rules.append(key < lengths)
    result = None
    for rule in rules:
        result = rule if result is None else result & rule
    return result


def _bias(mask: Tensor | None, allowed: Tensor | None, q: Tensor, keys: int) -> Tensor | None:
    """Combine a stated mask (bool, or added scores) and a bool one into added scores; None where there is none."""
    bias: Tensor | None = None
    if mask is not None:
        bias = mask
        if mask.dtype == torch.bool:
            bias = torch.zeros(mask.shape, dtype=q.dtype, device=q.device).masked_fill(~mask, -math.inf)
        if bias.shape[-1] < keys:
            # A mask may stop at the longest valid key; what lies beyond is padding.
            bias = F.pad(bias, (0, keys - bias.shape[-1]), value=-math.inf)
    if allowed is not None:
        base = torch.zeros((), dtype=q.dtype, device=q.device) if bias is None else bias
        bias = torch.where(allowed, base, torch.full((), -math.inf, dtype=q.dtype, device=q.device))
    return bias


@operator("Attention", 23, attributes=_ATTENTION)
def attention(site: Site) -> Kernel:
    """Scaled dot-product attention with masks, grouped heads, caches, windows and soft capping."""
    softcap, mode = site.get("softcap", 0.0), site.get("qk_matmul_output_mode", 0)
    debug = site.wants(3)

    def run(
        q: Tensor,
        k: Tensor,
        v: Tensor,
        mask: Tensor | None = None,
        past_k: Tensor | None = None,
        past_v: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> Tensor | tuple[Tensor | None, ...]:
        flat = q.ndim == 3
        q = split_heads(q, site.get("q_num_heads"))
        k, v = (split_heads(x, site.get("kv_num_heads")) for x in (k, v))
        past = 0
        if past_k is not None and past_v is not None:
            past = past_k.shape[2]
            k, v = torch.cat([past_k, k], 2), torch.cat([past_v, v], 2)
        present = (k, v)
        groups = q.shape[1] // k.shape[1]
        if groups > 1:
            k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        scale = site.get("scale")
        scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
        bias = _bias(mask, _allowed(site, q, k, past, lengths), q, k.shape[2])
        shown: Tensor | None = None
        if bias is None and not softcap and not debug:
            y = F.scaled_dot_product_attention(q, k, v, scale=scale)
        else:
            root = math.sqrt(scale)
            raw = (q * root) @ (k * root).mT
            capped = softcap * torch.tanh(raw / softcap) if softcap else raw
            biased = capped if bias is None else capped + bias
            weights = masked_softmax(biased)
            y = weights @ v
            shown = (raw, capped, biased, weights)[mode]
        y = y.transpose(1, 2).flatten(2) if flat else y
        return (y, *present, shown) if any(site.wanted[1:]) else y

    return run


@operator("RotaryEmbedding", 23, attributes=("interleaved", "num_heads", "rotary_embedding_dim"))
def rotary_embedding(site: Site) -> Kernel:
    """Rotate pairs of features by angles that grow with the position (Su et al. 2021)."""
    interleaved, heads = site.flag("interleaved", 0), site.get("num_heads", 0)
    size = site.get("rotary_embedding_dim", 0)

    def run(x: Tensor, cos: Tensor, sin: Tensor, positions: Tensor | None = None) -> Tensor:
        whole = split_heads(x, heads)
        count = size or whole.shape[-1]
        if positions is not None:
            cos, sin = cos[positions.long()], sin[positions.long()]
        cos, sin = (table[..., : count // 2].unsqueeze(1) for table in (cos, sin))
        rotated, rest = whole[..., :count], whole[..., count:]
        if interleaved:
            first, second = rotated[..., 0::2], rotated[..., 1::2]
        else:
            first, second = rotated.chunk(2, -1)
        real, imaginary = first * cos - second * sin, first * sin + second * cos
        pairs = torch.stack([real, imaginary], -1).flatten(-2) if interleaved else torch.cat([real, imaginary], -1)
        result = torch.cat([pairs, rest], -1)
        return result if x.ndim == 4 else result.transpose(1, 2).flatten(2)

    return run


@operator("CausalConvWithState", 27, attributes=("activation",))
def causal_conv(site: Site) -> Kernel:
    """Depthwise convolution over the past, with a carried state."""
    silu = site.choice("activation", "none", ("none", "silu", "swish")) != "none"

    def run(x: Tensor, w: Tensor, b: Tensor | None = None, past: Tensor | None = None) -> tuple[Tensor, Tensor]:
        keep = w.shape[-1] - 1
        padded = F.pad(x, (keep, 0)) if past is None else torch.cat([past, x], -1)
        y = F.conv1d(padded, w, b, groups=x.shape[1])
        return F.silu(y) if silu else y, padded.narrow(-1, padded.shape[-1] - keep, keep)

    return run


@operator("LinearAttention", 27, attributes=("chunk_size", "kv_num_heads", "q_num_heads", "scale", "update_rule"))
def linear_attention(site: Site) -> Kernel:
    """Recurrent attention whose state is a matrix per head, step by step."""
    rule = site.choice("update_rule", "gated_delta", ("linear", "gated", "delta", "gated_delta"))
    q_heads, kv_heads = site.need("q_num_heads"), site.need("kv_num_heads")
    gated, corrected = rule.startswith("gated"), rule.endswith("delta")
    if gated and not site.has(4):
        raise Unsupported(f"{rule} without decay")
    if corrected and not site.has(5):
        raise Unsupported(f"{rule} without beta")

    def run(
        q: Tensor,
        k: Tensor,
        v: Tensor,
        past: Tensor | None = None,
        decay: Tensor | None = None,
        beta: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        batch, length = q.shape[:2]
        q4 = q.unflatten(2, (q_heads, -1))
        k4, v4 = k.unflatten(2, (kv_heads, -1)), v.unflatten(2, (kv_heads, -1))
        scale = site.get("scale", 0.0) or 1 / math.sqrt(q4.shape[-1])
        state = q.new_zeros(batch, kv_heads, k4.shape[-1], v4.shape[-1]) if past is None else past
        outputs = []
        for step in range(length):
            key, value = k4[:, step], v4[:, step]
            if gated and decay is not None:
                rate = decay[:, step].reshape(batch, kv_heads, -1)
                state = state * torch.exp(rate).unsqueeze(-1)
            if corrected and beta is not None:
                value = value - torch.einsum("bhkv,bhk->bhv", state, key)
                value = value * beta[:, step].reshape(batch, -1, 1)
            state = state + key.unsqueeze(-1) * value.unsqueeze(-2)
            shared = state.repeat_interleave(q_heads // kv_heads, 1)
            outputs.append(scale * torch.einsum("bhkv,bhk->bhv", shared, q4[:, step]))
        return torch.stack(outputs, 1).flatten(2), state

    return run
