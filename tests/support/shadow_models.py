"""Small networks in the style of the families people deploy, and their ONNX exports."""

from __future__ import annotations

import io
import warnings

import onnx
import torch
from onnxruntime import quantization
from torch import Tensor, nn
from torch.nn import functional


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, squeeze and excitation, projection (MobileNetV3)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.Hardswish())
        self.expand = nn.Sequential(nn.Conv2d(8, 24, 1), nn.BatchNorm2d(24), nn.Hardswish())
        self.depthwise = nn.Sequential(nn.Conv2d(24, 24, 5, 1, 2, groups=24), nn.BatchNorm2d(24), nn.Hardswish())
        self.reduce, self.excite = nn.Conv2d(24, 8, 1), nn.Conv2d(8, 24, 1)
        self.project = nn.Sequential(nn.Conv2d(24, 8, 1), nn.BatchNorm2d(8))
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.depthwise(self.expand(x))
        gate = functional.hardsigmoid(self.excite(torch.relu(self.reduce(y.mean((2, 3), keepdim=True)))))
        x = x + self.project(y * gate)
        return self.head(functional.adaptive_avg_pool2d(x, 1).flatten(1))


class ConvNeXtLike(nn.Module):
    """Depthwise convolution, layer normalisation over channels, Gelu, layer scale."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 4, 4)
        self.depthwise = nn.Conv2d(16, 16, 7, padding=3, groups=16)
        self.norm = nn.LayerNorm(16)
        self.widen, self.narrow = nn.Linear(16, 64), nn.Linear(64, 16)
        self.scale = nn.Parameter(torch.full((16,), 0.5))
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.narrow(functional.gelu(self.widen(y))) * self.scale
        return self.head((x + y.permute(0, 3, 1, 2)).mean((2, 3)))


class Attention(nn.Module):
    """Multi-head self-attention; with ``window`` a learned bias and a mask are added to the scores (Swin)."""

    def __init__(self, width: int = 24, heads: int = 3, window: int = 0) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.bias = nn.Parameter(torch.randn(1, heads, window, window)) if window else None

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        scores = q * (c // self.heads) ** -0.5 @ k.transpose(-2, -1)
        if self.bias is not None:
            scores = scores + self.bias
        if mask is not None:
            scores = scores + mask
        return self.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(b, n, c))


class ViTBlock(nn.Module):
    """Patches, class token, one pre-norm transformer block."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 24, 8, 8)
        self.token, self.position = nn.Parameter(torch.randn(1, 1, 24)), nn.Parameter(torch.randn(1, 17, 24))
        self.norm1, self.norm2 = nn.LayerNorm(24), nn.LayerNorm(24)
        self.attention = Attention()
        self.mlp = nn.Sequential(nn.Linear(24, 96), nn.GELU(), nn.Linear(96, 24))
        self.head = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.position
        x = x + self.attention(self.norm1(x))
        x = x + self.mlp(self.norm2(x))
        return self.head(x[:, 0])


class ShiftedWindows(nn.Module):
    """A cyclic shift, attention within windows under a mask, and the shift undone (Swin)."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 24, 4, 4)
        self.attention = Attention(window=16)
        self.norm = nn.LayerNorm(24)
        mask = torch.zeros(4, 1, 16, 16)
        mask[1:, :, :8, 8:] = -100.0
        self.register_buffer("mask", mask)
        self.head = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.patch(x).permute(0, 2, 3, 1))
        b = x.shape[0]
        y = torch.roll(x, (-2, -2), (1, 2)).reshape(b, 2, 4, 2, 4, 24).permute(0, 1, 3, 2, 4, 5).reshape(-1, 16, 24)
        y = self.attention(y, self.mask.repeat(b, 1, 1, 1))
        y = y.reshape(b, 2, 2, 4, 4, 24).permute(0, 1, 3, 2, 4, 5).reshape(b, 8, 8, 24)
        return self.head((x + torch.roll(y, (2, 2), (1, 2))).mean((1, 2)))


class Grouped(nn.Module):
    """Weight standardisation, which exports as batch normalisation in training mode, and group normalisation (BiT)."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(16, 3, 3, 3))
        self.norm = nn.GroupNorm(4, 16)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.head = nn.Conv2d(16, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        weight = functional.batch_norm(
            self.weight.reshape(1, 16, -1), None, None, training=True, momentum=0.0, eps=1e-8
        )
        x = functional.conv2d(functional.pad(x, (0, 1, 0, 1)), weight.reshape_as(self.weight), stride=2)
        x = torch.relu(self.norm(self.pool(x)))
        return self.head(x.mean((2, 3), keepdim=True)).flatten(1)


class Gates(nn.Module):
    """Silu, PRelu, ceil-mode and average pooling, concatenation, resizing."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=2, dilation=2)
        self.prelu = nn.PReLU(8)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.silu(self.first(x))
        low = functional.max_pool2d(x, 3, 2, ceil_mode=True)
        high = functional.interpolate(self.prelu(self.second(low)), size=(32, 32), mode="bilinear")
        x = torch.cat([functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False), high], 1)
        return self.head(x.amax((2, 3)))


FAMILIES = (InvertedResidual, ConvNeXtLike, ViTBlock, ShiftedWindows, Grouped, Gates)


def build(family: type[nn.Module], seed: int = 0) -> nn.Module:
    """Return the network in evaluation mode with random weights and statistics that do something."""
    torch.manual_seed(seed)
    network = family().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0.0, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return network


def export(network: nn.Module, opset: int = 17, dynamic: bool = False, fold: bool = True) -> onnx.ModelProto:
    """Export by TorchScript for (2, 3, 32, 32) inputs, with a dynamic batch if asked."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.zeros(2, 3, 32, 32),),
            buffer,
            dynamo=False,
            opset_version=opset,
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": {0: "n"}, "logits": {0: "n"}} if dynamic else None,
            do_constant_folding=fold,
        )
    return onnx.load_from_string(buffer.getvalue())


def images(count: int = 2, seed: int = 0) -> Tensor:
    """Return standard normal images (count, 3, 32, 32)."""
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def gradient(module: nn.Module, x: Tensor, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return the first output and the gradient of a random weighting of it with respect to the input."""
    leaf = x.clone().requires_grad_()
    output = module(leaf)
    output = output[0] if isinstance(output, tuple) else output
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(seed))
    (grad,) = torch.autograd.grad((output * weights.to(output.device)).sum(), leaf)
    return output.detach(), grad


def cosine(a: Tensor, b: Tensor) -> float:
    """Return the cosine between two tensors, in float64."""
    a, b = a.double().flatten(), b.double().flatten()
    return float(a @ b / (a.norm() * b.norm()))


class Calibration(quantization.CalibrationDataReader):
    def __init__(self):
        self.batches = iter([{"image": images(2, seed).numpy()} for seed in range(8)])

    def get_next(self):
        return next(self.batches, None)


def range_share(a, b) -> float:
    return float((a - b).detach().abs().max() / (b.max() - b.min()).detach())


def quantised(model, form, tmp_path):
    source, target = tmp_path / "float.onnx", tmp_path / "int8.onnx"
    onnx.save(model, source)
    if form == "dynamic":
        quantization.quantize_dynamic(source, target)
    else:
        quantization.quantize_static(source, target, Calibration(), quant_format=quantization.QuantFormat[form])
    return target
