"""Reductions (ONNX operator specification: ReduceSum, ReduceMean, ReduceMax, ReduceLogSumExp, ...)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from singaudit.classifier.shadow.operators.registry import Kernel, Site, from_front, operator

Reduce = Callable[[Tensor, list[int], bool], Tensor]


def _sum(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return x.sum(axes, keepdim=keep, dtype=x.dtype)


def _mean(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    if x.is_floating_point():
        return x.mean(axes, keepdim=keep)
    return x.to(torch.float64).mean(axes, keepdim=keep).trunc().to(x.dtype)


def _prod(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted(axes, reverse=True):
        x = x.prod(axis, keepdim=keep, dtype=x.dtype)
    return x


def _extreme(x: Tensor, axes: list[int], keep: bool, largest: bool) -> Tensor:
    if any(x.shape[axis] == 0 for axis in axes):
        # The maximum over nothing is the type's smallest value, the minimum over nothing its largest.
        shape = [1 if axis in axes else size for axis, size in enumerate(x.shape)]
        if x.dtype == torch.bool:
            bound: float = not largest
        elif x.is_floating_point():
            bound = -torch.inf if largest else torch.inf
        else:
            bound = torch.iinfo(x.dtype).min if largest else torch.iinfo(x.dtype).max
        result = torch.full(shape, bound, dtype=x.dtype, device=x.device)
        return result if keep else result.squeeze(tuple(axes))
    return x.amax(axes, keepdim=keep) if largest else x.amin(axes, keepdim=keep)


def _log_sum_exp(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    if not x.is_floating_point():
        x = x.to(torch.float64)
    return torch.logsumexp(x, axes, keepdim=keep)


_REDUCTIONS: dict[str, Reduce] = {
    "ReduceSum": _sum,
    "ReduceMean": _mean,
    "ReduceProd": _prod,
    "ReduceMax": lambda x, axes, keep: _extreme(x, axes, keep, True),
    "ReduceMin": lambda x, axes, keep: _extreme(x, axes, keep, False),
    "ReduceL1": lambda x, axes, keep: _sum(x.abs(), axes, keep),
    "ReduceL2": lambda x, axes, keep: _sum(x.square(), axes, keep).sqrt(),
    "ReduceSumSquare": lambda x, axes, keep: _sum(x.square(), axes, keep),
    "ReduceLogSum": lambda x, axes, keep: _sum(x, axes, keep).log(),
    "ReduceLogSumExp": _log_sum_exp,
}


def _register(kind: str, function: Reduce) -> None:
    by_input = 13 if kind == "ReduceSum" else 18

    @operator(kind, attributes=("axes", "keepdims"))
    def by_attribute(site: Site) -> Kernel:
        axes, keep = site.get("axes"), site.flag("keepdims", 1)
        return lambda x: function(x, _normal(axes, x.ndim), keep)

    @operator(kind, by_input, attributes=("keepdims", "noop_with_empty_axes"), host=(1,))
    def by_second_input(site: Site) -> Kernel:
        keep, noop = site.flag("keepdims", 1), site.flag("noop_with_empty_axes", 0)

        def run(x: Tensor, axes: list[int] | int | None = None) -> Tensor:
            chosen = [axes] if isinstance(axes, int) else axes
            if noop and not chosen:
                # No axes to reduce: only what the reduction does to each element remains.
                return function(x.unsqueeze(0), [0], False)
            return function(x, _normal(chosen or None, x.ndim), keep)

        return run


def _normal(axes: list[int] | None, rank: int) -> list[int]:
    """Return axes counted from the front; all of them where none are stated."""
    return [from_front(axis, rank) for axis in axes] if axes is not None else list(range(rank))


for _kind, _function in _REDUCTIONS.items():
    _register(_kind, _function)
