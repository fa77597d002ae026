"""Resampling (ONNX operator specification: Resize, Upsample, GridSample, AffineGrid).

Resize is separable: each axis gets its own interpolation matrix, built once per geometry in float64 from the
specification's formulas for coordinates and weights.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor

from singaudit.classifier.shadow import limits
from singaudit.classifier.shadow.operators.registry import Kernel, Site, Unsupported, from_front, operator

_COORDINATES = (
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "tf_half_pixel_for_nn",
    "tf_crop_and_resize",
)
_NEAREST = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


@dataclass(frozen=True)
class Sampling:
    """How Resize reads its input, the same for all axes."""

    mode: str
    """nearest, linear or cubic."""
    coordinates: str
    """Attribute coordinate_transformation_mode."""
    nearest: str
    """Attribute nearest_mode."""
    cubic: float
    """Attribute cubic_coeff_a."""
    exclude_outside: bool
    """Whether taps beyond the edge weigh nothing, instead of repeating the edge."""
    antialias: bool
    """Whether the filter widens when shrinking."""


def _coordinates(s: Sampling, size: int, out: int, scale: float, roi: tuple[float, float]) -> NDArray[np.float64]:
    """Return for each output position the fractional input position it reads."""
    x = np.arange(out, dtype=np.float64)
    if s.coordinates == "align_corners":
        return x * (size - 1) / (out - 1) if out > 1 else np.zeros(out)
    if s.coordinates == "asymmetric":
        return x / scale
    if s.coordinates == "tf_half_pixel_for_nn":
        return (x + 0.5) / scale
    if s.coordinates == "tf_crop_and_resize":
        start, end = roi
        if out > 1:
            return start * (size - 1) + x * (end - start) * (size - 1) / (out - 1)
        return np.full(out, 0.5 * (start + end) * (size - 1))
    if s.coordinates == "pytorch_half_pixel" and out == 1:
        return np.zeros(out)
    half_pixel = (x + 0.5) / scale - 0.5
    if s.coordinates == "half_pixel_symmetric":
        return half_pixel + size / 2 * (1 - out / (scale * size))
    return half_pixel


def _weights(s: Sampling, distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the filter's value at signed distances (in taps)."""
    d = np.abs(distance)
    if s.mode == "linear":
        return np.clip(1 - d, 0, None)
    a = s.cubic
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def _nearest(how: str, x: NDArray[np.float64]) -> NDArray[np.int64]:
    """Round fractional positions to whole ones by the attribute nearest_mode."""
    if how == "round_prefer_floor":
        rounded = np.ceil(x - 0.5)
    elif how == "round_prefer_ceil":
        rounded = np.floor(x + 0.5)
    else:
        rounded = np.floor(x) if how == "floor" else np.ceil(x)
    return rounded.astype(np.int64)


@functools.lru_cache(maxsize=256)
def axis_matrix(s: Sampling, size: int, out: int, scale: float, roi: tuple[float, float]) -> Tensor:
    """Return the (out, size) float64 matrix that resamples one axis."""
    limits.check_elements([size, out], "Resize", limits.MAX_FOLDED_ELEMENTS)
    x = _coordinates(s, size, out, scale, roi)
    matrix = np.zeros((out, size))
    rows = np.arange(out)
    if s.mode == "nearest":
        matrix[rows, _nearest(s.nearest, x).clip(0, size - 1)] = 1.0
        return torch.from_numpy(matrix)
    shrink = min(scale, 1.0) if s.antialias else 1.0
    radius = (1 if s.mode == "linear" else 2) / shrink
    first = np.floor(x).astype(np.int64)
    taps = np.arange(math.floor(-radius) + 1, math.ceil(radius) + 1)
    positions = first[:, None] + taps
    weights = _weights(s, (positions - x[:, None]) * shrink)
    if s.exclude_outside:
        weights = weights * ((positions >= 0) & (positions < size))
    if s.exclude_outside or s.antialias:
        weights = weights / weights.sum(1, keepdims=True)
    np.add.at(matrix, (rows[:, None], positions.clip(0, size - 1)), weights)
    return torch.from_numpy(matrix)


def resample(x: Tensor, axis: int, matrix: Tensor, nearest: bool) -> Tensor:
    """Apply an (out, size) matrix along one axis, in the input's dtype (integers are computed in float32)."""
    if nearest:
        return x.index_select(axis, matrix.argmax(1).to(x.device))
    work = x if x.is_floating_point() else x.to(torch.float32)
    result = torch.tensordot(work, matrix.to(work), ([axis], [1])).movedim(-1, axis)
    return result if x.is_floating_point() else result.round().to(x.dtype)


def _sizes(x: Tensor, axes: list[int], scales: list[float] | None, sizes: list[int] | None, policy: str) -> dict:
    """Return per resized axis its output size and scale; ``policy`` may keep the aspect ratio."""
    if scales:
        return {axis: (math.floor(x.shape[axis] * s), float(s)) for axis, s in zip(axes, scales, strict=True)}
    assert sizes is not None
    if policy == "stretch":
        return {axis: (n, n / x.shape[axis]) for axis, n in zip(axes, sizes, strict=True)}
    choose = min if policy == "not_larger" else max
    scale = choose(n / x.shape[axis] for axis, n in zip(axes, sizes, strict=True))
    return {axis: (math.floor(scale * x.shape[axis] + 0.5), scale) for axis in axes}


def _resize(site: Site, sampling: Sampling) -> Kernel:
    policy = site.choice("keep_aspect_ratio_policy", "stretch", ("stretch", "not_larger", "not_smaller"))
    outside = site.get("extrapolation_value", 0.0)
    cropping = sampling.coordinates == "tf_crop_and_resize"

    def run(
        x: Tensor,
        roi: list[float] | None = None,
        scales: list[float] | None = None,
        sizes: list[int] | None = None,
    ) -> Tensor:
        axes = [from_front(axis, x.ndim) for axis in site.get("axes", range(x.ndim))]
        geometry = _sizes(x, axes, scales, sizes, policy)
        limits.check_elements([geometry.get(i, (n, 1))[0] for i, n in enumerate(x.shape)], "Resize")
        masks = []
        for order, axis in enumerate(axes):
            size, (out, scale) = x.shape[axis], geometry[axis]
            span = (float(roi[order]), float(roi[order + len(axes)])) if cropping and roi else (0.0, 1.0)
            if cropping:
                at = _coordinates(sampling, size, out, scale, span)
                masks.append((axis, torch.from_numpy((at < 0) | (at > size - 1))))
            if scale == 1.0 and out == size and span == (0.0, 1.0):
                continue
            x = resample(x, axis, axis_matrix(sampling, size, out, scale, span), sampling.mode == "nearest")
        for axis, mask in masks:
            shape = [1] * x.ndim
            shape[axis] = -1
            x = x.masked_fill(mask.to(x.device).view(shape), outside)
        return x

    return run


def _sampling(site: Site, coordinates: str) -> Sampling:
    return Sampling(
        mode=site.choice("mode", "nearest", ("nearest", "linear", "cubic")),
        coordinates=coordinates,
        nearest=site.choice("nearest_mode", "round_prefer_floor", _NEAREST),
        cubic=float(site.get("cubic_coeff_a", -0.75)),
        exclude_outside=site.flag("exclude_outside", 0),
        antialias=site.flag("antialias", 0),
    )


_RESIZE = (
    "antialias", "axes", "coordinate_transformation_mode", "cubic_coeff_a", "exclude_outside", "extrapolation_value",
    "keep_aspect_ratio_policy", "mode", "nearest_mode",
)  # fmt: skip


@operator("Resize", 11, attributes=_RESIZE, host=(1, 2, 3))
def resize(site: Site) -> Kernel:
    """Resample any axes by nearest, linear or cubic interpolation."""
    return _resize(site, _sampling(site, site.choice("coordinate_transformation_mode", "half_pixel", _COORDINATES)))


def _floor_nearest(site: Site) -> Sampling:
    mode = site.choice("mode", "nearest", ("nearest", "linear", "bilinear"))
    return Sampling("linear" if mode == "bilinear" else mode, "asymmetric", "floor", -0.75, False, False)


@operator("Upsample", 9, attributes=("mode",), host=(1,))
@operator("Resize", 10, attributes=("mode",), host=(1,))
def resize_by_scales(site: Site) -> Kernel:
    """Resample by scales alone: asymmetric coordinates, nearest by floor."""
    kernel = _resize(site, _floor_nearest(site))
    return lambda x, scales: kernel(x, None, scales)


@operator("Upsample", 7, attributes=("mode", "scales"))
def upsample(site: Site) -> Kernel:
    """Upsample with scales as an attribute."""
    kernel, scales = _resize(site, _floor_nearest(site)), site.need("scales")
    return lambda x: kernel(x, None, scales)


_GRID_MODES = {
    "linear": "bilinear",
    "bilinear": "bilinear",
    "nearest": "nearest",
    "cubic": "bicubic",
    "bicubic": "bicubic",
}


@operator("GridSample", 16, attributes=("align_corners", "mode", "padding_mode"))
def grid_sample(site: Site) -> Kernel:
    """Read an image or volume at normalised positions."""
    mode = _GRID_MODES[site.choice("mode", "linear", tuple(_GRID_MODES))]
    padding = site.choice("padding_mode", "zeros", ("zeros", "border", "reflection"))
    align = site.flag("align_corners", 0)
    return lambda x, grid: F.grid_sample(x, grid, mode, padding, align)


@operator("AffineGrid", 20, attributes=("align_corners",), host=(1,))
def affine_grid(site: Site) -> Kernel:
    """Positions under an affine map, for GridSample."""
    align = site.flag("align_corners", 0)

    def run(theta: Tensor, size: list[int]) -> Tensor:
        limits.check_elements(size, "AffineGrid")
        return F.affine_grid(theta, size, align)

    return run


@operator("MaxRoiPool", attributes=("pooled_shape", "spatial_scale"))
def max_roi_pool(site: Site) -> Kernel:
    """Refused: detection is out of scope."""
    raise Unsupported("detection is out of scope")
