"""Planted worlds where mending a shortcut takes from the groups it served: they are weighed up until they keep it."""

from dataclasses import replace

import numpy as np
import pytest

from singaudit.repair.guard import ROUNDS, Guard, weigh_up
from singaudit.repair.judge import decide, judge_head, predictions
from singaudit.repair.refit import Task, folds_of, refit_head
from singaudit.repair.split import Balanced

C = 4


def world(n, seed):
    """Features that hold a colour exactly and a class so that the best head that ignores colour errs on a fifth."""
    random = np.random.default_rng(seed)
    classes, colours = random.integers(0, C, n).astype(np.intp), random.integers(0, C, n).astype(np.intp)
    features = 0.5 * random.standard_normal((n, 12))
    features[:, :C] += 0.9 * np.eye(C)[classes]
    features[:, C : 2 * C] += 3.0 * np.eye(C)[colours]
    return features, classes, colours


@pytest.fixture(scope="module")
def task():
    """A head that goes by colour alone, and images of every class and colour."""
    features, classes, colours = world(1000, 0)
    weight = np.zeros((C, 12))
    weight[:, C : 2 * C] = 2 * np.eye(C)
    return Task(features, classes, classes * C + colours, weight, np.zeros(C), "softmax", np.ones(C, bool))


def refitted(task, allowed):
    guard = Guard((task.classes, task.cells), allowed)
    return refit_head(replace(task, guard=guard), folds_of(task.cells, np.arange(len(task.cells))))


@pytest.fixture(scope="module")
def plain(task):
    """All groups alike."""
    return refitted(task, 1.0)


@pytest.fixture(scope="module")
def kept(task):
    """No group may lose more than five points."""
    return refitted(task, 0.05)


def decided(task, found):
    features, classes, colours = world(4000, 1)
    old, new = features @ task.weight.T, features @ found.weight.T + found.bias
    colour = Balanced("colour", tuple("wxyz"), colours, "")
    whole = judge_head(old, new, classes, tuple("abcd"), (colour,), classes * C + colours, "softmax")
    return whole, decide(whole)


def test_all_alike_the_shortcut_is_mended_at_the_cost_of_those_it_served(task, plain):
    assert plain.guarded.raised == 0
    assert (plain.guarded.factors == 1).all()
    whole, decision = decided(task, plain)
    assert whole.accuracy.after.low > 0.7 > 0.3 > whole.accuracy.before.high
    assert not decision.write
    assert {reason[:9] for reason in decision.reasons} == {"a, colour", "b, colour", "c, colour", "d, colour"}


def test_weighed_up_they_keep_it_and_the_shortcut_is_mended_still(task, plain, kept):
    guarded = kept.guarded
    assert guarded.raised >= 4
    assert guarded.lost[0] == plain.guarded.lost[1] > 0.1
    assert guarded.lost[1] <= 0.05
    assert 0.5 < guarded.right[1] < guarded.right[0]
    whole, decision = decided(task, kept)
    assert whole.accuracy.change.low > 0.25
    losses = [min(item.accuracy.change.value for item in found.groups) for found in (whole, decided(task, plain)[0])]
    assert losses[0] > -0.08 > -0.1 > losses[1]
    assert decision.write, decision.reasons


def test_the_more_may_be_lost_the_more_is_gained(task, plain, kept):
    right = [kept.guarded.right[1], refitted(task, 0.2).guarded.right[1], plain.guarded.right[1]]
    assert right == sorted(right)


def test_a_head_that_takes_from_nobody_is_fitted_as_without_a_guard(task):
    weight = np.zeros((C, 12))
    weight[:, :C] = 0.5 * np.eye(C)
    harmless = replace(task, weight=weight)
    one, other = refitted(harmless, 0.1), refit_head(harmless, folds_of(task.cells, np.arange(len(task.cells))))
    np.testing.assert_array_equal(one.weight, other.weight)


def test_what_cannot_be_kept_ends_and_the_least_loss_is_taken():
    before = np.ones(40, bool)
    groups = np.repeat([0, 1], 20)
    seen = []

    def hits_of(factors):
        seen.append(factors)
        hits = np.ones(40, bool)
        hits[: 10 if len(seen) != 3 else 5] = False
        return hits

    found = weigh_up(hits_of, before, np.full(40, 1 / 40), Guard((groups,), 0.0))
    assert len(seen) == 7 <= ROUNDS
    assert found.lost == (0.5, 0.25)
    np.testing.assert_array_equal(found.factors, seen[2])
    assert (found.factors[:20] > 100).all()
    assert (found.factors[20:] == 1).all()


def test_images_of_one_scene_count_once_and_groups_of_few_images_do_not_cry_loss():
    before, weights = np.ones(60, bool), np.full(60, 1 / 60)
    groups = np.array([0] * 50 + [1] * 2 + [-1] * 8)
    scenes = np.array([0] * 20 + list(range(1, 41)))

    def hits_of(factors):
        return ~np.isin(np.arange(60), [*range(20), 50, *range(52, 60)])

    found = weigh_up(hits_of, before, weights, Guard((groups,), 1.0), scenes)
    assert found.lost[0] == pytest.approx(
        1 / 31
    )  # twenty images of one scene are one; of the two others one is nothing


def test_one_logit_is_guarded_by_its_sign(task):
    features, classes, colours = task.features, (task.classes > 1).astype(np.intp), task.cells % C > 1
    weight = np.zeros((1, 12))
    weight[0, C : 2 * C] = [-1, -1, 1, 1]
    one = Task(features, classes, classes * 2 + colours, weight, np.zeros(1), "sigmoid", np.ones(1, bool))
    found = refitted(one, 0.02)
    assert found.guarded.lost[1] <= found.guarded.lost[0]
    assert (predictions(features @ found.weight.T + found.bias) == classes).mean() > 0.6
