"""Pooling (ONNX operator specification: MaxPool, AveragePool, LpPool, their global forms, MaxUnpool)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from onnx import TensorProto
from torch import Tensor

from singaudit.classifier.shadow.operators.convolution import AUTO_PADS, same_pads, torch_pads
from singaudit.classifier.shadow.operators.registry import Kernel, Site, Unsupported, operator

_MAX: dict[int, Callable[..., Tensor]] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


@dataclass(frozen=True)
class Windows:
    """Where pooling windows lie along each spatial axis of one input."""

    kernel: list[int]
    """Taps per axis."""
    strides: list[int]
    """Step per axis, in elements."""
    dilations: list[int]
    """Distance of taps per axis."""
    pads: list[int]
    """Explicit pads, all begins then all ends."""
    extra: list[int]
    """What ceil_mode needs beyond the explicit pads, at the ends."""

    @property
    def simple(self) -> bool:
        """Whether torch's own pooling can take the pads: symmetric, at most half the kernel, nothing extra."""
        rank = len(self.kernel)
        symmetric = self.pads[:rank] == self.pads[rank:]
        return (
            symmetric and not any(self.extra) and all(2 * p <= k for p, k in zip(self.pads, self.kernel, strict=False))
        )

    @property
    def all_pads(self) -> list[int]:
        """Explicit pads and ceil_mode's extra, all begins then all ends."""
        rank = len(self.kernel)
        return self.pads[:rank] + [p + e for p, e in zip(self.pads[rank:], self.extra, strict=True)]


def _planner(site: Site) -> Callable[[Sequence[int]], Windows]:
    """Read the pooling attributes; the returned function lays windows over spatial sizes."""
    auto = site.choice("auto_pad", "NOTSET", AUTO_PADS)
    kernel = list(site.need("kernel_shape"))
    rank = len(kernel)
    if rank not in _MAX:
        raise Unsupported(f"{rank} spatial dimensions")
    strides = list(site.get("strides") or [1] * rank)
    dilations = list(site.get("dilations") or [1] * rank)
    stated = list(site.get("pads") or [0] * (2 * rank)) if auto == "NOTSET" else [0] * (2 * rank)
    ceil = site.flag("ceil_mode", 0)
    if (len(strides), len(dilations), len(stated)) != (rank, rank, 2 * rank):
        raise ValueError(f"strides, dilations and pads of {rank} axes expected, got {strides}, {dilations}, {stated}")
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    if min(stated) < 0:
        raise Unsupported("negative pads")

    def plan(sizes: Sequence[int]) -> Windows:
        pads, extra = stated, [0] * rank
        if auto.startswith("SAME"):
            pads = same_pads(sizes, extents, strides, auto == "SAME_UPPER")
        elif ceil:
            for axis, size in enumerate(sizes):
                padded = size + pads[axis] + pads[axis + rank]
                count = -(-(padded - extents[axis]) // strides[axis]) + 1
                # A window that begins beyond the input and its left pad is dropped.
                if (count - 1) * strides[axis] >= size + pads[axis]:
                    count -= 1
                extra[axis] = max((count - 1) * strides[axis] + extents[axis] - padded, 0)
        return Windows(kernel, strides, dilations, pads, extra)

    return plan


def _unfolded(x: Tensor, windows: Windows) -> Tensor:
    """View (N, C, spatial) as windows (N, C, counts, taps): one flat trailing axis of taps; pads must be applied."""
    rank = len(windows.kernel)
    for axis, (k, s, d) in enumerate(zip(windows.kernel, windows.strides, windows.dilations, strict=True)):
        x = x.unfold(2 + axis, (k - 1) * d + 1, s)[..., ::d]
    return x.flatten(2 + rank)


_POOL = ("auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "strides")


@operator("AveragePool", attributes=(*_POOL, "count_include_pad"))
def average_pool(site: Site) -> Kernel:
    """Mean over windows; explicit pads count where ``count_include_pad`` is 1, ceil_mode's extra never does."""
    plan, include = _planner(site), site.flag("count_include_pad", 0)

    def run(x: Tensor) -> Tensor:
        windows = plan(x.shape[2:])
        rank = len(windows.kernel)
        if windows.simple and set(windows.dilations) == {1}:
            return _AVERAGE[rank](x, windows.kernel, windows.strides, windows.pads[:rank], False, include)
        inside = F.pad(
            torch.ones((1, 1, *x.shape[2:]), dtype=x.dtype, device=x.device),
            torch_pads(windows.pads),
            value=1.0 if include else 0.0,
        )
        inside = F.pad(inside, torch_pads([0] * rank + windows.extra))
        counts = _unfolded(inside, windows).sum(-1)
        return _unfolded(F.pad(x, torch_pads(windows.all_pads)), windows).sum(-1) / counts

    return run


def _global_indices(local: Tensor, sizes: Sequence[int], windows: Windows, column_major: bool) -> Tensor:
    """Turn torch's positions within one padded plane into ONNX's within the whole, unpadded tensor."""
    rank = len(sizes)
    padded = [n + windows.all_pads[i] + windows.all_pads[i + rank] for i, n in enumerate(sizes)]
    coordinates: list[Tensor] = []
    for axis in reversed(range(rank)):
        coordinates.insert(0, local % padded[axis] - windows.all_pads[axis])
        local = local // padded[axis]
    order = range(rank) if not column_major else reversed(range(rank))
    flat = torch.zeros_like(local)
    for axis in order:
        flat = flat * sizes[axis] + coordinates[axis]
    planes = torch.arange(flat.shape[0] * flat.shape[1], device=flat.device).view(*flat.shape[:2], *[1] * rank)
    return flat + planes * math.prod(sizes)


@operator(
    "MaxPool",
    attributes=(*_POOL, "storage_order"),
    types=lambda site: (site.input_types[0], TensorProto.INT64),
)
def max_pool(site: Site) -> Kernel:
    """Maximum over windows, and where it was found (row-major, or column-major with ``storage_order`` 1)."""
    plan, indices = _planner(site), site.wants(1)
    column_major = site.flag("storage_order", 0)

    def run(x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        windows, rank, dtype = plan(x.shape[2:]), len(site.need("kernel_shape")), x.dtype
        sizes = x.shape[2:]
        if not x.is_floating_point():
            x = x.to(torch.float32)
        pads: list[int] = windows.pads[:rank]
        if indices or not windows.simple:
            if any(windows.all_pads):
                x = F.pad(x, torch_pads(windows.all_pads), value=-math.inf)
            pads = [0] * rank
        arguments = (x, windows.kernel, windows.strides, pads, windows.dilations, False, indices)
        if not indices:
            return _MAX[rank](*arguments).to(dtype)
        values, where = _MAX[rank](*arguments)
        return values.to(dtype), _global_indices(where, sizes, windows, column_major)

    return run


@operator("LpPool", attributes=(*_POOL, "p"))
def lp_pool(site: Site) -> Kernel:
    """The p-norm of each window; pads count as zeros."""
    if site.version < 2:
        raise Unsupported("opset 1")
    plan, p = _planner(site), site.get("p", 2)

    def run(x: Tensor) -> Tensor:
        windows = plan(x.shape[2:])
        taps = _unfolded(F.pad(x, torch_pads(windows.all_pads)), windows)
        return taps.abs().pow(p).sum(-1).pow(1.0 / p)

    return run


@operator("MaxUnpool", 9, attributes=("kernel_shape", "pads", "strides"), host=(2,))
def max_unpool(site: Site) -> Kernel:
    """Put values back where MaxPool found them; all else is zero."""
    kernel = list(site.need("kernel_shape"))
    rank = len(kernel)
    strides, pads = site.get("strides") or [1] * rank, site.get("pads") or [0] * (2 * rank)

    def run(x: Tensor, where: Tensor, shape: list[int] | None = None) -> Tensor:
        natural = list(x.shape[:2]) + [
            (n - 1) * strides[i] - pads[i] - pads[i + rank] + kernel[i] for i, n in enumerate(x.shape[2:])
        ]
        # Positions refer to the natural size; a larger output holds it at its beginning.
        flat = torch.zeros(math.prod(natural), dtype=x.dtype, device=x.device)
        flat = flat.scatter(0, where.reshape(-1), x.reshape(-1))
        result = flat.reshape(natural)
        if shape is None or list(shape) == natural:
            return result
        return F.pad(result, torch_pads([0] * len(shape) + [s - n for s, n in zip(shape, natural, strict=True)]))

    return run


def _spatial(x: Tensor) -> list[int]:
    return list(range(2, x.ndim))


@operator("GlobalAveragePool")
def global_average_pool(site: Site) -> Kernel:
    """Mean over all spatial dimensions, kept as size 1."""
    return lambda x: x.mean(_spatial(x), keepdim=True) if x.ndim > 2 else x


@operator("GlobalMaxPool")
def global_max_pool(site: Site) -> Kernel:
    """Maximum over all spatial dimensions, kept as size 1; ties share the gradient."""
    return lambda x: x.amax(_spatial(x), keepdim=True) if x.ndim > 2 else x


@operator("GlobalLpPool", 2, attributes=("p",))
def global_lp_pool(site: Site) -> Kernel:
    """The p-norm over all spatial dimensions, kept as size 1."""
    p = site.get("p", 2)
    return lambda x: x.abs().pow(p).sum(_spatial(x), keepdim=True).pow(1.0 / p)
