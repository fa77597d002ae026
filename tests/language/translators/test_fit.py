"""The translator against scikit-learn's Ridge, and what cross-fitting promises."""

import hashlib

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from singaudit.classifier.interface import Head
from singaudit.errors import LanguageError
from singaudit.geometry.null_space import null_space
from singaudit.language.translators.fit import FOLDS, by_fold, fit, fit_ridge, fit_translator, fold_of
from singaudit.language.translators.statistics import accumulate, solve_ridge, total

RNG = np.random.default_rng(0)
M, D = 24, 7


def world(n, noise=0.3, seed=1):
    rng = np.random.default_rng(seed)
    f = np.maximum(rng.normal(0.3, 1, (n, M)), 0).astype(np.float32)
    z = (f @ np.random.default_rng(9).normal(size=(M, D)) + noise * rng.normal(size=(n, D))).astype(np.float32)
    return f, z, [hashlib.sha256(f"{seed}/{i}".encode()).hexdigest() for i in range(n)]


def space(c=5):
    w = np.float32(np.random.default_rng(3).normal(size=(c, M))).astype(np.float64)
    return null_space(Head(w, np.zeros(c), "float32", None, "Gemm", ("fc",), "f", "y", 0.0, "softmax", True))


@pytest.mark.parametrize("penalty", [1e-3, 1.0, 300.0])
def test_ridge_from_statistics_agrees_with_scikit_learn(penalty):
    f, z, _ = world(9000)
    ours = fit_ridge(total(accumulate(f, z, np.arange(9000) % 3, 3)), penalty)
    theirs = Ridge(alpha=penalty).fit(f.astype(np.float64), z.astype(np.float64))
    np.testing.assert_allclose(ours.weight, theirs.coef_.T, rtol=0, atol=1e-9)
    np.testing.assert_allclose(ours(f[:50]), theirs.predict(f[:50]), atol=1e-5)


def test_principal_translator_is_ridge_on_projected_features():
    f, z, _ = world(3000)
    s = space()
    data = total(accumulate(f, z, np.zeros(3000, np.intp), 1))
    ours = fit_ridge(data, 2.0, s)
    p = s.principal_part(f)
    theirs = Ridge(alpha=2.0).fit(p, z.astype(np.float64))
    np.testing.assert_allclose(ours(p[:50]), theirs.predict(p[:50]), atol=1e-6)


def test_the_penalty_grows_with_the_noise():
    quiet = fit_translator(accumulate(*world(400, 0.01)[:2], np.arange(400) % FOLDS, FOLDS))
    loud = fit_translator(accumulate(*world(400, 30.0)[:2], np.arange(400) % FOLDS, FOLDS))
    assert loud.penalty > 10 * quiet.penalty


def test_cross_validated_penalty_is_the_best_on_held_out_data_by_brute_force():
    from singaudit.language.translators.penalties import PENALTIES, unit_penalty

    f, z, _ = world(300, 3.0)
    group = np.arange(300) % FOLDS
    errors = []
    for p in PENALTIES:
        error = 0.0
        for k in range(FOLDS):
            train = group != k
            unit = unit_penalty(total(accumulate(f[train], z[train], np.zeros(train.sum(), np.intp), 1)))
            model = Ridge(alpha=p * unit).fit(f[train].astype(np.float64), z[train].astype(np.float64))
            error += np.sum((model.predict(f[~train].astype(np.float64)) - z[~train]) ** 2)
        errors.append(error)
    ours = fit_translator(accumulate(f, z, group, FOLDS))
    everything = total(accumulate(f, z, np.zeros(300, np.intp), 1))
    assert ours.penalty == pytest.approx(PENALTIES[np.argmin(errors)] * unit_penalty(everything))


def test_no_image_is_scored_by_a_translator_that_saw_it():
    f, z, sha = world(600)
    fitted = fit(f, z, sha, space())
    changed = z.copy()
    changed[17] += 5
    again = fit(f, changed, sha, space())
    own = fold_of(sha)[17]
    before = by_fold(lambda k: fitted.translators[k], fitted.fold[[17]], f[[17]].astype(np.float64))
    after = by_fold(lambda k: again.translators[k], again.fold[[17]], f[[17]].astype(np.float64))
    np.testing.assert_array_equal(before, after)
    assert not np.allclose(fitted.translators[(own + 1) % FOLDS].weight, again.translators[(own + 1) % FOLDS].weight)


def test_order_of_the_images_changes_nothing():
    f, z, sha = world(500)
    order = np.random.default_rng(5).permutation(500)
    one, two = fit(f, z, sha, space()), fit(f[order], z[order], [sha[i] for i in order], space())
    np.testing.assert_array_equal(one.fold[order], two.fold)
    for a, b in zip(one.translators, two.translators, strict=True):
        np.testing.assert_allclose(a.weight, b.weight, atol=1e-9)


def test_probe_images_alone_fit_the_translator():
    f, z, sha = world(300)
    pf, pz, psha = world(400, seed=2)
    fitted = fit(f, z, sha, space(), (pf, pz, psha))
    assert (len(fitted.translators), fitted.images, fitted.on_probe) == (1, 400, True)
    alone = fit_translator(accumulate(pf, pz, fold_of(psha), FOLDS))
    np.testing.assert_array_equal(fitted.translators[0].weight, alone.weight)


def test_too_few_images_are_refused_in_words():
    f, z, sha = world(1)
    with pytest.raises(LanguageError, match="too few"):
        fit(f, z, sha, space())


def test_statistics_add_up_over_any_split():
    f, z, _ = world(10000)
    whole = total(accumulate(f, z, np.zeros(10000, np.intp), 1))
    parts = total(accumulate(f, z, np.random.default_rng(0).integers(0, 4, 10000), 4))
    np.testing.assert_allclose(whole.ff, parts.ff, rtol=1e-12)
    assert whole.zz == pytest.approx(parts.zz, rel=1e-12)


def test_cross_fitting_gives_what_fitting_on_the_others_gives():
    rng = np.random.default_rng(4)
    f, z = rng.normal(size=(400, 30)), rng.normal(size=(400, 6))
    z += f[:, :6]
    sha = [hashlib.sha256(str(i).encode()).hexdigest() for i in range(400)]
    fold = fold_of(sha)
    head = Head(rng.normal(size=(5, 30)), np.zeros(5), "float32", None, "Gemm", ("fc",), "f", "y", 0.0, "softmax", True)
    fitted = fit(f, z, sha, null_space(head))
    for k, translator in enumerate(fitted.translators):
        parts = accumulate(f[fold != k], z[fold != k], fold[fold != k], FOLDS)
        alone = fit_translator(parts)
        assert translator.penalty == pytest.approx(alone.penalty, rel=1e-12)
        np.testing.assert_allclose(translator.weight, alone.weight, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("m", [1, 63, 64, 200])
def test_a_ridge_system_is_solved_a_block_at_a_time(m):
    rows, y = RNG.normal(size=(300, m)) * np.logspace(0, -5, m), RNG.normal(size=(m, 3))
    ff = rows.T @ rows
    truth = np.linalg.solve(ff + 1e-3 * np.eye(m), y)
    np.testing.assert_allclose(solve_ridge(ff, y, 1e-3), truth, rtol=1e-8, atol=1e-8 * np.abs(truth).max())
    # What rounding left below 0 is solved all the same.
    np.testing.assert_allclose(solve_ridge(-np.eye(m), y, 1e-3), y / (1e-3 - 1))


@pytest.mark.parametrize("noise", [0.1, 3.0, 30.0])
def test_fewer_images_than_features_are_fitted_as_by_their_statistics(noise):
    rng = np.random.default_rng(6)
    f = (5 + rng.normal(size=(160, 8)) @ rng.normal(size=(8, 200)) + 0.1 * rng.normal(size=(160, 200))).astype(
        np.float32
    )
    z = (f[:, :4] + noise * rng.normal(size=(160, 4))).astype(np.float32)
    sha = [hashlib.sha256(str(i).encode()).hexdigest() for i in range(160)]
    fold = fold_of(sha)
    head = Head(
        rng.normal(size=(5, 200)), np.zeros(5), "float32", None, "Gemm", ("fc",), "f", "y", 0.0, "softmax", True
    )
    s = null_space(head)
    fitted, by_probe = fit(f, z, sha, s), fit(f, z, sha, s, (f, z, sha))
    parts = accumulate(f, z, fold, FOLDS)
    everything = fit_translator(parts)
    assert by_probe.translators[0].penalty == pytest.approx(everything.penalty, rel=1e-9)
    np.testing.assert_allclose(by_probe.translators[0].weight, everything.weight, rtol=1e-6, atol=1e-9)
    for k, translator in enumerate(fitted.translators):
        others = [part for i, part in enumerate(parts) if i != k]
        truth = fit_ridge(total(others), translator.penalty)
        principal = fit_ridge(total(others), translator.penalty, s)
        halves = [
            fit_ridge(total(half), translator.penalty * total(half).n / truth.images)
            for half in (others[:2], others[2:])
        ]
        for found, expected in zip(
            (translator, fitted.principal[k], *fitted.halves[k]), (truth, principal, *halves), strict=True
        ):
            np.testing.assert_allclose(found.weight, expected.weight, rtol=1e-6, atol=1e-9)
            np.testing.assert_allclose(found(f), expected(f), atol=1e-6)
            np.testing.assert_allclose(found.mean, expected.mean)
            assert found.images == expected.images
