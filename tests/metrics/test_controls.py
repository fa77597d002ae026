"""Random subspaces are what they claim to be, a score is placed among its draws, and a control says what it must."""

from dataclasses import replace

import numpy as np
import pytest
from linear_worlds import world

from singaudit.classifier.interface import Head
from singaudit.geometry.null_space import null_space
from singaudit.language.translators.fit import fit, fit_around
from singaudit.metrics.control_moves import DIRECTIONS, HAAR, MATCHED, SHUFFLED, Shuffles, Subspaces
from singaudit.metrics.control_run import DRAWS, MAX_IMAGES, run_controls
from singaudit.metrics.control_scores import MODEL_SCORES
from singaudit.metrics.controls import compare, random_numbers, spanned
from singaudit.metrics.intervals import wilson
from singaudit.metrics.judge import judge_groups
from singaudit.metrics.measure import measure
from singaudit.metrics.subject import blocks


@pytest.mark.parametrize("dim", [0, 1, 3, 7, 9, 10])
def test_subspace_has_an_orthonormal_basis_of_it_or_of_its_complement(dim):
    basis = spanned(random_numbers(dim, 10, np.random.default_rng(0)))
    assert basis.shape == (10, min(dim, 10 - dim))
    np.testing.assert_allclose(basis.T @ basis, np.eye(basis.shape[1]), atol=1e-6)


@pytest.mark.parametrize("of", [2, 6, 40, 128, 130, 300])
def test_subspaces_of_half_the_dimensions_have_orthonormal_bases_whatever_is_drawn(of):
    rng = np.random.default_rng(of)
    for _ in range(50):
        basis = spanned(random_numbers(of // 2, of, rng)).astype(np.float64)
        np.testing.assert_allclose(basis.T @ basis, np.eye(of // 2), atol=3e-6)


def test_projected_length_has_the_expectation_of_a_haar_subspace():
    rng = np.random.default_rng(1)
    x = rng.normal(size=10)
    shares = []
    for _ in range(400):
        basis = spanned(random_numbers(7, 10, rng))
        part = x - basis @ (basis.T @ x)  # of the complement, the narrower of both
        shares.append(part @ part / (x @ x))
    assert np.mean(shares) == pytest.approx(0.7, abs=0.03)


def test_percentile_and_effect_size_have_intervals():
    draws = np.random.default_rng(0).normal(size=(99, 3))
    draws[:, 2] = 1.0
    far, middle, flat = compare(np.array([20.0, 0.0, 1.0]), draws)
    assert far.percentile.value == 100
    assert far.percentile.low == pytest.approx(100 * 99 / (99 + 1.96**2), rel=1e-3)
    assert far.effect_size.low < far.effect_size.value < far.effect_size.high
    assert far.effect_size.value == pytest.approx((20 - draws[:, 0].mean()) / draws[:, 0].std(ddof=1))
    assert middle.percentile.low < 50 < middle.percentile.high
    assert (far.percentile.n, far.effect_size.n) == (99, 99)
    assert flat.effect_size is None
    assert flat.percentile.value == 50


def test_effect_size_interval_covers_the_true_effect():
    rng, hits = np.random.default_rng(2), 0
    for trial in range(200):
        found = compare(np.array([3.0]), rng.normal(size=(99, 1)), trial)[0].effect_size
        hits += found.low <= 3.0 <= found.high
    assert 0.88 <= hits / 200 <= 0.99


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (10, 10), (3, 150), (75, 150)])
def test_wilson_interval_solves_its_defining_equation(successes, n):
    low, high = wilson(successes, n)
    assert 0 <= low <= successes / n <= high <= 1
    for end in (low, high):
        if 0 < end < 1:
            assert abs(successes / n - end) == pytest.approx(1.959963984540054 * (end * (1 - end) / n) ** 0.5)


@pytest.fixture(scope="module")
def leaking():
    subject = world(null=("hue",), seen=("form",))
    measured = measure(subject)
    return subject, measured, run_controls(subject, measured)


def test_every_score_stands_beside_every_control_that_can_give_it(leaking):
    subject, _, families = leaking
    assert [f.name for f in families] == [HAAR, MATCHED, DIRECTIONS, SHUFFLED]
    for family in families:
        assert family.draws == DRAWS == 99
        assert set(family.scores) == set(MODEL_SCORES)
        for scores in family.groups.values():
            expected = {"contrast_deg", "carried_share"}
            expected |= {"null_follow"} if family.name != DIRECTIONS else set()
            expected |= {"margin_deg"} if family.name == SHUFFLED else set()
            assert set(scores) == expected
        assert set(family.groups) == {group.name for group in subject.groups}


@pytest.mark.parametrize("at_a_time", [1, 5])
def test_no_bit_depends_on_how_many_calculations_go_side_by_side(leaking, monkeypatch, at_a_time):
    subject, measured, families = leaking
    monkeypatch.setattr("singaudit.geometry.threads.cores", lambda: at_a_time)
    again = measure(subject)
    for one, other in zip(measured.groups, again.groups, strict=True):
        assert repr(one.numbers) == repr(other.numbers)  # some are NaN
        np.testing.assert_array_equal(one.contrast, other.contrast)
    assert repr(run_controls(subject, again)) == repr(families)


def test_observed_scores_are_those_of_the_measurement(leaking):
    _, measured, families = leaking
    # Fewer images than the audit, so equal within noise; the same in every family.
    observed = [[a.observed for a in f.scores.values()] for f in families]
    np.testing.assert_allclose(observed, [observed[0]] * 4, rtol=1e-6)
    assert families[0].scores["image_score_deg"].observed == pytest.approx(measured.image_score.mean(), rel=0.05)
    name, carried = measured.groups[0].of.name, measured.groups[0].numbers.carried
    assert families[0].groups[name]["carried_share"].observed == pytest.approx(carried.carried_share.value, abs=0.05)
    assert families[0].groups[name]["null_follow"].observed == pytest.approx(carried.follow.value, abs=0.06)


def test_a_planted_leak_stands_above_random_moves_of_the_same_length_and_an_absent_one_does_not(leaking):
    _, _, families = leaking
    by_name = {f.name: f for f in families}
    hue, form = by_name[MATCHED].groups["hue"], by_name[MATCHED].groups["form"]
    assert hue["null_follow"].percentile.value > 97
    assert hue["null_follow"].effect_size.low > 1
    assert form["contrast_deg"].percentile.value < 3
    shuffled = by_name[SHUFFLED].groups["hue"]
    assert abs(shuffled["margin_deg"].mean) < 1
    assert shuffled["margin_deg"].percentile.value == 100


def test_matched_moves_have_the_null_moves_length_whatever_the_subspace():
    # With as many dimensions as features the "random subspace" is everything: the norm-matched control then moves along
    # f itself, and zero removal by the null space's length gives a known angle.
    from singaudit.metrics.subject import blocks

    subject = world(null=("hue",))
    block = next(blocks(subject, limit=MAX_IMAGES))
    draws = Subspaces(subject, block)
    draws._dim = draws._of
    found = dict(draws.moved(*draws.random()))
    f = block.features
    along = f * (np.linalg.norm(block.null, axis=1) / np.linalg.norm(f, axis=1))[:, None]
    expected = np.stack(
        [
            z - move @ subject.fitted.translators[k].weight
            for z, move, k in zip(block.original, along, block.fold, strict=True)
        ]
    )
    np.testing.assert_allclose(found[MATCHED].zero, expected, atol=1e-4)
    whole = np.stack(
        [
            z - row @ subject.fitted.translators[k].weight
            for z, row, k in zip(block.original, f, block.fold, strict=True)
        ]
    )
    np.testing.assert_allclose(found[HAAR].zero, whole, atol=1e-4)


def test_a_translator_whose_penalty_is_not_known_is_shuffled_with_that_of_those_fitted_here():
    # Fewer images than features: without any penalty there is no regression to speak of.
    small, rng = world(n=60, null=("hue",)), np.random.default_rng(0)
    features = np.concatenate([small.features, rng.normal(size=(60, 100))], axis=1).astype(np.float32)
    weight = rng.normal(size=(5, features.shape[1]))
    space = null_space(Head(weight, np.zeros(5), "float32", None, "Gemm", ("fc",), "f", "y", 0.0, "softmax", True))
    own = fit(features, small.embeddings, small.sha256, space).translators[0]
    fitted = fit_around(replace(own, penalty=0.0), features, small.embeddings, small.sha256, space)
    block = next(iter(blocks(replace(small, features=features, space=space, fitted=fitted))))
    shuffles = Shuffles(replace(small, features=features, space=space, fitted=fitted), block)
    moved = shuffles.moved(shuffles.random())
    assert np.isfinite(moved.original).all()
    # Of the size of what is fitted here with a penalty, not of an interpolation of the noise.
    plain = replace(fitted, translators=fitted.principal)
    shuffles = Shuffles(replace(small, features=features, space=space, fitted=plain), block)
    usual = shuffles.moved(shuffles.random())
    np.testing.assert_allclose(moved.original, usual.original, rtol=1e-3, atol=1e-4)


def test_no_null_space_has_no_controls():
    subject = world(null=("hue",))
    full = subject.space.__class__(
        **{
            **subject.space.__dict__,
            "rank": subject.space.feature_dim,
            "basis": np.zeros((17, 0)),
            "basis_is_null": True,
        }
    )
    subject = subject.__class__(**{**subject.__dict__, "space": full})
    assert run_controls(subject, measure(subject)) == []


def test_images_without_a_value_are_no_control_for_it():
    # 256 of 6,000 images need not show a value that few have: a margin of the other one alone is no margin at all.
    found = []
    for seed in range(6):
        subject = world(seed=seed, n=6000, null=("hue",), values=2, shares=(0.9955, 0.0045))
        subject = replace(subject, groups=subject.groups[:1])
        rows = next(blocks(subject, limit=MAX_IMAGES)).rows
        measured = measure(subject)
        families = run_controls(subject, measured)
        shown = len(np.unique(subject.groups[0].labels[rows]))
        found.append(shown)
        judged = judge_groups(subject, measured, families)[0]
        shuffled = next(f for f in families if f.name == SHUFFLED).groups.get("hue")
        if shown < 2:
            assert shuffled is None
            assert judged.finding == "cannot tell"
            assert "nothing to compare" in judged.rule
        else:
            assert abs(shuffled["margin_deg"].mean) < 3
            assert judged.finding == "strong"
    assert set(found) == {1, 2}


def test_a_value_that_the_controls_images_miss_is_left_out_of_their_texts():
    # A shuffled translator reads nothing: over the values that are shown, margins average 0 whatever the texts are.
    subject = world(n=3000, null=("hue",), values=4, shares=(0.33, 0.33, 0.33, 0.01))
    group, common = subject.groups[0], subject.embeddings.mean(axis=0)
    texts = group.texts + 3 * np.array([1, 0, 0, -1])[:, None] * common / np.linalg.norm(common)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    subject = replace(subject, groups=(replace(group, texts=texts, second_texts=texts),))
    rows = next(blocks(subject, limit=MAX_IMAGES)).rows
    labels = subject.groups[0].labels.copy()
    labels[rows[labels[rows] == 3]] = -1
    subject = replace(subject, groups=(replace(subject.groups[0], labels=labels),))
    measured = measure(subject)
    assert len(measured.groups[0].values.present) == 4
    shuffled = next(f for f in run_controls(subject, measured) if f.name == SHUFFLED).groups["hue"]
    assert abs(shuffled["margin_deg"].mean) < 1
