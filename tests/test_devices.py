"""What the word after ``--device`` means to torch and to ONNX Runtime; audits on a graphics card where there is one."""

from __future__ import annotations

import json
import subprocess
import sys

import onnxruntime
import pytest
import torch

from singaudit.classifier.graph import session
from singaudit.errors import ConfigError
from singaudit.language.encoders.table import open_encoder
from singaudit.machine import on_device, torch_device

CARD = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def audited(device, out, *more):
    command = [
        "run", "builtin:leaky", "--images", "shapes:2000", "--vlm", "builtin:shapes", "--device", device,
        "--gate", "finding[colour] not in (strong, partial)", "--cache", "off", "--report", "json", "-o", out,
    ]  # fmt: skip
    done = subprocess.run([sys.executable, "-m", "singaudit", *map(str, [*command, *more])], capture_output=True)
    assert done.returncode == 1, done.stderr  # what the leaky classifier's gate gives
    return json.loads((out / "result.json").read_text())


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_a_card_that_is_not_there_is_told_with_what_to_do():
    with pytest.raises(ConfigError, match="torch cannot use cuda here") as caught:
        on_device(torch.nn.Linear(2, 2), "cuda")
    assert "--device cpu" in caught.value.hint


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_a_language_model_is_not_blamed_for_a_card_that_is_not_there():
    with pytest.raises(ConfigError, match="torch cannot use cuda here"):
        open_encoder("builtin:shapes", device="cuda")


def test_the_cpu_stays_the_cpu():
    assert session.providers("cpu") == ("CPUExecutionProvider",)
    assert torch_device("cpu") == "cpu"
    assert session.why_unusable("CPUExecutionProvider") is None


def test_a_provider_that_this_onnx_runtime_lacks_is_unusable_with_the_reason():
    lacking = "CoreMLExecutionProvider"
    if lacking in onnxruntime.get_available_providers():
        lacking = "ROCMExecutionProvider"
    assert lacking in session.why_unusable(lacking)


def test_auto_leaves_the_classifier_on_the_cpu_where_onnx_runtime_cannot_use_the_card(monkeypatch):
    # torch has a card here as far as this module is told; the real ONNX Runtime is asked.
    monkeypatch.setattr(session, "cuda_here", lambda: True)
    usable = session.why_unusable(session.CUDA) is None
    assert session.providers("auto")[0] == ("CUDAExecutionProvider:0" if usable else "CPUExecutionProvider")


def test_a_card_is_named_with_its_number():
    assert session.providers("cuda:1") == ("CUDAExecutionProvider:1", "CPUExecutionProvider")


@CARD
def test_an_audit_on_the_card_finds_what_one_on_the_cpu_finds(tmp_path):
    there = audited("auto", tmp_path / "there", "--generate", "4", "--toward", "colour")
    here = audited("cpu", tmp_path / "here")
    assert "NVIDIA" in there["reproduce"]["devices"]["torch"]
    assert there["certificate"]["status"] == "passed"
    assert there["verdict"]["status"] == here["verdict"]["status"]
    levels = [{f["group"]: f["finding"] for f in result["findings"]} for result in (there, here)]
    assert levels[0] == levels[1]
    assert there["pictures"]


@CARD
def test_an_audit_on_the_card_repeats_its_numbers(tmp_path):
    first, second = (audited("cuda", tmp_path / name) for name in ("first", "second"))
    for result in (first, second):
        result.pop("reproduce"), result.pop("checksum")
    assert first == second
