"""Copies of timm models, where timm is installed; the full table is ``examples/benchmarks/shadow.py parity``."""

from __future__ import annotations

import pytest
import torch
from shadow_models import cosine, gradient

from singaudit.classifier.shadow.module import shadow_copy
from singaudit.torchvision_import import import_torchvision

import_torchvision()
timm = pytest.importorskip("timm")


@pytest.mark.slow
@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "levit_128s", "ghostnet_100", "vit_tiny_patch16_224"])
def test_timm_exports_are_copied(name, dynamic):
    import io

    torch.manual_seed(0)
    network = timm.create_model(name, pretrained=False).eval().requires_grad_(False)
    x = torch.randn(2, 3, 224, 224)
    buffer = io.BytesIO()
    axes = {"image": {0: "n"}} if dynamic else None
    torch.onnx.export(network, (x,), buffer, dynamo=False, opset_version=17, input_names=["image"], dynamic_axes=axes)
    import onnx

    copy = shadow_copy(onnx.load_from_string(buffer.getvalue()))
    (value, grad), (expected, expected_gradient) = gradient(copy, x), gradient(network, x)
    assert float((value - expected).abs().max() / (expected.max() - expected.min())) < 1e-4
    assert cosine(grad, expected_gradient) > 0.99
