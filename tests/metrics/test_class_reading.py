"""Whether a language model names the classes, against chance."""

from __future__ import annotations

import numpy as np

from singaudit.metrics.class_reading import class_reading


def test_a_model_that_sees_the_classes_is_told_from_one_that_does_not() -> None:
    rng = np.random.default_rng(0)
    texts = rng.normal(size=(5, 32)) + 3
    truth = rng.choice(5, 2000, p=[0.6, 0.1, 0.1, 0.1, 0.1])
    # A gap between images and texts: without centring all images are nearest to one text.
    seeing = texts[truth] + 0.3 * rng.normal(size=(2000, 32)) - 10
    found, chance = class_reading(seeing, texts, truth, np.arange(2000))
    assert found.value > 0.95
    np.testing.assert_allclose(chance, 0.4, atol=0.03)  # .6^2 + 4 x .1^2
    blind, chance = class_reading(rng.normal(size=(2000, 32)), texts, truth, np.arange(2000))
    assert blind.low < chance < blind.high


def test_scenes_weigh_equally_and_are_counted() -> None:
    texts = np.eye(2)
    images = np.array([[1.0, 0.0]] * 9 + [[0.0, 1.0]])
    truth = np.array([1] * 9 + [1])
    found, _ = class_reading(images, texts, truth, np.array([0] * 9 + [1]))
    assert found.n == 2
    assert found.value == 0.5
