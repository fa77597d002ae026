"""Models that take 8-bit pixels, preprocessing inside, get equivalents like any other, checked with real pixels."""

import io
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from pictured_graphs import taking_pixels

import singaudit
from singaudit.classifier.certify import certify_on_noise
from singaudit.classifier.openers.table import open_classifier
from singaudit.classifier.preprocessing.resolve import prepare
from singaudit.metrics.subject import Subject
from singaudit.pictures.equivalent_images import make_equivalents
from singaudit.pictures.units import units

LEAKY = Path(singaudit.__file__).parent / "demo" / "models" / "leaky.onnx"


@pytest.mark.parametrize(("channels", "moves"), [(3, True), (1, False)], ids=["colour", "gray"])
def test_a_model_that_takes_pixels_gets_equivalents(audited, aim, copy, without, tmp_path, channels, moves):
    """The gray model sees no colour: nothing it ignores can carry it, and its null component stays."""
    classifier = open_classifier(str(taking_pixels(tmp_path / "pixels.onnx", LEAKY, channels)))
    assert (classifier.preprocessing.dtype, classifier.preprocessing.layout) == ("uint8", "nhwc")
    assert certify_on_noise(classifier).gradient_cosine > 0.99
    usual = audited("leaky")
    inputs = np.stack([prepare(usual.source.load(i).pixels, classifier.preprocessing) for i in range(600)])
    assert inputs.dtype == np.uint8
    features, logits = classifier.forward(inputs)
    s = usual.subject
    subject = Subject(
        features, s.embeddings[:600], s.sha256[:600], np.argmax(logits, axis=1), s.class_texts, s.concept_texts, (),
        s.space, None, 0,
    )  # fmt: skip
    world = without(
        usual,
        classifier=classifier,
        indices=np.arange(600),
        subject=subject,
        logits=logits,
        units=units(features, logits, s.space),
    )
    found = make_equivalents(world, aim("colour"), range(8), copy(world))
    assert sum(e.success for e in found) >= 7
    for e in found:
        pixels = [np.asarray(PIL.Image.open(io.BytesIO(data))) for data in (e.original, e.picture)]
        _, seen = classifier.forward(np.stack([prepare(p, classifier.preprocessing) for p in pixels]))
        difference = np.abs(seen[0].astype(np.float64) - seen[1]) / world.units.spread
        assert e.difference.logit[0] == pytest.approx(difference.max(), abs=1e-5)
    assert (np.median([e.difference.null_move[0] for e in found]) >= 0.8) == moves
