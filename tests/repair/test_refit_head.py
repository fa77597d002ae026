"""Planted worlds: what a refit must find, what it must leave alone, and what it must not be fooled by."""

from dataclasses import replace

import numpy as np
import pytest

from singaudit.errors import DatasetError
from singaudit.repair.judge import decide, judge_head, predictions
from singaudit.repair.logistic import Design, fit, losses, scale_of
from singaudit.repair.refit import Task, folds_of, refit_head, target_of
from singaudit.repair.split import Balanced, cells_of, check_enough, one_a_scene, split, weights_of

C, M = 4, 24


def world(n, seed=0, noise=0.7):
    """Features that hold a class in axes 0-3 and a colour in axes 4-7, and labels of both."""
    random = np.random.default_rng(seed)
    classes, colours = random.integers(0, C, n), random.integers(0, C, n)
    features = noise * random.standard_normal((n, M))
    features[np.arange(n), classes] += 2.0
    features[np.arange(n), 4 + colours] += 2.0
    return features.astype(np.float32), classes.astype(np.intp), colours.astype(np.intp)


def head(shortcut):
    """A head that answers by the class, or by the colour as if it were the class."""
    weight = np.zeros((C, M))
    weight[np.arange(C), (4 if shortcut else 0) + np.arange(C)] = 2.0
    return weight, np.zeros(C)


def task(features, classes, cells, weight, bias, free=None):
    free = np.ones(len(bias), bool) if free is None else free
    return Task(features, classes, cells, weight, bias, "softmax", free)


def refitted(features, classes, cells, weight, bias):
    order = np.arange(len(classes))
    return refit_head(task(features, classes, cells, weight, bias), folds_of(cells, order))


def test_a_head_that_goes_by_a_shortcut_is_mended():
    features, classes, colours = world(1200)
    weight, bias = head(shortcut=True)
    found = refitted(features, classes, classes * C + colours, weight, bias)
    fresh, truth, _ = world(4000, seed=1)
    before = (predictions(fresh @ weight.T + bias) == truth).mean()
    after = (predictions(fresh @ found.weight.T + found.bias) == truth).mean()
    best = (predictions(fresh @ head(shortcut=False)[0].T) == truth).mean()
    assert before < 0.3
    assert after > best - 0.02


def test_a_head_that_is_as_good_as_any_is_left_alone():
    features, classes, colours = world(1200)
    weight, bias = 2.0 / 0.49 * np.eye(C, M), np.zeros(C)  # the best head there is: the discriminant's own
    found = refitted(features, classes, classes * C + colours, weight, bias)
    fresh, truth, _ = world(4000, seed=1)
    moved = (predictions(fresh @ found.weight.T + found.bias) == truth).mean()
    assert found.unchanged or abs(moved - (predictions(fresh @ weight.T) == truth).mean()) < 0.01


@pytest.mark.parametrize("shortcut", [False, True])
def test_shuffled_labels_are_refused(shortcut):
    features, classes, colours = world(1500)
    classes = np.random.default_rng(3).permutation(classes)
    weight, bias = head(shortcut)
    groups = (Balanced("class", tuple("abcd"), classes, ""), Balanced("colour", tuple("wxyz"), colours, ""))
    cells = cells_of(groups)
    parts = split([f"{i:064x}" for i in range(len(classes))], cells, 0.3, 0)
    own, held = parts.fit, parts.held
    found = refitted(features[own], classes[own], cells[own], weight, bias)
    logits = (features[held] @ weight.T + bias).astype(np.float64), features[held] @ found.weight.T + found.bias
    decision = decide(judge_head(*logits, classes[held], tuple("abcd"), (), cells[held], "softmax"))
    assert not decision.write
    assert any("no better than always naming" in reason or "falls" in reason for reason in decision.reasons)


def test_one_logit_and_fixed_biases_are_fitted():
    random = np.random.default_rng(0)
    classes = random.integers(0, 2, 600).astype(np.intp)
    features = random.standard_normal((600, 6))
    features[:, 1] += 3 * classes - 1.5
    start = np.zeros((1, 6))
    for free in (np.array([True]), np.array([False])):
        work = Task(features, classes, classes, start, np.zeros(1), "sigmoid", free)
        found = refit_head(work, folds_of(classes, np.arange(600)))
        assert ((features @ found.weight[0] + found.bias[0] > 0) == classes).mean() > 0.9
        assert free[0] or found.bias[0] == 0


def test_the_fit_is_the_minimum_whatever_it_starts_from():
    features, classes, _ = world(200)
    weights = weights_of(classes)
    scale = scale_of(features, weights)
    design = Design(
        scale.rows(features), np.zeros((200, C)), target_of(classes, C), weights, np.ones(C, bool), "softmax"
    )
    one = fit(design, 1e-2)
    other = fit(design, 1e-2, np.random.default_rng(1).standard_normal(one.shape))
    np.testing.assert_allclose(one, other, atol=2e-3)

    def objective(change):
        logits = design.rows @ change[:, :-1].T + change[:, -1]
        return weights @ losses(logits, design.target, "softmax") + 5e-3 * (change**2).sum()

    for step in np.random.default_rng(2).standard_normal((20, *one.shape)):
        assert objective(one + 1e-2 * step) > objective(one)


def test_fewer_images_than_features_give_the_same_fit_as_the_whole_space():
    random = np.random.default_rng(0)
    features, classes = random.standard_normal((30, 50)), (np.arange(30) % 3).astype(np.intp)
    weights = weights_of(classes)
    scale = scale_of(features, weights)
    assert scale.axes is not None
    target, free = target_of(classes, 3), np.ones(3, bool)
    narrow = scale.change(fit(Design(scale.rows(features), np.zeros((30, 3)), target, weights, free, "softmax"), 0.1))
    whole = type(scale)(scale.mean, scale.deviation, None)
    wide = whole.change(fit(Design(whole.rows(features), np.zeros((30, 3)), target, weights, free, "softmax"), 0.1))
    np.testing.assert_allclose(narrow.weight, wide.weight, atol=1e-4)


def test_the_split_goes_by_content_and_keeps_every_cell():
    groups = (Balanced("class", ("a", "b"), np.arange(200, dtype=np.intp) % 2, ""),)
    names = [f"{i:064x}" for i in range(200)]
    parts = split(names, cells_of(groups), 0.3, 0)
    assert len(parts.held) == 60
    assert not set(parts.fit) & set(parts.held)
    order = np.random.default_rng(0).permutation(200)
    moved = (Balanced("class", ("a", "b"), groups[0].own[order], ""),)
    again = split([names[i] for i in order], cells_of(moved), 0.3, 0)
    assert {names[order[i]] for i in again.held} == {names[i] for i in parts.held}


def test_images_of_one_scene_stay_together():
    own = (np.arange(300) % 3).astype(np.intp)
    units = [f"{i // 10:064x}" for i in range(300)]
    parts = split(units, cells_of((Balanced("class", ("a", "b", "c"), own, ""),)), 0.3, 0)
    assert not {units[i] for i in parts.fit} & {units[i] for i in parts.held}
    assert 60 <= len(parts.held) <= 90
    assert len(parts.fit) + len(parts.held) == 300


def test_a_scene_judges_by_one_image_of_each_class_and_counts_once_in_the_fit():
    own = np.array([0, 0, 0, 1, 1, 0], np.intp)
    units, hashes = ["a", "a", "b", "a", "c", "b"], ["5", "2", "9", "1", "0", "8"]
    assert one_a_scene(np.arange(6), units, own, hashes).tolist() == [1, 3, 4, 5]
    scenes = np.array([0] * 30 + list(range(1, 31)))
    weights = weights_of(np.zeros(60, np.intp), scenes)
    assert weights[:30].sum() == pytest.approx(weights[30])
    np.testing.assert_allclose(weights_of(own, np.arange(6)), weights_of(own))


def test_folds_keep_scenes_together_and_cells_apart():
    scenes, cells = np.arange(240) // 6, (np.arange(240) // 6 % 2).astype(np.intp)
    folds = folds_of(cells, np.random.default_rng(0).permutation(240), scenes)
    assert sorted(np.concatenate(folds).tolist()) == list(range(240))
    assert sum(len(set(scenes[fold])) for fold in folds) == 40
    assert all(np.bincount(cells[fold]).tolist() == [30, 30] for fold in folds)


def test_frames_of_one_video_are_not_taken_for_evidence():
    # Twenty frames of one scene each, whose labels say nothing: fits that see their neighbours find a way to know them.
    random = np.random.default_rng(0)
    scenes = np.repeat(np.arange(60), 20)
    features = random.standard_normal((60, 40))[scenes] + 0.05 * random.standard_normal((1200, 40))
    classes = random.integers(0, 2, 60)[scenes].astype(np.intp)
    work = Task(features, classes, classes, np.zeros((2, 40)), np.zeros(2), "softmax", np.ones(2, bool))
    order = random.permutation(1200)
    assert not refit_head(work, folds_of(classes, order)).unchanged
    found = refit_head(replace(work, scenes=scenes), folds_of(classes, order, scenes))
    assert found.unchanged or found.penalty >= 1


def test_unknown_values_are_in_neither_part():
    own = np.array([0, 1, -1] * 60, np.intp)
    cells = cells_of((Balanced("colour", ("red", "blue"), own, ""),))
    parts = split([f"{i:064x}" for i in range(180)], cells, 0.3, 0)
    assert (own[np.concatenate([parts.fit, parts.held])] >= 0).all()


def test_too_few_images_of_a_class_are_named_with_their_number():
    own = np.array([0] * 100 + [1] * 12, np.intp)
    cells = cells_of((Balanced("class", ("dog", "cat"), own, ""),))
    parts = split([f"{i:064x}" for i in range(112)], cells, 0.3, 0)
    with pytest.raises(DatasetError, match=r"at least 20 images of each class to fit on.*'cat' 8"):
        check_enough(parts, own, ("dog", "cat"))


def test_images_of_one_scene_are_counted_once_among_too_few():
    own = np.array([0] * 100 + [1] * 100, np.intp)
    units = [f"{i:064x}" for i in range(100)] + [f"{i // 10:064x}" for i in range(1000, 1100)]
    parts = split(units, cells_of((Balanced("class", ("dog", "cat"), own, ""),)), 0.3, 0)
    check_enough(parts, own, ("dog", "cat"))
    with pytest.raises(DatasetError, match=r"to fit on, those of one scene counted once.*'cat' 7"):
        check_enough(parts, own, ("dog", "cat"), units)


def test_cells_count_alike_but_tiny_ones_less():
    weights = weights_of(np.array([0] * 100 + [1] * 50 + [2]))
    assert weights.sum() == pytest.approx(1)
    assert weights[:100].sum() == pytest.approx(weights[100:150].sum())
    assert weights[150] == pytest.approx(weights[:100].sum() / 10)
