"""What opening a model and a certificate of few images take, counted: parsings, sessions and passes of one image."""

from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from shadow_models import export

from singaudit.classifier.graph import checks, session
from singaudit.classifier.options import ModelOptions
from singaudit.classifier.sandbox.model import open_model
from singaudit.classifier.sandbox.worker import Worker
from singaudit.classifier.shadow import reference

CLASSES = 20


def saved(path, classes):
    torch.manual_seed(0)
    layers = torch.nn.Conv2d(3, 8, 3, 2), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    onnx.save(export(torch.nn.Sequential(*layers, torch.nn.Linear(8, classes)).eval(), dynamic=True), path)
    return path


@pytest.fixture
def network(tmp_path):
    """A file of a small network with more classes than their range is taken over."""
    return saved(tmp_path / "model.onnx", CLASSES)


@pytest.fixture
def counted(monkeypatch):
    """Counts of parsings, of sessions by their mode, and of images that whole graphs were run on, by mode."""
    counts, modes = Counter(), {}
    parse, make, run = checks.parse, session.make_session, session.run

    def parsing(*asked):
        counts["parsed"] += 1
        return parse(*asked)

    def making(model, folder, providers=session.CPU, threads=None, mode="optimised", few=False):
        made = make(model, folder, providers, threads, mode, few)
        modes[id(made)] = mode
        counts[mode] += 1
        return made

    def running(opened, names, feeds):
        (value,) = feeds.values()
        if value.ndim == 4:
            counts[f"images {modes[id(opened)]}"] += len(value)
        return run(opened, names, feeds)

    monkeypatch.setattr(checks, "parse", parsing)
    monkeypatch.setattr(session, "make_session", making)
    monkeypatch.setattr(reference, "make_session", making)
    monkeypatch.setattr(session, "run", running)
    return counts


def test_opening_parses_once_and_runs_five_images(network, counted, tmp_path):
    (private := tmp_path / "private").mkdir()
    opened = open_model(network, ModelOptions(), private)
    assert opened.runtime.mode == "optimised"
    assert opened.runtime.difference <= 1e-5
    # One image and two for the shapes; on those two the modes are compared and the head is proved.
    found = {"parsed": 1, "unoptimised": 1, "optimised": 2, "images unoptimised": 3, "images optimised": 2}
    assert dict(counted) == found


def test_of_few_classes_the_modes_are_compared_on_more_images(counted, tmp_path):
    (private := tmp_path / "private").mkdir()
    opened = open_model(saved(tmp_path / "model.onnx", 5), ModelOptions(), private)
    assert opened.runtime.difference <= 1e-5
    # For the shapes one and two, to compare the modes four each, for the proof two.
    assert (counted["images unoptimised"], counted["images optimised"]) == (3 + 4, 4 + 2)


@pytest.mark.parametrize(("gradients", "sessions"), [(1, 0), (None, 2)])
def test_a_certificate_of_few_images_is_made_beside_the_session_at_hand(
    network, counted, tmp_path, gradients, sessions
):
    (private := tmp_path / "private").mkdir()
    worker = Worker()
    worker.model = open_model(network, ModelOptions(), private)
    counted.clear()
    size = worker.model.preprocessing.height, worker.model.preprocessing.width
    inputs = np.random.default_rng(0).standard_normal((4, 3, *size)).astype(np.float32)
    found, _ = worker.certify({"inputs": inputs}, 0, "cpu", gradients)
    assert found["status"] == "passed"
    assert (found["difference_unoptimised"] is None) == (gradients == 1)
    assert counted["optimised"] + counted["unoptimised"] == sessions
    assert counted["parsed"] == 0
