"""Features through the shadow copy are those of the deployed model, whatever tensors and axes hold them."""

import numpy as np
import pytest
import torch
from pictured_graphs import GRAPHS

from singaudit.classifier.options import ModelOptions
from singaudit.classifier.sandbox.onnx_classifier import open_onnx
from singaudit.pictures.features import feature_copy


@pytest.mark.parametrize("graph", GRAPHS, ids=lambda g: g.__name__)
def test_features_are_the_classifiers_own_and_carry_gradients(tmp_path, graph):
    path = graph(tmp_path / "model.onnx")
    classifier = open_onnx(path, ModelOptions(preprocess="size=8,mean=0,std=1"))
    shape = (5, 8, 8, 3) if classifier.preprocessing.layout == "nhwc" else (5, 3, 8, 8)
    inputs = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    copy = feature_copy(classifier)
    leaf = torch.from_numpy(inputs).requires_grad_()
    features = copy(leaf)
    np.testing.assert_allclose(features.detach().numpy(), classifier.forward(inputs)[0], atol=1e-4)
    features[3].square().sum().backward()
    reached = leaf.grad.flatten(1).abs().sum(dim=1)
    assert reached[3] > 0
    assert (reached[[0, 1, 2, 4]] == 0).all()
