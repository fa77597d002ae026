"""Normalisations (ONNX operator specification: BatchNormalization, LayerNormalization, LRN, ...)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from singaudit.classifier.shadow.operators.registry import (
    Kernel,
    Site,
    Unsupported,
    from_front,
    operator,
    same_as_input,
)

MICROSOFT = "com.microsoft"


@operator("BatchNormalization", attributes=("epsilon", "momentum", "training_mode", "is_test", "spatial"), keeps="type")
def batch_norm(site: Site) -> Kernel:
    """Normalise per channel by stored statistics; with ``training_mode`` 1 by the batch's own, which is repeatable."""
    epsilon, momentum = site.get("epsilon", 1e-5), site.get("momentum", 0.9)
    if site.get("spatial", 1) != 1:
        raise Unsupported("spatial=0")
    # Before opset 14 the mere presence of further outputs meant training mode.
    training = site.flag("training_mode", 0) if site.version >= 14 else any(site.wanted[1:])
    if site.version < 7 and not site.get("is_test", 0):
        raise Unsupported("is_test=0 (training)")
    if site.version >= 14 and not training and any(site.wanted[1:]):
        raise Unsupported("statistics as outputs without training_mode")

    def run(x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> Tensor | tuple[Tensor, ...]:
        if not training:
            return F.batch_norm(x, mean, var, scale, bias, False, 0.0, epsilon)
        axes = [axis for axis in range(x.ndim) if axis != 1]
        batch_var, batch_mean = torch.var_mean(x, axes, correction=0)
        y = torch.batch_norm(x, scale, bias, None, None, True, 0.0, epsilon, False)
        if site.version < 14 or not any(site.wanted[1:]):
            # Older versions never said how their statistics are averaged; a reader of them fails on a missing value.
            return y
        running_mean = mean * momentum + batch_mean * (1 - momentum)
        return y, running_mean, var * momentum + batch_var * (1 - momentum)

    return run


@operator("InstanceNormalization", attributes=("epsilon",), keeps="type")
def instance_norm(site: Site) -> Kernel:
    """Normalise each channel of each sample."""
    epsilon = site.get("epsilon", 1e-5)
    # torch.group_norm, unlike F.instance_norm, accepts planes of a single element.
    return lambda x, scale, bias: torch.group_norm(x, x.shape[1], scale, bias, epsilon)


@operator("GroupNormalization", 18, attributes=("epsilon", "num_groups", "stash_type"), keeps="type")
def group_norm(site: Site) -> Kernel:
    """Normalise groups of channels; scale and bias are per group before opset 21, per channel since."""
    epsilon, groups = site.get("epsilon", 1e-5), site.need("num_groups")
    per_channel = site.version >= 21

    def run(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        if not per_channel:
            repeats = x.shape[1] // groups
            scale, bias = scale.repeat_interleave(repeats), bias.repeat_interleave(repeats)
        return torch.group_norm(x, groups, scale, bias, epsilon)

    return run


def layer_norm_kernel(axis: int, epsilon: float, statistics: bool) -> Kernel:
    """Build layer normalisation over the axes from ``axis`` on; with ``statistics`` also mean and 1/deviation."""

    def run(x: Tensor, scale: Tensor | None = None, bias: Tensor | None = None) -> Tensor | tuple[Tensor, ...]:
        shape = x.shape[axis:] if axis < 0 else x.shape[axis % max(x.ndim, 1) :]
        plain = (scale is None or scale.shape == shape) and (bias is None or bias.shape == shape)
        y = F.layer_norm(x, shape, scale if plain else None, bias if plain else None, epsilon)
        if not plain:
            # The specification lets scale and bias broadcast; torch does not.
            y = y if scale is None else y * scale
            y = y if bias is None else y + bias
        if not statistics:
            return y
        axes = list(range(x.ndim - len(shape), x.ndim))
        var, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
        return y, mean, torch.rsqrt(var + epsilon)

    return run


@operator(
    "LayerNormalization", attributes=("axis", "epsilon", "stash_type"), keeps="type", types=same_as_input(outputs=3)
)
def layer_norm(site: Site) -> Kernel:
    """Normalise the trailing axes; registered from opset 1 on, since ONNX Runtime writes it into older files."""
    return layer_norm_kernel(site.get("axis", -1), site.get("epsilon", 1e-5), any(site.wanted[1:]))


def rms_norm_kernel(axis: int, epsilon: float) -> Kernel:
    """Build root-mean-square normalisation over the axes from ``axis`` on (Zhang and Sennrich 2019)."""

    def run(x: Tensor, scale: Tensor | None = None) -> Tensor:
        axes = list(range(from_front(axis, x.ndim), x.ndim))
        y = x * torch.rsqrt(x.square().mean(axes, keepdim=True) + epsilon)
        return y if scale is None else y * scale

    return run


@operator("RMSNormalization", 23, attributes=("axis", "epsilon", "stash_type"))
def rms_norm(site: Site) -> Kernel:
    """Divide by the root mean square of the trailing axes."""
    return rms_norm_kernel(site.get("axis", -1), site.get("epsilon", 1e-5))


@operator("SimplifiedLayerNormalization", attributes=("axis", "epsilon", "stash_type"), types=same_as_input())
def simplified_layer_norm(site: Site) -> Kernel:
    """ONNX Runtime's older name of RMSNormalization."""
    if any(site.wanted[1:]):
        raise Unsupported("the deviation as an output")
    return rms_norm_kernel(site.get("axis", -1), site.get("epsilon", 1e-5))


@operator("SkipLayerNormalization", domain=MICROSOFT, attributes=("epsilon",), types=same_as_input(outputs=4))
def skip_layer_norm(site: Site) -> Kernel:
    """Layer normalisation of a sum, as ONNX Runtime's optimiser writes it; the fourth output is the sum."""
    if any(site.wanted[1:3]):
        raise Unsupported("mean or deviation as an output")
    norm = layer_norm_kernel(-1, site.get("epsilon", 1e-12), False)

    def run(
        x: Tensor, skip: Tensor, gamma: Tensor, beta: Tensor | None = None, bias: Tensor | None = None
    ) -> tuple[Tensor | None, ...]:
        total = x + skip if bias is None else x + skip + bias
        return norm(total, gamma, beta), None, None, total

    return run


@operator("LRN", attributes=("alpha", "beta", "bias", "size"))
def local_response_norm(site: Site) -> Kernel:
    """Divide by a power of the mean square over neighbouring channels."""
    alpha, beta, bias, size = site.get("alpha", 1e-4), site.get("beta", 0.75), site.get("bias", 1.0), site.need("size")
    before, after = (size - 1) // 2, size - 1 - (size - 1) // 2

    def run(x: Tensor) -> Tensor:
        squares = x.square().transpose(1, -1)
        # Windows along channels: put them last, where avg_pool1d slides.
        padded = F.pad(squares, (before, after)).flatten(0, -2).unsqueeze(1)
        sums = F.avg_pool1d(padded, size, 1) * size
        sums = sums.reshape(squares.shape).transpose(1, -1)
        return x / (bias + alpha / size * sums).pow(beta)

    return run


@operator("LpNormalization", attributes=("axis", "p"))
def lp_norm(site: Site) -> Kernel:
    """Divide by the 1- or 2-norm along an axis; a zero vector stays zero."""
    axis, p = site.get("axis", -1), site.get("p", 2)

    def run(x: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm(x, p, axis, keepdim=True)
        return torch.where(norm == 0, torch.zeros_like(x), x / torch.where(norm == 0, torch.ones_like(norm), norm))

    return run


@operator("MeanVarianceNormalization", 9, attributes=("axes",))
def mean_variance_norm(site: Site) -> Kernel:
    """Subtract the mean and divide by the deviation over ``axes``."""
    axes = list(site.get("axes", [0, 2, 3]))

    def run(x: Tensor) -> Tensor:
        mean = x.mean(axes, keepdim=True)
        deviation = torch.sqrt((x.square()).mean(axes, keepdim=True) - mean.square())
        return (x - mean) / (deviation + 1e-9)

    return run


@operator("Dropout", attributes=("ratio", "is_test", "seed"))
def dropout(site: Site) -> Kernel:
    """The identity: inference does not drop; training mode would draw random numbers and is refused."""
    if site.version >= 12 and site.has(2):
        training = site.constants[2] if len(site.constants) > 2 else None
        ratio = site.constants[1] if site.has(1) else torch.tensor(0.5)
        if training is None or (bool(training) and (ratio is None or not math.isclose(float(ratio), 0.0))):
            raise Unsupported("training mode draws random numbers")
    if site.version < 7 and not site.get("is_test", 0):
        raise Unsupported("is_test=0 (training) draws random numbers")
    if not site.wants(1):
        return lambda x, *_: x
    return lambda x, *_: (x, torch.ones_like(x, dtype=torch.bool))
