"""Padding and block layouts (ONNX operator specification: Pad, CenterCropPad, DepthToSpace, SpaceToDepth)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from singaudit.classifier.shadow import limits
from singaudit.classifier.shadow.operators.convolution import torch_pads
from singaudit.classifier.shadow.operators.registry import Kernel, Site, from_front, operator
from singaudit.errors import ModelError


def _pad(x: Tensor, pads: list[int], mode: str, value: Any) -> Tensor:
    """Pad every axis (all begins, then all ends; negative ones crop)."""
    rank = x.ndim
    limits.check_elements([n + pads[i] + pads[i + rank] for i, n in enumerate(x.shape)], "Pad")
    if mode == "constant":
        fill = value if not isinstance(value, list) else (value[0] if value else 0)
        return F.pad(x, torch_pads(pads), value=fill or 0)
    crop = [min(p, 0) for p in pads]
    if any(crop):
        x = F.pad(x, torch_pads(crop))
    for axis in range(rank):
        before, after = max(pads[axis], 0), max(pads[axis + rank], 0)
        if before or after:
            positions = torch.arange(-before, x.shape[axis] + after, device=x.device)
            x = x.index_select(axis, _mapped(positions, x.shape[axis], mode))
    return x


def _mapped(positions: Tensor, size: int, mode: str) -> Tensor:
    """Map positions beyond 0..size-1 back inside."""
    if mode == "edge":
        return positions.clamp(0, size - 1)
    if mode == "wrap":
        return positions.remainder(size)
    if size == 1:
        raise ModelError("Pad: reflection needs at least two elements along the axis.")
    period = 2 * (size - 1)
    folded = positions.remainder(period)
    return torch.where(folded >= size, period - folded, folded)


_MODES = ("constant", "reflect", "edge", "wrap")


@operator("Pad", attributes=("mode", "pads", "paddings", "value"))
def pad_by_attribute(site: Site) -> Kernel:
    """Pad before opset 11: pads and value are attributes."""
    mode, value = site.choice("mode", "constant", _MODES[:3]), site.get("value", 0.0)
    pads = site.get("pads", site.get("paddings"))
    return lambda x: _pad(x, pads, mode, value)


@operator("Pad", 11, attributes=("mode",), host=(1, 2, 3))
def pad(site: Site) -> Kernel:
    """Pad all axes, or the stated ones."""
    mode = site.choice("mode", "constant", _MODES)

    def run(x: Tensor, pads: list[int], value: Any = None, axes: list[int] | None = None) -> Tensor:
        if axes is not None:
            full = [0] * (2 * x.ndim)
            for index, axis in enumerate(axes):
                full[from_front(axis, x.ndim)] = pads[index]
                full[from_front(axis, x.ndim) + x.ndim] = pads[index + len(axes)]
            pads = full
        return _pad(x, pads, mode, value)

    return run


@operator("CenterCropPad", 18, attributes=("axes",), host=(1,))
def center_crop_pad(site: Site) -> Kernel:
    """Crop or zero-pad around the centre to a target size."""

    def run(x: Tensor, shape: list[int]) -> Tensor:
        axes = [from_front(axis, x.ndim) for axis in site.get("axes", range(x.ndim))]
        begins, ends = [0] * x.ndim, [0] * x.ndim
        for axis, size in zip(axes, shape, strict=True):
            excess = size - x.shape[axis]
            # Cropping drops the larger half at the end, padding adds it there.
            begins[axis] = excess // 2 if excess >= 0 else -((-excess) // 2)
            ends[axis] = excess - begins[axis]
        return _pad(x, begins + ends, "constant", 0)

    return run


@operator("DepthToSpace", attributes=("blocksize", "mode"))
def depth_to_space(site: Site) -> Kernel:
    """Move channels into blocks of pixels."""
    block, mode = site.need("blocksize"), site.choice("mode", "DCR", ("DCR", "CRD"))

    def run(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        inner = c // block**2
        if mode == "DCR":
            x = x.reshape(n, block, block, inner, h, w).permute(0, 3, 4, 1, 5, 2)
        else:
            x = x.reshape(n, inner, block, block, h, w).permute(0, 1, 4, 2, 5, 3)
        return x.reshape(n, inner, h * block, w * block)

    return run


@operator("SpaceToDepth", attributes=("blocksize", "mode"))
def space_to_depth(site: Site) -> Kernel:
    """Move blocks of pixels into channels."""
    block, mode = site.need("blocksize"), site.choice("mode", "DCR", ("DCR", "CRD"))

    def run(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        x = x.reshape(n, c, h // block, block, w // block, block)
        x = x.permute(0, 3, 5, 1, 2, 4) if mode == "DCR" else x.permute(0, 1, 3, 5, 2, 4)
        return x.reshape(n, c * block**2, h // block, w // block)

    return run
