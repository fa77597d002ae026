"""On a graphics card the copy computes what it computes on the CPU. Skipped where there is none."""

from __future__ import annotations

import onnx
import pytest
import torch
from shadow_models import FAMILIES, build, cosine, export, gradient, images
from test_shadow_models import quantised, range_share

from singaudit.classifier.naming import providers
from singaudit.classifier.onnx_file import open_onnx
from singaudit.classifier.shadow.certificate import certify
from singaudit.classifier.shadow.module import shadow_copy

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dynamic", [False, True])
def test_values_and_gradients_are_those_of_the_cpu(family, dynamic):
    model = export(build(family), dynamic=dynamic)
    value, grad = gradient(shadow_copy(model), images())
    there, grad_there = gradient(shadow_copy(model).to("cuda"), images().cuda())
    assert there.device.type == "cuda"
    assert range_share(there.cpu(), value) < 1e-3  # cuDNN may round to TF32
    assert cosine(grad_there.cpu(), grad) > 0.999


@pytest.mark.parametrize("form", ["QDQ", "QOperator", "dynamic"])
def test_int8_copies_move_too(form, tmp_path):
    path = quantised(export(build(FAMILIES[0])), form, tmp_path)
    there, grad = gradient(shadow_copy(path).to("cuda"), images().cuda())
    value, expected = gradient(shadow_copy(path), images())
    assert range_share(there.cpu(), value) < 6e-2
    assert cosine(grad.cpu(), expected) > 0.9


def test_the_certificate_is_made_there(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(export(build(FAMILIES[0]), dynamic=True), path)
    assert certify(path, inputs=images(6).numpy(), device="cuda").gradient_cosine > 0.99
    classifier = open_onnx(path, providers=providers("cuda"), preprocess="mean=0.5,std=0.5")
    here = open_onnx(path, preprocess="mean=0.5,std=0.5")
    x = images(5).numpy()
    torch.testing.assert_close(
        torch.from_numpy(classifier.forward(x)[0]), torch.from_numpy(here.forward(x)[0]), rtol=1e-4, atol=1e-4
    )
