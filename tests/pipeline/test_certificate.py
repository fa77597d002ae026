"""The certificate on real images is made once for the same model, images, seed and versions."""

import json
import re

import numpy as np
import pytest

from singaudit.classifier.openers.table import open_classifier
from singaudit.classifier.options import model_options
from singaudit.classifier.sandbox.onnx_classifier import OnnxClassifier
from singaudit.config import AuditConfig
from singaudit.dataset.sources.table import open_source
from singaudit.errors import ModelError
from singaudit.pipeline.certificate import begun, certified, waited


@pytest.fixture(scope="module")
def opened():
    config = AuditConfig(model="builtin:leaky", images="shapes:40", vlm="builtin:shapes")
    return open_classifier(config.model, model_options(config), lambda *a: None), open_source("shapes:40")


@pytest.fixture
def made(monkeypatch):
    calls, certify = [], OnnxClassifier.certify

    def counted(self, inputs, **how):
        calls.append(len(inputs))
        return certify(self, inputs, **how)

    monkeypatch.setattr(OnnxClassifier, "certify", counted)
    return calls


def _certified(opened, folder, first=0, **settings):
    config = AuditConfig(model="builtin:leaky", cache=str(folder), **settings)
    classifier, source = opened
    return certified(config, classifier, lambda *a: None, (source, np.arange(first, 40)))


def test_the_same_images_are_certified_once(opened, made, tmp_path):
    first = _certified(opened, tmp_path)
    assert first.status == "passed"
    assert _certified(opened, tmp_path) == first
    assert made == [16]


def test_a_certificate_that_was_begun_is_waited_for_and_its_error_is_raised_there(opened, made, tmp_path, monkeypatch):
    config, (classifier, source) = AuditConfig(model="builtin:leaky", cache=str(tmp_path)), opened
    told = []
    certificate = begun(config, classifier, (source, np.arange(40)))
    found = waited(certificate, lambda *stage: told.append(stage))
    assert found == _certified(opened, tmp_path)
    assert (made, [done for _, done, _ in told]) == ([16], [0, 1])

    def failing(self, inputs, **how):
        raise ModelError("planted")

    monkeypatch.setattr(OnnxClassifier, "certify", failing)
    failed = begun(config, classifier, (source, np.arange(1, 40)))
    with pytest.raises(ModelError, match="planted"):
        waited(failed, lambda *stage: None)


def test_other_images_another_seed_and_no_cache_are_certified_anew(opened, made, tmp_path):
    _certified(opened, tmp_path)
    _certified(opened, tmp_path, first=1)
    _certified(opened, tmp_path, seed=1)
    _certified(opened, "none")
    assert made == [16] * 4


@pytest.mark.parametrize(
    "change",
    [{"status": "fine"}, {"gradient_cosine": "1"}, {"unsupported": "no"}, {"reason": None}, {"tolerance": [1]}],
)
def test_what_is_no_certificate_is_made_again(opened, made, tmp_path, change):
    from singaudit.cache.store import Cache

    right = _certified(opened, tmp_path)
    (kept,) = (p for p in tmp_path.iterdir() if re.fullmatch(r"certificate-[0-9a-f]{64}\.json", p.name))
    facts = json.loads(json.loads(kept.read_text())["facts"])
    Cache(tmp_path).remember(kept.stem, facts | change)
    assert _certified(opened, tmp_path) == right
    assert made == [16, 16]
