"""The embedded world as an audit sees it, small enough for tests: features, logits, embeddings, null space."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from singaudit.classifier.openers.table import open_classifier
from singaudit.classifier.preprocessing.resolve import prepare
from singaudit.dataset.generated.source import ShapesSource
from singaudit.geometry.null_space import null_space
from singaudit.language.concepts import embed_group, open_vocabulary
from singaudit.language.encoders.table import BUILTIN, open_encoder
from singaudit.metrics.subject import Subject
from singaudit.pictures.audited import Audited
from singaudit.pictures.features import feature_copy
from singaudit.pictures.targets import Aim
from singaudit.pictures.units import units

IMAGES = 1500


@cache
def _encoder():
    return open_encoder(BUILTIN)


@cache
def _seen():
    source = ShapesSource(IMAGES, 11)
    images = [source.load(i) for i in range(IMAGES)]
    encoder = _encoder()
    inputs = np.stack([encoder.prepare(image.pixels) for image in images])
    embeddings = np.concatenate([encoder.encode_images(part) for part in np.array_split(inputs, 24)])
    return source, images, embeddings


@cache
def _audited(name):
    source, images, embeddings = _seen()
    classifier = open_classifier(f"builtin:{name}")
    inputs = np.stack([prepare(image.pixels, classifier.preprocessing) for image in images])
    features, logits = classifier.forward(inputs)
    space = null_space(classifier.head)
    subject = Subject(
        features, embeddings, [image.sha256 for image in images], np.argmax(logits, axis=1), np.empty((0, 64)),
        np.empty((0, 64)), (), space, None, 0,
    )  # fmt: skip
    return Audited(classifier, _encoder(), source, np.arange(IMAGES), subject, logits, units(features, logits, space))


@cache
def _aim(group):
    groups = {g.name: g for g in open_vocabulary(None, BUILTIN).groups}
    return Aim(group, groups[group].values, embed_group(_encoder(), groups[group]))


@pytest.fixture(scope="session")
def audited():
    """An embedded classifier by name -> what an audit knows of it."""
    return _audited


@pytest.fixture(scope="session")
def aim():
    """A concept group's name -> an aim."""
    return _aim


@pytest.fixture(scope="session")
def copy():
    """What ``audited`` gives -> its features through the shadow copy."""

    def make(found, **changed):
        return feature_copy(found.classifier, **changed)

    return make


@pytest.fixture(scope="session")
def without():
    """``Audited`` with some fields replaced."""
    return replace
