"""Whatever a model does when it runs, singaudit lives on: crashes, hangs and greed end in one message that names it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from head_graphs import Build, C, M, endless_loop
from onnx import TensorProto

from singaudit.classifier.options import ModelOptions
from singaudit.classifier.sandbox.messages import SharedBytes, receive, send
from singaudit.classifier.sandbox.onnx_classifier import OnnxClassifier, open_onnx
from singaudit.classifier.sandbox.process import Limits
from singaudit.classifier.sandbox.stderr import StderrTail
from singaudit.errors import MachineError, ModelError


def well_behaved(folder: Path) -> Path:
    g = Build()
    return g.save(folder / "model.onnx", g.gemm(g.features())[0])


def trap(folder: Path) -> Path:
    """A model that loops without end on images brighter than any that it is opened with."""
    g = Build()
    f = g.features()
    bright = g.node("Greater", g.node("ReduceMax", "x", keepdims=0), g.const(np.float32(1e6)))
    return g.save(folder / "trap.onnx", g.gemm(endless_loop(g, f, bright))[0])


def child_of(classifier: OnnxClassifier) -> int:
    return classifier.process._process.pid


def images(classifier: OnnxClassifier, value: float = 0.5) -> np.ndarray:
    how = classifier.preprocessing
    return np.full((2, 3, how.height, how.width), value, np.float32)


def test_a_hang_that_only_some_images_cause_ends_in_a_message(tmp_path: Path) -> None:
    classifier = open_onnx(trap(tmp_path), ModelOptions(threads=1))
    assert classifier.forward(images(classifier))[1].shape == (2, C)
    classifier.process._seconds = 1.0
    started = time.monotonic()
    with pytest.raises(ModelError, match=r"trap\.onnx: the model did not run a batch within") as caught:
        classifier.forward(images(classifier, 1e7))
    assert time.monotonic() - started < 60  # half of what a batch may take by itself
    assert "--model-seconds" in caught.value.hint
    with pytest.raises(ModelError, match=r"trap\.onnx"):
        classifier.forward(images(classifier))


@pytest.mark.parametrize("what", ["forward", "logits_of", "certify"])
def test_a_crash_while_it_runs_ends_in_a_message(what: str, tmp_path: Path) -> None:
    classifier = open_onnx(well_behaved(tmp_path), ModelOptions(threads=1))
    os.kill(child_of(classifier), signal.SIGSEGV)
    given = np.zeros((2, M), np.float32) if what == "logits_of" else images(classifier)
    with pytest.raises(ModelError, match=r"model\.onnx: the model crashed its process .*signal 11"):
        getattr(classifier, what)(given)


def test_a_process_that_ends_by_itself_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = well_behaved(tmp_path)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "numpy.py").write_text(r"raise ImportError('numpy is \x1b[31mbroken\u202e here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "broken"))
    with pytest.raises(ModelError, match=r"exit status 1\); its last words: ImportError: numpy is \[31mbroken here"):
        open_onnx(path, ModelOptions(threads=1))


def test_last_words_are_the_end_of_any_amount_of_text() -> None:
    code = "import sys; sys.stderr.write('x' * 10_000_000 + '\\n' + 'y' * 900 + '\\n\\n \\n'); sys.exit(3)"
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) as process:
        words = StderrTail(process.stderr)
        assert process.wait(60) == 3
        assert words.line() == "y" * 200
    with subprocess.Popen([sys.executable, "-c", ""], stderr=subprocess.PIPE) as process:
        assert StderrTail(process.stderr).line() == ""


def test_a_process_that_the_system_kills_is_the_machines_failure(tmp_path: Path) -> None:
    classifier = open_onnx(well_behaved(tmp_path), ModelOptions(threads=1))
    os.kill(child_of(classifier), signal.SIGKILL)
    with pytest.raises(MachineError, match="memory ran out"):
        classifier.forward(images(classifier))


def test_greed_that_only_some_images_cause_ends_in_a_message(tmp_path: Path) -> None:
    """A tensor whose size is the brightest pixel's value, in gigabytes for one of these images."""
    g = Build()
    count = g.node("Cast", g.node("ReduceMax", "x", keepdims=0), to=TensorProto.INT64)
    length = g.node("Reshape", g.node("Abs", count), g.const(np.array([1])))
    grown = g.node("ReduceMax", g.node("ConstantOfShape", length), keepdims=0)
    path = g.save(tmp_path / "greedy.onnx", g.gemm(g.node("Add", g.features(), grown))[0])
    classifier = open_onnx(path, ModelOptions(threads=1, preprocess="scale=1", limits=Limits(memory=3)))
    assert np.isfinite(classifier.forward(images(classifier, 10.0))[1]).all()
    with pytest.raises((ModelError, MachineError), match="memory"):
        classifier.forward(images(classifier, 2e9))


def test_the_process_ends_with_its_classifier(tmp_path: Path) -> None:
    classifier = open_onnx(well_behaved(tmp_path), ModelOptions(threads=1))
    pid = child_of(classifier)
    os.kill(pid, 0)
    del classifier
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_the_certificate_is_made_in_that_process(tmp_path: Path) -> None:
    classifier = open_onnx(well_behaved(tmp_path), ModelOptions(threads=1))
    given = np.random.default_rng(0).standard_normal((6, 3, *images(classifier).shape[2:])).astype(np.float32)
    certificate = classifier.certify(given, seed=1)
    assert certificate.status == "passed"
    assert certificate.ran_on == "6 probe images"
    assert certificate == classifier.certify(given, seed=1)


@pytest.mark.parametrize("shared", [False, True])
def test_arrays_cross_over_as_they_are(shared: bool, tmp_path: Path) -> None:
    memory = SharedBytes() if shared else None
    sent = {
        "half": np.arange(6, dtype=np.float16).reshape(2, 3),
        "none": np.empty((0, 4), np.float32),
        "bytes": np.arange(256, dtype=np.uint8)[::-1],
        "wide": np.arange(3.0),
    }
    for factor in (1, 2):  # the second message meets a mapping that is there already
        with (tmp_path / "message").open("wb") as stream:
            send(stream, {"a": [1, None, "ü"]}, {k: v * v.dtype.type(factor) for k, v in sent.items()}, memory)
        with (tmp_path / "message").open("rb") as stream:
            fields, found = receive(stream, memory.path if memory else None)
        assert fields == {"a": [1, None, "ü"]}
        for name, array in sent.items():
            np.testing.assert_array_equal(found[name], array * array.dtype.type(factor))
            assert found[name].dtype == array.dtype
    if memory:
        memory.close()


def test_what_is_no_message_is_refused(tmp_path: Path) -> None:
    (tmp_path / "message").write_bytes(b"\xff" * 64)
    with (tmp_path / "message").open("rb") as stream, pytest.raises(ValueError, match="header"):
        receive(stream)
    (tmp_path / "message").write_bytes(b"\x08")
    with (tmp_path / "message").open("rb") as stream, pytest.raises(EOFError):
        receive(stream)
