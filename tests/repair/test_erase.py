"""Erased features hold nothing that a linear probe reads; the seen coordinates hold all that the logits need."""

import numpy as np

from singaudit.repair.erase import eraser
from singaudit.repair.refit import folds_of
from singaudit.repair.seen import probe_reading, seen_part


def coded(n=3000, m=12, seed=0):
    random = np.random.default_rng(seed)
    values = random.integers(0, 3, n).astype(np.intp)
    mixed = random.standard_normal((m, m))
    rows = random.standard_normal((n, m)) @ mixed
    return (rows + random.standard_normal((3, m))[values] * 3).astype(np.float32), values


def test_erased_features_do_not_covary_with_the_group():
    features, values = coded()
    erase = eraser(features, values)
    assert erase.rank == 2
    erased = erase(features)
    hot = np.eye(3)[values]
    across = (erased - erased.mean(axis=0)).T @ (hot - hot.mean(axis=0)) / len(values)
    assert np.abs(across).max() < 1e-8
    np.testing.assert_allclose(erased.mean(axis=0), features.mean(axis=0, dtype=np.float64), atol=1e-9)


def test_no_other_map_that_does_so_changes_less():
    # Compared with projecting the class means out orthogonally, which erases as well but moves more.
    features, values = coded(m=6)
    erased = eraser(features, values)(features)
    wide = features.astype(np.float64)
    means = np.stack([wide[values == k].mean(axis=0) for k in range(3)]) - wide.mean(axis=0)
    basis = np.linalg.svd(means)[2][:2].T
    orthogonal = wide - (wide - wide.mean(axis=0)) @ basis @ basis.T
    assert ((erased - wide) ** 2).sum() <= ((orthogonal - wide) ** 2).sum() * (1 + 1e-9)


def test_a_probe_reads_the_group_before_and_not_after():
    features, values = coded()
    fit, held = slice(0, 2000), slice(2000, 3000)
    erase = eraser(features[fit], values[fit])
    folds = folds_of(values[held], np.random.default_rng(0).permutation(1000))
    assert probe_reading(features[held], values[held], folds).low > 0.6
    assert probe_reading(erase(features[held]), values[held], folds).value < 0.42


def test_the_head_of_erased_features_is_the_old_one_on_erased_features():
    features, values = coded()
    random = np.random.default_rng(0)
    weight, bias = random.standard_normal((4, 12)), random.standard_normal(4)
    erase = eraser(features, values)
    new_weight, new_bias = erase.head(weight, bias)
    wide = features.astype(np.float64)
    np.testing.assert_allclose(wide @ new_weight.T + new_bias, erase(features) @ weight.T + bias, atol=1e-9)


def test_a_feature_that_never_varies_is_no_trouble():
    features, values = coded()
    features[:, 3] = 5.0
    erased = eraser(features, values)(features)
    assert np.isfinite(erased).all()
    np.testing.assert_allclose(erased[:, 3], 5.0)


def test_seen_coordinates_give_the_logits_back():
    random = np.random.default_rng(0)
    weight = random.standard_normal((7, 3)) @ random.standard_normal((3, 20))
    bias = random.standard_normal(7)
    seen = seen_part(weight, bias, 3)
    assert seen.basis.shape == (20, 3)
    np.testing.assert_allclose(seen.basis.T @ seen.basis, np.eye(3), atol=1e-12)
    features = random.standard_normal((50, 20))
    np.testing.assert_allclose(features @ seen.basis @ seen.weight.T + bias, features @ weight.T + bias, atol=1e-10)
    assert seen.lost < 1e-12
    again = seen_part(np.ascontiguousarray(weight), bias, 3)
    np.testing.assert_array_equal(seen.basis, again.basis)
