"""On a graphics card the copy computes what it computes on the CPU. Skipped where there is none."""

from __future__ import annotations

import tomllib

import backend_suite
import onnx
import pytest
import torch
from shadow_models import FAMILIES, build, cosine, export, gradient, images, quantised, range_share

from singaudit.classifier.graph.session import CUDA, providers, why_unusable
from singaudit.classifier.options import ModelOptions
from singaudit.classifier.sandbox.onnx_classifier import open_onnx
from singaudit.classifier.shadow.certificate import certify
from singaudit.classifier.shadow.module import shadow_copy
from singaudit.machine import on_device

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dynamic", [False, True])
def test_values_and_gradients_are_those_of_the_cpu(family, dynamic):
    model = export(build(family), dynamic=dynamic)
    value, grad = gradient(shadow_copy(model), images())
    there, grad_there = gradient(on_device(shadow_copy(model), "cuda"), images().cuda())
    assert there.device.type == "cuda"
    assert range_share(there.cpu(), value) < 1e-5
    assert cosine(grad_there.cpu(), grad) > 0.99999


@pytest.mark.parametrize("family", FAMILIES)
def test_numbers_repeat_there(family):
    copy = on_device(shadow_copy(export(build(family))), "cuda")
    first, second = (gradient(copy, images().cuda()) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


def test_a_compiled_copy_computes_the_same_there():
    model = export(build(FAMILIES[0]), dynamic=False)
    copy = on_device(shadow_copy(model), "cuda")
    value, grad = gradient(copy, images().cuda())
    there, grad_there = gradient(torch.compile(copy, fullgraph=True), images().cuda())
    assert range_share(there, value) < 1e-5
    assert cosine(grad_there, grad) > 0.9999


@pytest.mark.parametrize("form", ["QDQ", "QOperator", "dynamic"])
def test_int8_copies_move_too(form, tmp_path):
    path = quantised(export(build(FAMILIES[0])), form, tmp_path)
    there, grad = gradient(on_device(shadow_copy(path), "cuda"), images().cuda())
    value, expected = gradient(shadow_copy(path), images())
    assert range_share(there.cpu(), value) < 6e-2
    assert cosine(grad.cpu(), expected) > 0.9


def test_node_tests_pass_there_but_for_the_table():
    expected = tomllib.loads(backend_suite.TABLE.read_text())
    results = backend_suite.outcomes(False, lambda case: True, "cuda")
    assert set(results["wrong"]) <= set(expected["deviating"])
    assert len(results["passed"]) >= 1770


def test_the_certificate_is_made_there(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(export(build(FAMILIES[0]), dynamic=True), path)
    found = certify(path, inputs=images(6).numpy(), device="cuda")
    assert found.status == "passed"
    assert found.max_logit_difference < 1e-5


def test_the_classifier_runs_there_where_onnx_runtime_can(tmp_path):
    if (reason := why_unusable(CUDA)) is not None:
        pytest.skip(reason)
    path = tmp_path / "model.onnx"
    onnx.save(export(build(FAMILIES[0]), dynamic=True), path)
    assert providers("auto") == providers("cuda")
    classifier = open_onnx(path, ModelOptions(providers=providers("cuda"), preprocess="mean=0.5,std=0.5"))
    here = open_onnx(path, ModelOptions(preprocess="mean=0.5,std=0.5"))
    x = images(5).numpy()
    torch.testing.assert_close(
        torch.from_numpy(classifier.forward(x)[0]), torch.from_numpy(here.forward(x)[0]), rtol=1e-4, atol=1e-4
    )


def test_on_auto_the_classifier_runs_on_the_cpu_where_onnx_runtime_cannot_use_the_card():
    if why_unusable(CUDA) is None:
        pytest.skip("ONNX Runtime can use the card")
    assert providers("auto") == ("CPUExecutionProvider",)
