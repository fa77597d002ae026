"""How far the null component may go: the projection against an exact solver, and a trained head of 1,000 classes."""

from pathlib import Path

import numpy as np
import pytest

from singaudit.classifier.interface import Head
from singaudit.geometry.null_space import null_space
from singaudit.pictures.reach import Bounds, nearest_admissible, observed_bounds, room_along, slack_of

NAME = Path("shared") / "data" / "reference" / "sing_efficientnet_lite0.npz"
REFERENCE = next((p / NAME for p in Path(__file__).parents if (p / NAME).exists()), None)


def space_of(weight):
    zero = np.zeros(len(weight))
    return null_space(Head(weight, zero, "float32", None, "Gemm", ("fc",), "f", "y", 0.0, "softmax", True))


def exact_share(f, target, bounds, space):
    """Least distance programming by non-negative least squares (Lawson and Hanson, chapter 23)."""
    nnls = pytest.importorskip("scipy.optimize").nnls
    basis = np.linalg.svd(space.null_part(np.eye(space.feature_dim)))[0][:, : space.null_dim]
    own, wish = basis.T @ f, basis.T @ target
    centre, slack = f + basis @ (wish - own), slack_of(bounds)
    faces = np.concatenate([basis, -basis])
    limits = np.concatenate([bounds.low - slack - centre, centre - bounds.high - slack])
    system, one = np.concatenate([faces.T, limits[None]]), np.zeros(space.null_dim + 1)
    one[-1] = 1.0
    residual = system @ nnls(system, one, maxiter=20000)[0] - one
    return 1 - np.linalg.norm(residual[:-1] / residual[-1]) / np.linalg.norm(own - wish)


@pytest.fixture(scope="module")
def relu():
    rng = np.random.default_rng(0)
    features = np.maximum(rng.normal(size=(60, 6)) @ rng.normal(size=(6, 24)) + 0.3 * rng.normal(size=(60, 24)), 0)
    return features, space_of(np.float32(rng.normal(size=(7, 24))).astype(np.float64))


def test_it_is_the_projection_that_an_exact_solver_finds(relu):
    features, space = relu
    bounds, target = observed_bounds(features), np.roll(space.null_part(features), 1, axis=0)
    reached = nearest_admissible(features, target, bounds, space)
    assert reached.converged
    truth = [exact_share(features[i], target[i], bounds, space) for i in range(20)]
    np.testing.assert_allclose(reached.share[:20], truth, atol=1e-4)
    assert 0.05 < reached.share.min() < reached.share.max() < 1.0, "the cases must bind, or this shows nothing"


def test_what_is_reached_keeps_the_logits_and_the_bounds_even_when_iterations_run_out(relu):
    features, space = relu
    bounds, target = observed_bounds(features), 5 * np.roll(space.null_part(features), 3, axis=0)
    slack = slack_of(bounds) + 1e-9
    for iterations in (1, 3, 1000):
        null = nearest_admissible(features, target, bounds, space, iterations).null
        moved = features - space.null_part(features) + null
        np.testing.assert_allclose(space.principal_part(moved), space.principal_part(features), atol=1e-9)
        assert (moved >= bounds.low - slack).all()
        assert (moved <= bounds.high + slack).all()


def test_features_that_never_change_do_not_stop_the_others(relu):
    features, _ = relu
    padded = np.concatenate([features, np.zeros((60, 3))], axis=1)
    space = space_of(np.float32(np.random.default_rng(1).normal(size=(7, 27))).astype(np.float64))
    bounds, target = observed_bounds(padded), np.roll(space.null_part(padded), 1, axis=0)
    reached = nearest_admissible(padded, target, bounds, space)
    assert reached.share.min() > 0.05
    np.testing.assert_allclose(reached.share[0], exact_share(padded[0], target[0], bounds, space), atol=1e-4)


def test_where_nothing_binds_the_target_itself_is_reached(relu):
    features, space = relu
    wide = Bounds(np.full(24, -1e6), np.full(24, 1e6))
    target = np.roll(space.null_part(features), 1, axis=0)
    reached = nearest_admissible(features, target, wide, space)
    np.testing.assert_allclose(reached.null, target, atol=1e-4)
    np.testing.assert_allclose(reached.share, 1.0, atol=1e-4)
    assert nearest_admissible(features, features, wide, space).share.tolist() == [1.0] * 60


def test_room_along_a_direction_is_where_the_first_feature_meets_its_bound():
    bounds = Bounds(np.zeros(3), np.array([4.0, 4.0, 4.0]))
    f = np.array([[1.0, 1.0, 1.0], [0.0, 2.0, 2.0], [2.0, 2.0, 2.0]])
    direction = np.array([[1.0, -2.0, 0.0], [-1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    assert room_along(f, direction, bounds).tolist() == [0.5, 0.0, np.inf]


@pytest.mark.skipif(REFERENCE is None, reason="the reference head is not here")
def test_a_head_of_1000_classes_leaves_next_to_no_room_and_one_of_10_ample():
    data = np.load(REFERENCE)
    weight, features = data["head_weight"].astype(np.float64), data["features"].astype(np.float64)
    bounds = observed_bounds(features)
    share = {}
    for classes in (1000, 10):
        space = space_of(weight[:classes])
        target = np.roll(space.null_part(features), 1, axis=0)
        share[classes] = nearest_admissible(features[:3], target[:3], bounds, space).share
    assert share[1000].max() < 0.1
    assert share[10].min() > 0.6
