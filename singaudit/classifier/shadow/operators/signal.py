"""Signal processing (ONNX operator specification: DFT, STFT, HannWindow, HammingWindow, BlackmanWindow)."""

from __future__ import annotations

import math

import torch
from onnx import TensorProto
from torch import Tensor

from singaudit.classifier.shadow.carriers import CARRIERS, working
from singaudit.classifier.shadow.operators.registry import Kernel, Site, from_front, operator

_WINDOWS = {
    "HannWindow": (0.5, 0.5, 0.0),
    "HammingWindow": (25 / 46, 21 / 46, 0.0),
    "BlackmanWindow": (0.42, 0.5, 0.08),
}
# a - b cos(2 pi n / N) + c cos(4 pi n / N)


def _register_window(kind: str, a: float, b: float, c: float) -> None:
    @operator(
        kind,
        17,
        attributes=("output_datatype", "periodic"),
        host=(0,),
        creates=True,
        types=lambda site: (site.get("output_datatype", TensorProto.FLOAT),),
    )
    def build(site: Site) -> Kernel:
        dtype, periodic = CARRIERS[site.output_types[0]], site.flag("periodic", 1)

        def run(size: int) -> Tensor:
            count = size if periodic else size - 1
            angle = torch.arange(size, dtype=torch.float64) * (2 * math.pi / count)
            return (a - b * torch.cos(angle) + c * torch.cos(2 * angle)).to(working(dtype))

        return run


for _kind, _terms in _WINDOWS.items():
    _register_window(_kind, *_terms)


def _transform(x: Tensor, length: int | None, axis: int, inverse: bool, onesided: bool) -> Tensor:
    """Fourier transform of (..., 1) real or (..., 2) complex values along ``axis``; returns (..., 2) or (..., 1)."""
    axis = from_front(axis, x.ndim)
    values = torch.view_as_complex(x.contiguous()) if x.shape[-1] == 2 else x[..., 0]
    if inverse and onesided:
        return torch.fft.irfft(values, length, axis).unsqueeze(-1)
    if inverse:
        result = torch.fft.ifft(values, length, axis)
    elif onesided:
        result = torch.fft.rfft(values, length, axis)
    else:
        result = torch.fft.fft(values, length, axis)
    return torch.view_as_real(result)


_DFT = ("inverse", "onesided")


@operator("DFT", 17, attributes=(*_DFT, "axis"), host=(1,))
def dft_by_attribute(site: Site) -> Kernel:
    """Fourier transform before opset 20: the axis is an attribute."""
    inverse, onesided, axis = site.flag("inverse", 0), site.flag("onesided", 0), site.get("axis", 1)
    return lambda x, length=None: _transform(x, length, axis, inverse, onesided)


@operator("DFT", 20, attributes=_DFT, host=(1, 2))
def dft(site: Site) -> Kernel:
    """Fourier transform along one axis."""
    inverse, onesided = site.flag("inverse", 0), site.flag("onesided", 0)
    return lambda x, length=None, axis=-2: _transform(x, length, axis, inverse, onesided)


@operator("STFT", 17, attributes=("onesided",), host=(1, 3))
def stft(site: Site) -> Kernel:
    """Fourier transforms of overlapping windows."""
    onesided = site.flag("onesided", 1)

    def run(x: Tensor, step: int, window: Tensor | None = None, length: int | None = None) -> Tensor:
        size = length or (window.shape[0] if window is not None else x.shape[1])
        frames = x.unfold(1, size, step).movedim(-1, 2)
        if window is not None:
            frames = frames * window.view(1, 1, -1, 1)
        return _transform(frames, None, 2, False, onesided)

    return run
