"""`singaudit run` with torch models of unusual inputs, as people run it: labelled folders, accuracy, warnings."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_networks import ARCH, Net, network

from singaudit.classifier.openers.table import open_classifier


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Eight images of noise in each of three classes."""
    root = tmp_path_factory.mktemp("labelled")
    generator = np.random.default_rng(0)
    for name in ("ant", "bee", "cat"):
        (root / name).mkdir()
        for index in range(8):
            pixels = generator.integers(0, 256, (40, 30, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{index}.png")
    return root


def run(model, folder, out, *options):
    command = [
        sys.executable, "-m", "singaudit", "run", str(model), "--classes", "ant,bee,cat", "--images", str(folder),
        "--vlm", "builtin:shapes", "--report", "json", "-o", str(out), "-q", *options,
    ]  # fmt: skip
    done = subprocess.run(command, cwd=out.parent, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 4, done.stderr  # far too few images to conclude anything
    return json.loads((out / "result.json").read_text())


def test_a_script_of_gray_bytes_is_audited_its_chance_accuracy_and_its_guesses_said(tmp_path, folder):
    torch.manual_seed(0)
    net = Net(layout="nhwc", channels=1, dtype="uint8", sigmoid=True).eval()
    torch.jit.save(torch.jit.trace(net, torch.zeros(2, 24, 24, 1, dtype=torch.uint8)), tmp_path / "m.pt")
    found = run(tmp_path / "m.pt", folder, tmp_path / "out", "--allow-code", "--preprocess", "size=24,mode=squash")
    assert found["model"]["name"] == "m.pt"
    assert found["model"]["head"]["activation"] == "sigmoid"
    assert found["data"]["labels"] == "true"
    assert found["data"]["accuracy"]["low"] <= found["data"]["chance_accuracy"]
    assert [text for text in found["warnings"] if "no better than chance" in text]
    assert "--allow-code" in found["reproduce"]["command"].split()
    assert "True" not in found["reproduce"]["command"]
    assert "images" in found["certificate"]["ran_on"]


def test_a_checkpoint_is_audited_with_its_architecture_in_the_command_and_its_guesses_as_warnings(tmp_path, folder):
    torch.save(network(3).state_dict(), tmp_path / "w.pt")
    found = run(tmp_path / "w.pt", folder, tmp_path / "out", "--arch", ARCH)
    assert f"--arch {ARCH}" in found["reproduce"]["command"]
    assert [text for text in found["warnings"] if "preprocessing was guessed: mean, std" in text]
    assert found["geometry"]["null_dim"] == 93


def test_onnx_files_of_gray_bytes_in_channels_last_with_one_sigmoid_logit_open_as_they_are(tmp_path):
    net = Net(classes=1, layout="nhwc", channels=1, sigmoid=True).eval()
    torch.onnx.export(
        net,
        (torch.zeros(2, 24, 24, 1),),
        str(tmp_path / "m.onnx"),
        dynamo=False,
        opset_version=17,
        input_names=["image"],
        dynamic_axes={"image": {0: "n"}},
    )
    classifier = open_classifier(str(tmp_path / "m.onnx"))
    assert (classifier.head.activation, len(classifier.head.weight)) == ("sigmoid", 1)
    assert (classifier.preprocessing.layout, classifier.preprocessing.channels) == ("nhwc", "gray")
