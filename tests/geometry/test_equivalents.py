"""Equivalents keep the logits, whatever the head; steering goes where its definition says."""

import numpy as np
import pytest

from singaudit.classifier.interface import Head
from singaudit.geometry.equivalents import (
    conditional_mean,
    remove_null,
    remove_null_to_mean,
    steer,
    steer_to_angle,
    steering_direction,
    swap_null,
)
from singaudit.geometry.null_space import null_space
from singaudit.metrics.scores import image_score, text_angles, unit

N, M, D = 60, 24, 10


def world(classes, seed=0, deficient=False):
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(classes, M))
    if deficient:
        weight[-1] = weight[0] + weight[1]
    head = Head(weight, np.zeros(classes), "float32", None, "Gemm", ("fc",), "f", "y", 0.0, "softmax", True)
    features = np.maximum(rng.normal(size=(N, M)) @ rng.normal(size=(M, M)) + 1, 0)
    return head, null_space(head), features, rng.normal(size=(M, D)), rng.normal(size=D), rng.normal(size=D)


def every_equivalent(space, f, weight, intercept, text):
    mean = f.mean(axis=0)
    yield "removal", remove_null(f, space)
    yield "mean removal", remove_null_to_mean(f, mean, space)
    yield "swap", swap_null(f, np.roll(np.arange(len(f)), 1), space)
    yield "conditional mean", conditional_mean(mean, np.cov(f.T), space)(f)
    yield "steering", steer(f, weight, intercept, text, space, 3.0)
    yield "steering to 40 degrees", steer_to_angle(f, weight, intercept, text, space).features


@pytest.mark.parametrize("classes", [2, 5, 20])
@pytest.mark.parametrize("deficient", [False, True])
def test_no_equivalent_moves_a_logit(classes, deficient):
    head, space, f, *translator = world(classes, deficient=deficient)
    for name, other in every_equivalent(space, f, *translator):
        np.testing.assert_allclose(other @ head.weight.T, f @ head.weight.T, atol=1e-9, err_msg=name)
        assert np.abs(other - f).max() > 1e-3, name


def test_logits_stay_when_the_covariance_is_singular():
    head, space, f, *_ = world(5)
    f[:, :12] = 0
    f[:, 12:15] = f[:, 15:18]
    other = conditional_mean(f.mean(axis=0), np.cov(f.T), space)(f)
    np.testing.assert_allclose(other @ head.weight.T, f @ head.weight.T, atol=1e-9)


@pytest.mark.parametrize("classes", [3, 20])
def test_conditional_mean_is_the_textbook_form_in_explicit_bases(classes):
    head, space, f, *_ = world(classes)
    mean, c = f.mean(axis=0), np.cov(f.T)
    v = np.linalg.svd(head.weight)[2].T
    vp, vn = v[:, : space.rank], v[:, space.rank :]
    seen = vp.T @ c @ vp
    penalty = 1e-3 * np.trace(seen) / space.rank
    guess = (f - mean) @ vp @ np.linalg.solve(seen + penalty * np.eye(space.rank), vp.T @ c)
    truth = f @ vp @ vp.T + (mean + guess) @ vn @ vn.T
    np.testing.assert_allclose(conditional_mean(mean, c, space)(f), truth, atol=1e-8)


def test_conditional_mean_guesses_what_the_logits_determine():
    _, space, f, *_ = world(5)
    rng = np.random.default_rng(1)
    seen = space.principal_part(f)
    f = seen + space.null_part(seen @ rng.normal(size=(M, M)))
    other = conditional_mean(f.mean(axis=0), np.cov(f.T), space)(f)
    left = np.linalg.norm(other - f) / np.linalg.norm(space.null_part(f - f.mean(axis=0)))
    assert left < 0.05


def test_direction_is_the_projected_gradient_of_the_cosine():
    _, space, f, weight, intercept, text = world(5)
    t = text / np.linalg.norm(text)
    gradient = np.empty_like(f)
    for j in range(M):
        moved = [unit((f + s * 1e-5 * np.eye(M)[j]) @ weight + intercept) @ t for s in (1, -1)]
        gradient[:, j] = (moved[0] - moved[1]) / 2e-5
    np.testing.assert_allclose(
        steering_direction(f, weight, intercept, text, space), unit(space.null_part(gradient)), atol=1e-6
    )


def test_steering_reaches_the_angle_or_says_that_it_cannot():
    _, space, f, weight, intercept, text = world(5)
    found = steer_to_angle(f, weight, intercept, text, space, 40.0)
    angle = image_score(f @ weight + intercept, found.features @ weight + intercept)
    assert 0 < found.reached.sum() <= N
    np.testing.assert_allclose(angle[found.reached], 40.0, atol=1e-6)
    np.testing.assert_array_equal(found.features[~found.reached], f[~found.reached])
    # Where it says no, even an enormous step does not get there.
    far = steer(f, weight, intercept, text, space, 1e9)
    limit = image_score(f @ weight + intercept, far @ weight + intercept)
    assert (limit[~found.reached] <= 40.0 + 1e-3).all()
    assert (limit[found.reached] > 40.0 - 1e-3).all()


def test_a_small_step_comes_closer_to_the_text_of_each_image():
    _, space, f, weight, intercept, _ = world(5)
    texts = np.random.default_rng(3).normal(size=(N, D))
    near = steer(f, weight, intercept, texts, space, 1e-3)

    def own(x):
        return np.diagonal(text_angles(x @ weight + intercept, unit(texts)))

    assert (own(near) < own(f)).all()


def test_no_null_space_and_a_reached_text_stay_where_they_are():
    _, space, f, weight, intercept, text = world(24)
    assert space.null_dim == 0
    assert not steering_direction(f, weight, intercept, text, space).any()
    assert not steer_to_angle(f, weight, intercept, text, space).reached.any()
    _, space, f, weight, intercept, _ = world(5)
    at_text = (f @ weight + intercept)[:1]
    assert not steering_direction(f[:1], weight, intercept, at_text, space).any()
