"""Checkpoints are opened end to end: their own logits, their own name and hash, guesses that are called guesses."""

import hashlib

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny_networks import ARCH, images, native, network, write_json

from singaudit.classifier.certify import certify_on_noise
from singaudit.classifier.class_names import class_names
from singaudit.classifier.openers.table import open_classifier
from singaudit.classifier.options import ModelOptions
from singaudit.classifier.sandbox.process import Limits
from singaudit.config import AuditConfig
from singaudit.errors import ConfigError, ModelError

SMALL = "size=64,mean=0.5,std=0.25,mode=squash"


def close(classifier, module, shape):
    x = images(shape, 5)
    features, logits = classifier.forward(x)
    want = native(module, x)
    scale = np.abs(want).max()
    assert np.abs(logits - want).max() < 1e-5 * scale
    assert np.abs(features @ classifier.head.weight.T + classifier.head.bias - want).max() < 1e-5 * scale


def test_a_training_checkpoint_gives_its_averaged_weights_and_is_what_the_user_named(tmp_path):
    path, module = tmp_path / "best.pth.tar", network(seed=1)
    torch.save({"arch": ARCH, "state_dict": network().state_dict(), "state_dict_ema": module.state_dict()}, path)
    classifier = open_classifier(str(path), ModelOptions(preprocess=SMALL))
    close(classifier, module, (3, 64, 64))
    assert (classifier.name, classifier.format) == ("best.pth.tar", "checkpoint")
    assert classifier.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert "averaged over training (EMA)" in classifier.description["weights"]
    assert "named in the file" in classifier.description["architecture"]
    assert "logits differ from the torch module's by at most" in classifier.description["export check"]
    assert classifier.preprocessing.guessed == ()
    assert classifier.preprocessing.source == "--preprocess"
    assert certify_on_noise(classifier, "cpu").status == "passed"
    graph = classifier.graph_path
    assert graph.is_file()
    del classifier
    assert not graph.exists()


@pytest.mark.parametrize(("dtype", "stored"), [(torch.float16, "float16"), (torch.bfloat16, "bfloat16")])
def test_half_precision_is_computed_in_float32_and_counts_for_the_rank(tmp_path, dtype, stored):
    module = network(in_chans=1)
    state = {name: t.to(dtype) if t.is_floating_point() else t for name, t in module.state_dict().items()}
    save_file(state, tmp_path / "model.safetensors")
    module.load_state_dict(state)
    classifier = open_classifier(str(tmp_path / "model.safetensors"), ModelOptions(arch=ARCH, preprocess="size=32"))
    close(classifier, module, (1, 32, 32))
    assert classifier.head.stored_dtype == stored
    assert classifier.preprocessing.channels == "gray"
    assert {"mean", "std"} <= set(classifier.preprocessing.guessed)
    assert "a guess" in classifier.preprocessing.source


def test_a_configuration_beside_the_weights_states_everything(tmp_path):
    module = network(3)
    save_file(module.state_dict(), tmp_path / "model.safetensors")
    config = {
        "architecture": ARCH,
        "num_classes": 3,
        "label_names": ["ant", "bee", "ant"],
        "pretrained_cfg": {
            "mean": [0.1, 0.2, 0.3],
            "std": [0.5, 0.5, 0.5],
            "input_size": [3, 48, 40],
            "crop_pct": 1.0,
            "interpolation": "bicubic",
            "crop_mode": "squash",
        },
    }
    write_json(tmp_path / "config.json", config)
    classifier = open_classifier(str(tmp_path))
    close(classifier, module, (3, 48, 40))
    how = classifier.preprocessing
    assert (how.height, how.width, how.mean, how.interpolation) == (48, 40, (0.1, 0.2, 0.3), "bicubic")
    assert (how.guessed, how.source) == ((), "config.json beside the model")
    assert classifier.class_names == ("ant", "bee", "ant")
    assert class_names(AuditConfig(model="m"), classifier)[0] == ("ant (0)", "bee", "ant (2)")
    assert classifier.class_names_source == "config.json beside the model"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (ModelOptions(arch="resnet81"), "w.pt: no architecture named 'resnet81'"),
        (ModelOptions(limits=Limits(seconds=0.01)), "not read and exported within 0.04 s"),
        (ModelOptions(limits=Limits(memory=0.05)), "crashed|memory"),
    ],
)
def test_what_cannot_be_converted_is_one_message_that_names_the_file(tmp_path, options, message):
    torch.save(network().state_dict(), tmp_path / "w.pt")
    with pytest.raises(ModelError, match=message):
        open_classifier(str(tmp_path / "w.pt"), options)


def test_an_architecture_is_not_taken_for_what_brings_its_own(models):
    with pytest.raises(ConfigError, match="--arch is for files that hold weights alone"):
        open_classifier(str(models / "clean.onnx"), ModelOptions(arch="resnet18"))
