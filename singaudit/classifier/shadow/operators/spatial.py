"""Regions and patches (ONNX operator specification: RoiAlign, Col2Im)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from singaudit.classifier.shadow import limits
from singaudit.classifier.shadow.operators.convolution import torch_pads
from singaudit.classifier.shadow.operators.registry import Kernel, Site, operator


@operator("Col2Im", 18, attributes=("dilations", "pads", "strides"), host=(1, 2))
def col2im(site: Site) -> Kernel:
    """Sum columns of patches back into an image of any rank."""

    def run(x: Tensor, image: list[int], block: list[int]) -> Tensor:
        rank = len(image)
        strides, dilations = site.get("strides") or [1] * rank, site.get("dilations") or [1] * rank
        pads = site.get("pads") or [0] * (2 * rank)
        padded = [n + pads[i] + pads[i + rank] for i, n in enumerate(image)]
        limits.check_elements([x.shape[0], *padded], "Col2Im")
        index = torch.zeros([1] * (2 * rank), dtype=torch.int64, device=x.device)
        for i in range(rank):
            count = (padded[i] - dilations[i] * (block[i] - 1) - 1) // strides[i] + 1
            taps = (torch.arange(block[i], device=x.device) * dilations[i]).view(-1, 1)
            at = taps + torch.arange(count, device=x.device) * strides[i]
            shape = [1] * (2 * rank)
            shape[i], shape[rank + i] = at.shape
            index = index * padded[i] + at.view(shape)
        columns = x.unflatten(1, (-1, math.prod(block))).flatten(2)
        flat = x.new_zeros(*columns.shape[:2], math.prod(padded)).index_add(2, index.reshape(-1), columns)
        result = flat.unflatten(2, padded)
        return F.pad(result, torch_pads([-p for p in pads])) if any(pads) else result

    return run


def _bilinear_clamped(x: Tensor, ys: Tensor, xs: Tensor) -> tuple[Tensor, Tensor]:
    """Read (C, H, W) at pixels (P,): the four weighted corners (4, C, P) and which points are inside (P,).

    Points up to one pixel outside read the edge, those beyond count as zero (He et al. 2017, RoIAlign).
    """
    height, width = x.shape[1:]
    inside = (ys >= -1) & (ys <= height) & (xs >= -1) & (xs <= width)
    ys, xs = ys.clamp(0, height - 1), xs.clamp(0, width - 1)
    y0, x0 = ys.floor().long(), xs.floor().long()
    y1, x1 = (y0 + 1).clamp(max=height - 1), (x0 + 1).clamp(max=width - 1)
    fy, fx = ys - y0, xs - x0
    corners = torch.stack(
        [
            x[:, y0, x0] * (1 - fy) * (1 - fx),
            x[:, y0, x1] * (1 - fy) * fx,
            x[:, y1, x0] * fy * (1 - fx),
            x[:, y1, x1] * fy * fx,
        ]
    )
    return corners * inside, inside


_ROI = ("coordinate_transformation_mode", "mode", "output_height", "output_width", "sampling_ratio", "spatial_scale")


@operator("RoiAlign", 10, attributes=_ROI, host=(1, 2))
def roi_align(site: Site) -> Kernel:
    """Average or maximum of bilinear samples in a grid of bins over each region."""
    mode = site.choice("mode", "avg", ("avg", "max"))
    default = "half_pixel" if site.version >= 16 else "output_half_pixel"
    half = site.choice("coordinate_transformation_mode", default, ("half_pixel", "output_half_pixel")) == "half_pixel"
    oh, ow = site.get("output_height", 1), site.get("output_width", 1)
    ratio, scale = site.get("sampling_ratio", 0), site.get("spatial_scale", 1.0)

    def one(x: Tensor, roi: list[float]) -> Tensor:
        shift = 0.5 if half else 0.0
        left, top, right, bottom = (value * scale - shift for value in roi)
        width, height = right - left, bottom - top
        if not half:
            width, height = max(width, 1.0), max(height, 1.0)
        rows = ratio if ratio > 0 else math.ceil(height / oh)
        columns = ratio if ratio > 0 else math.ceil(width / ow)
        limits.check_elements([x.shape[0], oh * rows, ow * columns], "RoiAlign")
        ys = top + (torch.arange(oh * rows, device=x.device, dtype=x.dtype) + 0.5) * (height / oh / rows)
        xs = left + (torch.arange(ow * columns, device=x.device, dtype=x.dtype) + 0.5) * (width / ow / columns)
        grid_y, grid_x = torch.meshgrid(ys, xs, indexing="ij")
        corners, _ = _bilinear_clamped(x, grid_y.reshape(-1), grid_x.reshape(-1))
        # The maximum is taken over weighted corners, not over their sum, as ONNX Runtime does.
        values = corners.sum(0) if mode == "avg" else corners.amax(0)
        values = values.reshape(x.shape[0], oh, rows, ow, columns)
        return values.mean((2, 4)) if mode == "avg" else values.amax((2, 4))

    def run(x: Tensor, rois: list[list[float]], batch: list[int]) -> Tensor:
        if not rois:
            return x.new_zeros(0, x.shape[1], oh, ow)
        return torch.stack([one(x[index], roi) for roi, index in zip(rois, batch, strict=True)])

    return run
