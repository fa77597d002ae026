"""Files that are programs: refused, or with --allow-code run to learn what images they take."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from tiny_networks import Net, native

from singaudit.classifier.convert.from_program import program_network
from singaudit.classifier.openers.table import open_classifier
from singaudit.classifier.options import ModelOptions
from singaudit.errors import ConfigError, ModelError

ALLOWED = ModelOptions(allow_code=True, preprocess="size=24")


def script(module, path, shape, dtype=torch.float32):
    torch.jit.save(torch.jit.trace(module.eval(), torch.ones(2, *shape, dtype=dtype)), path)
    return str(path)


def exported(module, path, batch):
    shapes = None if batch else ({0: torch.export.Dim("batch")},)
    torch.export.save(torch.export.export(module, (torch.zeros(batch or 2, 3, 24, 24),), dynamic_shapes=shapes), path)
    return str(path)


@pytest.mark.parametrize("kind", ["TorchScript", "exported program", "pickled module"])
def test_without_permission_programs_are_refused_and_nothing_in_them_runs(tmp_path, kind):
    net = Net().eval()
    if kind == "TorchScript":
        path = script(net, tmp_path / "m.pt", (3, 24, 24))
    elif kind == "exported program":
        path = exported(net, tmp_path / "m.pt2", None)
    else:
        path = str(tmp_path / "m.pt")
        torch.save(net, path)
    with pytest.raises(ModelError, match=r"code that runs|pickled program") as caught:
        open_classifier(path)
    assert "only if you trust the file as much as a program, pass --allow-code" in caught.value.hint


@pytest.mark.parametrize(
    ("options", "traced", "shape"),
    [
        ({}, (3, 24, 24), (3, 224, 224)),
        ({"channels": 1}, (1, 24, 24), (1, 224, 224)),
        ({"layout": "nhwc"}, (24, 24, 3), (224, 224, 3)),
        ({"dtype": "uint8"}, (3, 24, 24), (3, 224, 224)),
        ({"layout": "nhwc", "dtype": "uint8", "channels": 1}, (24, 24, 1), (224, 224, 1)),
    ],
)
def test_what_a_module_takes_is_found_by_trying(tmp_path, options, traced, shape):
    dtype, layout = options.get("dtype", "float32"), options.get("layout", "nchw")
    path = script(Net(**options), tmp_path / "m.pt", traced, getattr(torch, dtype))
    found = program_network(path, "TorchScript", {})
    assert (found.shape, found.dtype, found.layout) == (shape, dtype, layout)
    assert found.size_guessed


def test_the_only_size_a_module_takes_is_no_guess(tmp_path):
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(28 * 28, 10))
    found = program_network(script(module, tmp_path / "m.pt", (1, 28, 28)), "TorchScript", {})
    assert (found.shape, found.size_guessed) == ((1, 28, 28), False)


def test_a_module_that_takes_no_images_says_what_was_tried(tmp_path):
    path = script(torch.nn.Linear(7, 3), tmp_path / "m.pt", (7,))
    with pytest.raises(ModelError, match=r"takes no batch of images.*32x32"):
        program_network(path, "TorchScript", {"size": (32, 32)})


def test_a_script_of_bytes_in_channels_last_with_a_sigmoid_is_audited_as_it_is(tmp_path):
    net = Net(classes=1, layout="nhwc", dtype="uint8", sigmoid=True).eval()
    path = script(net, tmp_path / "m.pt", (24, 24, 3), torch.uint8)
    classifier = open_classifier(path, ALLOWED)
    x = np.random.default_rng(0).integers(0, 256, (5, 24, 24, 3), dtype=np.uint8)
    features, logits = classifier.forward(x)
    assert abs(1 / (1 + np.exp(-logits)) - native(net, x)).max() < 1e-6
    assert abs(features @ classifier.head.weight.T + classifier.head.bias - logits).max() < 1e-5
    assert (classifier.head.activation, classifier.head.weight.shape) == ("sigmoid", (1, 12))
    assert (classifier.preprocessing.layout, classifier.preprocessing.dtype) == ("nhwc", "uint8")
    assert "run with --allow-code" in classifier.description["code"]


@pytest.mark.parametrize("batch", [None, 2])
def test_an_exported_program_keeps_its_batch(tmp_path, batch):
    net = Net().eval()
    classifier = open_classifier(exported(net, tmp_path / "m.pt2", batch), ALLOWED)
    x = np.random.default_rng(0).standard_normal((3, 3, 24, 24)).astype(np.float32)
    assert abs(classifier.forward(x)[1] - native(net, x)).max() < 1e-5


def test_a_pickled_module_finds_its_class_where_the_user_works_and_says_so_when_it_does_not(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "class Mine(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.head = torch.nn.Linear(3, 4)\n"
        "    def forward(self, x):\n"
        "        return {'embedding': x.mean((2, 3)), 'logits': self.head(x.mean((2, 3)))}\n"
    )
    save = "import torch, mine; torch.save({'epoch': 1, 'model': mine.Mine()}, 'm.pt')"
    subprocess.run([sys.executable, "-c", save], cwd=tmp_path, check=True)
    command = [sys.executable, "-m", "singaudit", "inspect", "m.pt", "--allow-code", "--format", "json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["description"]["module"] == "Mine"
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    with pytest.raises(ModelError, match="No module named 'mine'") as caught:
        program_network(str(tmp_path / "m.pt"), "pickled module", {})
    assert "importable" in caught.value.hint


def test_code_that_hangs_or_dies_ends_in_one_message(tmp_path):
    from singaudit.classifier.sandbox.process import Limits

    class Dies(torch.nn.Module):
        def __reduce__(self):
            return os._exit, (3,)

    torch.save({"model": Dies()}, tmp_path / "m.pt")
    with pytest.raises(ModelError, match="crashed its process"):
        open_classifier(str(tmp_path / "m.pt"), ModelOptions(allow_code=True, limits=Limits(seconds=60)))


def test_an_architecture_is_not_taken_for_a_program(tmp_path):
    path = script(Net(), tmp_path / "m.pt", (3, 24, 24))
    with pytest.raises(ConfigError, match="--arch"):
        open_classifier(path, ModelOptions(arch="resnet18", allow_code=True))
