"""The native module with the weights that a file made from its export holds.

Rounded weights are another network's. Where a network's gradient changes with every thousandth of a weight, that of the
float module says nothing about a copy of the int8 file; that of the float module with the file's weights does.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

Array = NDArray[Any]


class Layer(NamedTuple):
    """A convolution or matrix product of the exported graph, output channels first."""

    weight: str
    """Name of its weight."""
    bias: str
    """Name of its bias, "" where it has none."""
    transposed: bool
    """Whether the weight is stored with output channels last."""


def stored(model: onnx.ModelProto, source: dict[str, Array] | None = None) -> dict[str, Array]:
    """Every constant by name; of quantised ones the real value, under the name they had in ``source``."""
    values = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    for name in source or ():
        whole, scale = values.get(f"{name}_quantized"), values.get(f"{name}_scale")
        if source is None or whole is None or scale is None:
            continue
        zero = values.get(f"{name}_zero_point", np.zeros_like(scale, whole.dtype))
        # One scale per output channel, wherever the tool put that axis: square weights fit both ways, one of them well.
        like = source[name] if source[name].shape == whole.shape else source[name].T
        guesses = []
        for axis in [place for place, length in enumerate(whole.shape) if length == scale.size] or [0]:
            shape = [-1 if place == axis and scale.size > 1 else 1 for place in range(whole.ndim)]
            guesses.append((whole.astype(np.float64) - zero.reshape(shape).astype(np.float64)) * scale.reshape(shape))
        values[name] = min(guesses, key=lambda guess: float(np.abs(guess - like).max()))
    return values


def layers(model: onnx.ModelProto) -> list[Layer]:
    """Convolutions and matrix products with a constant weight, in the order in which they run."""
    constants = {item.name for item in model.graph.initializer}
    found = []
    for node in model.graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul") or node.input[1] not in constants:
            continue
        transposed = any(item.name == "transB" and item.i for item in node.attribute)
        bias = node.input[2] if len(node.input) > 2 else ""
        found.append(Layer(node.input[1], bias, node.op_type != "Conv" and not transposed))
    return found


def modules(network: nn.Module, x: Tensor) -> list[nn.Module]:
    """Convolutions and linear layers in the order in which they run."""
    ran: list[nn.Module] = []
    hooks = [
        item.register_forward_pre_hook(lambda module, _: ran.append(module))
        for item in network.modules()
        if isinstance(item, (nn.Conv1d, nn.Conv2d, nn.Linear))
    ]
    with torch.no_grad():
        network(x)
    for hook in hooks:
        hook.remove()
    return ran


def with_weights_of(network: nn.Module, x: Tensor, source: onnx.ModelProto, target: onnx.ModelProto) -> nn.Module:
    """A copy of the native module with the weights of ``target``, which a tool made from its export ``source``.

    Exporters fold batch normalisation into the weights before it: what a tool changed is scaled back by the factor per
    output channel. Raises ValueError where layers and modules do not correspond.
    """
    network = copy.deepcopy(network)
    before = stored(source)
    after = stored(target, before)
    left = layers(source)
    for module in modules(network, x):
        weight = module.weight.detach().double().numpy()
        # Optimisers put branches in another order: a layer is known by its weight.
        found = ((layer, _factor(weight, layer, before)) for layer in left if before[layer.weight].size == weight.size)
        layer, factor = next(((layer, factor) for layer, factor in found if factor is not None), (None, None))
        if layer is None or factor is None:
            raise ValueError(f"no layer has the weight of {module}")
        left.remove(layer)
        moved = _channels_first(after[layer.weight], layer, before, weight.shape)
        moved -= _channels_first(before[layer.weight], layer, before, weight.shape)
        spread = factor.reshape(-1, *[1] * (weight.ndim - 1))
        module.weight.data = torch.from_numpy(weight + moved / spread).to(module.weight)
        # Integer biases have steps of a product of scales, which no gradient notices.
        if layer.bias in after:
            shift = (after[layer.bias].astype(np.float64) - before[layer.bias]) / factor
            bias = shift if module.bias is None else module.bias.detach().double().numpy() + shift
            module.bias = nn.Parameter(torch.from_numpy(bias).to(module.weight), requires_grad=False)
    return network


def _factor(weight: Array, layer: Layer, source: dict[str, Array]) -> Array | None:
    """What batch normalisation multiplied each output channel by; None where this is another module's weight."""
    old = _channels_first(source[layer.weight], layer, source, weight.shape)
    axes = tuple(range(1, weight.ndim))
    squares = (weight**2).sum(axes)
    # A channel of zeros says nothing of its factor, and every factor fits it.
    factor = np.where(squares > 0, (old * weight).sum(axes) / np.where(squares > 0, squares, 1), 1)
    factor = np.where(factor == 0, 1, factor)
    spread = factor.reshape(-1, *[1] * (weight.ndim - 1))
    return factor if np.abs(old - weight * spread).max() <= 1e-4 * np.abs(old).max() else None


def _channels_first(values: Array, layer: Layer, source: dict[str, Array], shape: tuple[int, ...]) -> Array:
    values = values.astype(np.float64)
    # Some tools store the weight of a Gemm transposed.
    values = values if values.shape == source[layer.weight].shape else values.T
    values = values.T if layer.transposed else values
    return values.reshape(shape)
