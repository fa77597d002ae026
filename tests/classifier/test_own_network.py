"""A network of one's own in one call: exported, described, opened."""

import numpy as np
import pytest

import singaudit
from singaudit.errors import ConfigError, ModelError

torch = pytest.importorskip("torch")


class Own(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU())
        self.last = torch.nn.Linear(8, 3)

    def forward(self, images):
        return self.last(self.trunk(images).mean((2, 3)))


def test_a_network_of_ones_own_is_written_with_names_and_preprocessing_and_opened(tmp_path):
    module = Own().train()
    path = tmp_path / "own.onnx"
    found = singaudit.export(
        module, torch.zeros(1, 3, 32, 32), path, classes=("cat", "dog", "bird"), preprocess="mean=0.5,std=0.25"
    )
    assert module.training
    assert found.class_names == ("cat", "dog", "bird")
    assert (found.preprocessing.mean, found.preprocessing.std, found.preprocessing.guessed) == ((0.5,), (0.25,), ())
    assert found.preprocessing.height == 32
    images = np.random.default_rng(0).standard_normal((4, 3, 32, 32)).astype(np.float32)
    with torch.inference_mode():
        theirs = module.eval()(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(found.forward(images)[1], theirs, atol=1e-5)
    np.testing.assert_allclose(found.head.weight, module.last.weight.detach().numpy(), rtol=1e-6)
    assert [item.name for item in tmp_path.iterdir()] == ["own.onnx"]


def test_what_cannot_be_exported_leaves_nothing_behind(tmp_path):
    with pytest.raises(ModelError, match="4 axes"):
        singaudit.export(Own(), torch.zeros(3, 32, 32), tmp_path / "m.onnx")
    with pytest.raises(ConfigError, match="more than once"):
        singaudit.export(Own(), torch.zeros(1, 3, 32, 32), tmp_path / "m.onnx", classes=("a", "a", "b"))
    assert list(tmp_path.iterdir()) == []
