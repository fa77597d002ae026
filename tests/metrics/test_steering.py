"""Steering of all images and texts at once agrees with features steered one by one."""

from dataclasses import replace

import numpy as np
import pytest
from linear_worlds import world

from singaudit.geometry.equivalents import steer, steer_to_angle
from singaudit.metrics.scores import image_score, text_angles
from singaudit.metrics.steering import steer_all


@pytest.fixture(scope="module")
def subject():
    found = world(n=300, null=("hue",), seen=("form",))
    return replace(found, concept_texts=np.concatenate([found.groups[0].texts, found.class_texts]))


def slow(subject, texts_of, angle):
    """Features steered through equivalents, image by image."""
    reached, step, score, turned, gained = [], [], [], [], []
    fitted = subject.fitted
    null_mean = subject.space.null_part(np.stack([t.mean for t in fitted.translators]))[fitted.fold]
    typical = np.median(np.linalg.norm(subject.space.null_part(subject.features) - null_mean, axis=1))
    for i, k in enumerate(fitted.fold):
        t = fitted.translators[k]
        f, text = subject.features[[i]].astype(np.float64), texts_of(i)
        found = steer_to_angle(f, t.weight, t.intercept, text, subject.space, angle)
        reached.append(found.reached[0])
        before, unit_text = t(f), text[None] / np.linalg.norm(text)
        if found.reached[0]:
            step.append(np.log(found.step[0] / typical))
            score.append((text_angles(before, unit_text) - text_angles(t(found.features), unit_text))[0, 0])
        one = t(steer(f, t.weight, t.intercept, text, subject.space, typical))
        turned.append(image_score(before, one)[0])
        gained.append((text_angles(before, unit_text) - text_angles(one, unit_text))[0, 0])
    return [np.mean(reached), np.exp(np.mean(step)), np.mean(score), np.mean(np.abs(score)), np.mean(turned),
            np.mean(gained), typical]  # fmt: skip


@pytest.mark.parametrize("angle", [10.0, 40.0])
def test_every_number_is_that_of_features_steered_one_by_one(subject, angle):
    found = steer_all(subject, angle)
    for column in (0, 5):
        text = subject.concept_texts[column]
        s = found.texts[column]
        fast = [
            e.value
            for e in (s.reached, s.step, s.attribute_score, s.absolute, s.image_score_one, s.attribute_score_one)
        ]
        np.testing.assert_allclose(
            [*fast, found.typical_null_norm], slow(subject, lambda i, t=text: t, angle), rtol=1e-6
        )
    other = found.other_class
    texts = subject.class_texts[(subject.class_of + 1) % len(subject.class_texts)]
    truth = slow(subject, lambda i: texts[i], angle)
    assert other.reached.value == pytest.approx(truth[0])
    assert other.attribute_score.value == pytest.approx(truth[2], rel=1e-6)


def test_an_attribute_in_the_null_space_is_reached_sooner_than_one_that_is_not(subject):
    found = steer_all(subject)
    hue, classes = found.texts[:4], found.texts[4:]
    gain = [np.mean([s.attribute_score_one.value for s in group]) for group in (hue, classes)]
    assert gain[0] > 2 * gain[1]


def test_without_a_null_space_there_is_nothing_to_steer_in(subject):
    space = replace(subject.space, rank=subject.space.feature_dim, basis=np.zeros((17, 0)), basis_is_null=True)
    assert steer_all(replace(subject, space=space)) is None
