"""timm:NAME and torchvision:NAME: published weights, their preprocessing and their class names."""

import json
import subprocess
import sys

import pytest
import torch
from hub_server import COMMIT, serve
from safetensors.torch import save_file
from tiny_networks import images, native, network

from singaudit.classifier.class_names import class_names
from singaudit.classifier.convert.from_timm import timm_network
from singaudit.classifier.openers import torchvision as torchvision_models
from singaudit.classifier.openers.table import open_classifier
from singaudit.config import AuditConfig
from singaudit.errors import ModelError

NAME = "test_resnet.r160_in1k"
SMALL = "shufflenet_v2_x0_5"


def test_a_timm_name_is_fetched_with_its_preprocessing_and_imagenets_names(tmp_path):
    (tmp_path / "repo").mkdir()
    save_file(network(1000).state_dict(), tmp_path / "repo" / "model.safetensors")
    with serve() as hub:
        hub.add(f"timm/{NAME}", tmp_path / "repo")
        done = subprocess.run(
            [sys.executable, "-m", "singaudit", "inspect", f"timm:{NAME}", "--format", "json"],
            env=hub.environment(tmp_path / "home"),
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["description"]["revision"] == f"timm/{NAME}@{COMMIT}"
    assert facts["preprocessing"] == {
        "settings": facts["preprocessing"]["settings"],
        "source": "timm pretrained_cfg",
        "guessed": [],
    }
    assert "size=160" in facts["preprocessing"]["settings"]
    assert facts["class_names"][:2] == ["tench, Tinca tinca", "goldfish, Carassius auratus"]
    assert facts["head"]["classes"] == 1000


def test_timm_weights_that_lack_something_are_not_filled_in(tmp_path):
    state = network(1000).state_dict()
    save_file({n: t for n, t in state.items() if not n.startswith("fc.")}, tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match=r"do not fit|lack"):
        timm_network([str(tmp_path / "w.safetensors")], NAME, {})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm:no_such_model", "timm has no model named"),
        ("timm:test_resnet.no_tag", "timm has no model named"),
        ("timm:", "expected a name after timm:"),
        ("torchvision:resnet81", "no classifier named 'resnet81'"),
        ("torchvision:fcn_resnet50", "no classifier named"),
        ("torchvision:resnet18@NONE", "no weights 'NONE' for resnet18"),
    ],
)
def test_names_that_are_not_published_say_what_is_near(name, message):
    with pytest.raises(ModelError, match=message) as caught:
        open_classifier(name)
    assert caught.value.hint


def test_a_torchvision_name_brings_its_transforms_and_categories(tmp_path, monkeypatch):
    from torchvision import models

    torch.manual_seed(0)
    module = models.get_model(SMALL, weights=None).eval()
    path = tmp_path / "weights.pth"
    torch.save(module.state_dict(), path)
    # The server of the published weights is not reached from here; all else is as it is.
    monkeypatch.setattr(torchvision_models, "from_url", lambda url, caller, progress: path)
    classifier = open_classifier(f"torchvision:{SMALL}")
    x = images((3, 224, 224), 2)
    want = native(module, x)
    assert abs(classifier.forward(x)[1] - want).max() < 1e-5 * abs(want).max()
    how = classifier.preprocessing
    assert (how.height, round(how.crop, 3), how.mean, how.guessed) == (224, 0.875, (0.485, 0.456, 0.406), ())
    assert how.source == "torchvision IMAGENET1K_V1"
    names, source = class_names(AuditConfig(model="x"), classifier)
    assert (names[0], source) == ("tench", "torchvision IMAGENET1K_V1")
    assert len(set(names)) == 1000
