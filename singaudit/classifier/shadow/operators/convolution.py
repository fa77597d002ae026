"""Convolutions (ONNX operator specification: Conv, ConvTranspose; Microsoft's FusedConv)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from singaudit.classifier.shadow.operators.linear import fused_activation
from singaudit.classifier.shadow.operators.registry import Kernel, Site, Unsupported, operator, same_as_input

ATTRIBUTES = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
_CACHED = 1 << 18
"""Numbers in float64 that a core's cache holds."""
AUTO_PADS = ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")

_CONV: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSE: dict[int, Callable[..., Tensor]] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def same_pads(sizes: Sequence[int], extents: Sequence[int], strides: Sequence[int], upper: bool) -> list[int]:
    """Return pads (all begins, then all ends) that make ceil(size / stride) windows fit.

    sizes: spatial input sizes; extents: dilated kernel sizes; the odd pixel goes to the end where ``upper``.
    """
    begins, ends = [], []
    for size, extent, stride in zip(sizes, extents, strides, strict=True):
        total = max((-(-size // stride) - 1) * stride + extent - size, 0)
        small, large = total // 2, total - total // 2
        begins.append(small if upper else large)
        ends.append(large if upper else small)
    return begins + ends


def torch_pads(pads: Sequence[int]) -> list[int]:
    """Turn ONNX pads (all begins, then all ends) into F.pad's order (last dimension first, begin and end)."""
    rank = len(pads) // 2
    return [value for axis in reversed(range(rank)) for value in (pads[axis], pads[axis + rank])]


def convolve(site: Site) -> Kernel:
    """Build a convolution of 1 to 3 spatial dimensions; also serves the quantised forms."""
    auto = site.choice("auto_pad", "NOTSET", AUTO_PADS)
    group, strides, dilations, pads = (site.get(n) for n in ("group", "strides", "dilations", "pads"))
    group = 1 if group is None else group
    if auto != "NOTSET":
        pads = None
    if pads is not None and min(pads, default=0) < 0:
        raise Unsupported("negative pads")

    def run(x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
        rank = w.ndim - 2
        steps = strides or [1] * rank
        spread = dilations or [1] * rank
        padding = pads or [0] * (2 * rank)
        if (len(steps), len(spread), len(padding)) != (rank, rank, 2 * rank):
            raise ValueError(f"strides, dilations and pads of {rank} axes expected, got {steps}, {spread}, {padding}")
        if auto.startswith("SAME"):
            extents = [(k - 1) * d + 1 for k, d in zip(w.shape[2:], spread, strict=True)]
            padding = same_pads(x.shape[2:], extents, steps, auto == "SAME_UPPER")
        if padding[:rank] != padding[rank:]:
            x = F.pad(x, torch_pads(padding))
            padding = [0] * rank
        if x.is_meta and x.ndim == w.ndim and x.shape[1] == w.shape[1] * group:
            sizes = [
                (size + 2 * pad - (k - 1) * d - 1) // step + 1
                for size, pad, k, d, step in zip(x.shape[2:], padding, w.shape[2:], spread, steps, strict=False)
            ]
            if min(sizes) > 0:
                return x.new_empty((len(x), len(w), *sizes))  # torch has this in Python alone
        if rank == 2 and _is_slow(x, w, group):
            return _depthwise(F.pad(x, torch_pads(padding[:rank] * 2)), w, b, steps, spread)
        return _CONV[rank](x, w, b, steps, padding[:rank], spread, group)

    return run


def _is_slow(x: Tensor, w: Tensor, group: int) -> bool:
    """Whether torch would convolve every channel by itself, in float64 on a CPU; for a gradient it may."""
    alone = w.shape[1] == 1 and group == x.shape[1] == len(w) > 1
    return alone and x.ndim == 4 and x.dtype == torch.float64 and x.device.type == "cpu" and not torch.is_grad_enabled()


def _depthwise(x: Tensor, w: Tensor, b: Tensor | None, steps: Sequence[int], spread: Sequence[int]) -> Tensor:
    """Convolve each channel of a padded x with its kernel, one tap after another, in half the time that torch takes.

    As many channels at a time as stay in a core's cache.
    """
    taps = w.shape[2:]
    sizes = [(n - (k - 1) * d - 1) // s + 1 for n, k, d, s in zip(x.shape[2:], taps, spread, steps, strict=True)]
    y = x.new_zeros((len(x), len(w), *sizes)) if b is None else b.view(-1, 1, 1).repeat(len(x), 1, *sizes)
    block = max(1, _CACHED // (len(x) * x.shape[2] * x.shape[3]))
    for some in (slice(start, start + block) for start in range(0, len(w), block)):
        for i, j in itertools.product(*map(range, taps)):
            rows, columns = (
                slice(at * d, at * d + (n - 1) * s + 1, s)
                for at, d, n, s in zip((i, j), spread, sizes, steps, strict=True)
            )
            y[:, some].addcmul_(x[:, some, rows, columns], w[some, 0, i, j].view(-1, 1, 1))
    return y


@operator("Conv", attributes=ATTRIBUTES)
def conv(site: Site) -> Kernel:
    """Convolution with groups, strides, dilations, explicit or automatic pads."""
    return convolve(site)


_FUSED = (*ATTRIBUTES, "activation", "activation_params")


@operator("FusedConv", domain="com.microsoft", attributes=_FUSED, types=same_as_input())
def fused_conv(site: Site) -> Kernel:
    """Convolution, an optional tensor added, then an activation, as ONNX Runtime's optimiser writes it."""
    product, activation = convolve(site), fused_activation(site)

    def run(x: Tensor, w: Tensor, b: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        y = product(x, w, b)
        return activation(y if z is None else y + z)

    return run


def _transposed_geometry(
    site: Site, sizes: Sequence[int], extents: Sequence[int], strides: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Return where the output begins in the full transposed convolution, and its size, per spatial axis."""
    rank = len(sizes)
    extra = site.get("output_padding") or [0] * rank
    full = [(n - 1) * s + e for n, s, e in zip(sizes, strides, extents, strict=True)]
    auto = site.get("auto_pad", "NOTSET")
    shape = site.get("output_shape")
    if shape is None and auto.startswith("SAME"):
        shape = [n * s for n, s in zip(sizes, strides, strict=True)]
    if shape is None:
        pads = site.get("pads") if auto == "NOTSET" else None
        pads = pads or [0] * (2 * rank)
        shape = [f + o - pads[i] - pads[i + rank] for i, (f, o) in enumerate(zip(full, extra, strict=True))]
        return pads[:rank], shape
    shape = shape[-rank:]
    totals = [max(f + o - n, 0) for f, o, n in zip(full, extra, shape, strict=True)]
    begins = [t // 2 if auto == "SAME_UPPER" else t - t // 2 for t in totals]
    return begins, shape


@operator("ConvTranspose", attributes=(*ATTRIBUTES, "output_padding", "output_shape"))
def conv_transpose(site: Site) -> Kernel:
    """Transposed convolution; ``output_shape`` and ``auto_pad`` decide the pads where given."""
    site.choice("auto_pad", "NOTSET", AUTO_PADS)
    group = site.get("group", 1)

    def run(x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
        rank = w.ndim - 2
        strides = site.get("strides") or [1] * rank
        dilations = site.get("dilations") or [1] * rank
        extents = [(k - 1) * d + 1 for k, d in zip(w.shape[2:], dilations, strict=True)]
        begins, shape = _transposed_geometry(site, x.shape[2:], extents, strides)
        # The full product first, then the part that is wanted: torch restricts pads and output_padding.
        y = _TRANSPOSE[rank](x, w, None, strides, 0, 0, group, dilations)
        ends = [size - y.shape[2 + i] + begins[i] for i, size in enumerate(shape)]
        crop = [-value for value in begins] + ends
        if any(crop):
            y = F.pad(y, torch_pads(crop))
        return y if b is None else y + b.reshape(1, -1, *[1] * rank)

    return run


def sample_bilinear(x: Tensor, ys: Tensor, xs: Tensor) -> Tensor:
    """Read (N, C, H, W) at fractional pixels (N, P) with zeros outside; returns (N, C, P)."""
    height, width = x.shape[2:]
    flat = x.flatten(2)
    y0, x0 = ys.floor(), xs.floor()
    total = torch.zeros((), dtype=x.dtype, device=x.device)
    for dy in (0, 1):
        for dx in (0, 1):
            row, column = y0 + dy, x0 + dx
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            weight = (1 - (ys - row).abs()) * (1 - (xs - column).abs()) * inside
            index = row.clamp(0, height - 1).long() * width + column.clamp(0, width - 1).long()
            value = flat.gather(2, index.unsqueeze(1).expand(-1, x.shape[1], -1))
            total = total + value * weight.unsqueeze(1)
    return total


@operator("DeformConv", 19, attributes=("dilations", "group", "kernel_shape", "offset_group", "pads", "strides"))
def deformable(site: Site) -> Kernel:
    """Convolution whose taps are moved by a tensor of offsets, in two spatial dimensions (Dai et al. 2017)."""
    group, offset_groups = site.get("group", 1), site.get("offset_group", 1)
    strides, dilations = site.get("strides") or [1, 1], site.get("dilations") or [1, 1]
    pads = site.get("pads") or [0] * 4
    if len(strides) != 2 or len(dilations) != 2 or len(pads) != 4:
        raise Unsupported("other than two spatial dimensions")

    def run(x: Tensor, w: Tensor, offset: Tensor, b: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        n, c = x.shape[:2]
        kh, kw = w.shape[2:]
        oh, ow = offset.shape[2:]
        taps = kh * kw
        rows = torch.arange(oh, device=x.device) * strides[0] - pads[0]
        columns = torch.arange(ow, device=x.device) * strides[1] - pads[1]
        tap = torch.arange(taps, device=x.device)
        ys = (tap // kw * dilations[0]).view(-1, 1, 1) + rows.view(1, -1, 1)
        xs = (tap % kw * dilations[1]).view(-1, 1, 1) + columns.view(1, 1, -1)
        moved = offset.reshape(n * offset_groups, taps, 2, oh, ow)
        ys = (moved[:, :, 0] + ys).flatten(1)
        xs = (moved[:, :, 1] + xs).flatten(1)
        read = sample_bilinear(x.reshape(n * offset_groups, c // offset_groups, *x.shape[2:]), ys, xs)
        if mask is not None:
            read = read * mask.reshape(n * offset_groups, 1, -1)
        read = read.reshape(n, group, c // group, taps, oh * ow)
        weight = w.reshape(group, -1, c // group, taps)
        y = torch.einsum("ngctp,goct->ngop", read, weight).reshape(n, -1, oh, ow)
        return y if b is None else y + b.reshape(1, -1, 1, 1)

    return run
