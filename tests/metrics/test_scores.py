"""Angles against slow truths, and the paper's reference numbers where the data is at hand."""

import math
from pathlib import Path

import numpy as np
import pytest

from singaudit.classifier.interface import Head
from singaudit.geometry.equivalents import remove_null
from singaudit.geometry.null_space import null_space
from singaudit.metrics.scores import attribute_score, image_score, margins, text_angles, unit

REFERENCE = Path(__file__).parents[3] / "shared" / "data" / "reference" / "sing_efficientnet_lite0.npz"


def slow_angle(u, v):
    """Kahan's formula on exactly rounded sums."""
    nu, nv = math.sqrt(math.fsum(x * x for x in u)), math.sqrt(math.fsum(x * x for x in v))
    minus = math.sqrt(math.fsum((a / nu - b / nv) ** 2 for a, b in zip(u, v, strict=True)))
    plus = math.sqrt(math.fsum((a / nu + b / nv) ** 2 for a, b in zip(u, v, strict=True)))
    return math.degrees(2 * math.atan2(minus, plus))


def test_image_score_resolves_small_and_large_angles():
    rng = np.random.default_rng(0)
    u = rng.normal(size=(40, 16))
    v = u + rng.normal(size=(40, 16)) * np.logspace(-9, 1, 40)[:, None]
    v[-1] = -u[-1]
    truth = [slow_angle(a, b) for a, b in zip(u, v, strict=True)]
    np.testing.assert_allclose(image_score(u, v), truth, rtol=1e-6, atol=1e-7)


def test_text_angles_agree_with_one_call_per_text():
    rng = np.random.default_rng(1)
    u, texts = rng.normal(size=(9, 12)) * 7, unit(rng.normal(size=(5, 12)))
    truth = [[slow_angle(a, t) for t in texts] for a in u]
    np.testing.assert_allclose(text_angles(u, texts), truth, atol=1e-9)


def test_attribute_score_is_positive_when_the_equivalent_is_closer():
    text = np.array([[1.0, 0.0]])
    assert attribute_score(np.array([[0.0, 1.0]]), np.array([[1.0, 1.0]]), text)[0, 0] == pytest.approx(45)


def test_scale_of_embeddings_changes_no_score():
    rng = np.random.default_rng(2)
    u, v, texts = rng.normal(size=(6, 8)), rng.normal(size=(6, 8)), unit(rng.normal(size=(3, 8)))
    np.testing.assert_allclose(image_score(u * 5, v * 0.1), image_score(u, v), atol=1e-12)
    np.testing.assert_allclose(attribute_score(u * 5, v * 0.1, texts), attribute_score(u, v, texts), atol=1e-12)


def test_margin_is_mean_of_the_others_less_own():
    angles = np.array([[10.0, 40.0, 70.0]])
    np.testing.assert_allclose(margins(angles), [[45.0, 0.0, -45.0]])


def test_a_zero_vector_gives_no_nan():
    assert np.isfinite(text_angles(np.zeros((1, 3)), np.eye(3))).all()
    assert np.isfinite(image_score(np.zeros((1, 3)), np.ones((1, 3)))).all()


@pytest.mark.skipif(not REFERENCE.exists(), reason="reference data is not here")
def test_reference_numbers_of_the_paper_are_reproduced():
    data = np.load(REFERENCE, allow_pickle=False)
    keys = {key.lower(): key for key in data.files}

    def get(*words):
        return next(data[k] for low, k in keys.items() if all(w in low for w in words))

    weight = get("head", "weight").astype(np.float64)
    head = Head(weight, np.zeros(len(weight)), "float32", None, "Gemm", ("fc",), "f", "y", 0.0, "softmax", True)
    space = null_space(head)
    assert space.rank == int(get("rank")) == 1000
    assert null_space(Head(**{**head.__dict__, "weight": weight * 1e-6})).rank == 1000
    centred = np.float32((weight - weight.mean(axis=0)) * 100).astype(np.float64)
    assert null_space(Head(**{**head.__dict__, "weight": centred})).rank == 999
    f = get("features").astype(np.float64)
    tw, tb = get("translator", "weight").astype(np.float64), get("translator", "bias").astype(np.float64)

    def translate(x):
        return x @ tw.T + tb

    original, equivalent = translate(f), translate(remove_null(f, space))
    np.testing.assert_allclose(image_score(original, equivalent), get("image_score"), atol=1e-3)
    texts = unit(get("text"))
    np.testing.assert_allclose(attribute_score(original, equivalent, texts), get("attribute_score"), atol=2e-3)
