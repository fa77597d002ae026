"""Random subspaces are what they claim to be, and a score is placed among its draws."""

import numpy as np
import pytest

from singaudit.metrics.controls import compare, matched_moves, random_subspace


@pytest.mark.parametrize("dim", [0, 1, 3, 7, 9, 10])
def test_subspace_has_its_dimension_and_moves_have_their_length(dim):
    rng = np.random.default_rng(0)
    basis, complement = random_subspace(dim, 10, rng)
    x, norms = rng.normal(size=(30, 10)), rng.uniform(1, 2, 30)
    moves = matched_moves(x, norms, basis, complement)
    assert np.linalg.matrix_rank(moves) == dim
    np.testing.assert_allclose(np.linalg.norm(moves, axis=1), norms if dim else 0, atol=1e-12)
    # What is left over is orthogonal to the subspace.
    full = basis @ basis.T if not complement else np.eye(10) - basis @ basis.T
    np.testing.assert_allclose(moves @ full, moves, atol=1e-10)


def test_projected_length_has_the_expectation_of_a_haar_subspace():
    rng = np.random.default_rng(1)
    x = rng.normal(size=10)
    shares = []
    for _ in range(400):
        basis, complement = random_subspace(7, 10, rng)
        inside = basis @ (basis.T @ x)
        part = x - inside if complement else inside
        shares.append(part @ part / (x @ x))
    assert np.mean(shares) == pytest.approx(0.7, abs=0.03)


def test_percentile_and_effect_size():
    draws = np.arange(99.0)
    placed = compare(200.0, draws)
    assert (placed.percentile, placed.mean) == (100.0, 49.0)
    assert placed.effect_size == pytest.approx((200 - 49) / draws.std(ddof=1))
    assert compare(49.0, draws).percentile == pytest.approx(50.0)
    assert compare(1.0, np.ones(99)).effect_size is None
