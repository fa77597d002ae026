"""What TensorFlow (channels last) and Paddle export is copied and its head found; the files are theirs.

``examples/benchmarks/shadow_exports.py`` made the files of ``exports/`` with tf2onnx 1.17 and paddle2onnx 2.1: values
and gradients are the native frameworks' own.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from singaudit.classifier.options import ModelOptions
from singaudit.classifier.sandbox.onnx_classifier import open_onnx
from singaudit.classifier.shadow.module import shadow_copy

FOLDER = Path(__file__).parent / "exports"


@pytest.mark.parametrize("name", ["tiny_tensorflow", "tiny_paddle"])
def test_values_and_gradients_are_the_native_frameworks(name: str) -> None:
    native = np.load(FOLDER / f"{name}.npz", allow_pickle=False)
    leaf = torch.from_numpy(native["x"]).requires_grad_()
    value = shadow_copy(FOLDER / f"{name}.onnx")(leaf)[0]
    weighed = (torch.log(value + 1e-12) if native["softmax"] else value) * torch.from_numpy(native["w"])
    weighed.sum().backward()
    assert leaf.grad is not None
    a, b = leaf.grad.double().numpy().ravel(), native["gradient"].astype(np.float64).ravel()
    assert np.abs(value.detach().numpy() - native["y"]).max() < 1e-4 * np.ptp(native["y"])
    assert a @ b > 0.9999 * np.linalg.norm(a) * np.linalg.norm(b)


@pytest.mark.parametrize(
    ("name", "layout", "activation", "stated"),
    [("tiny_tensorflow", "nhwc", "softmax", True), ("tiny_paddle", "nchw", "softmax", False)],
)
def test_their_heads_are_found_and_certified(name: str, layout: str, activation: str, stated: bool) -> None:
    classifier = open_onnx(FOLDER / f"{name}.onnx", ModelOptions(preprocess="scale=1,mean=0", threads=1))
    native = np.load(FOLDER / f"{name}.npz", allow_pickle=False)
    head = classifier.head
    assert head.weight.shape == (5, 16)
    assert classifier.preprocessing.layout == layout
    assert (head.activation, head.activation_stated) == (activation, stated)
    features, logits = classifier.forward(native["x"])
    np.testing.assert_allclose(features @ head.weight.T + head.bias, logits, atol=1e-5 * np.abs(logits).max())
    if not native["softmax"]:
        np.testing.assert_allclose(logits, native["y"], atol=1e-5)
    assert classifier.certify(native["x"]).status == "passed"
