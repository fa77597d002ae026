"""What whitens the quadratic probe is the same whether it follows from rows or from columns."""

import numpy as np
import pytest

from singaudit.metrics import nonlinear


def truth(x):
    """By the covariance, in full."""
    mean = x.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(x.T, bias=True))
    leading = np.argsort(-values)[: nonlinear.WIDTH]
    size = np.sqrt(np.maximum(values[leading], 0) + 0.1 * values.mean())
    return mean, vectors[:, leading] / size


@pytest.mark.parametrize(("rows", "columns"), [(150, 300), (300, 150), (300, 30), (64, 100)])
def test_few_rows_are_whitened_as_by_their_covariance(rows, columns):
    x = np.random.default_rng(0).standard_normal((rows, columns)) * np.linspace(3, 0.1, columns) + 2
    (mean, found), (expected, root) = nonlinear._whitening(x), truth(x)
    np.testing.assert_allclose(mean, expected)
    kept = slice(min(nonlinear.WIDTH, rows - 1, columns))
    signs = np.sign((found * root).sum(axis=0))
    np.testing.assert_allclose(found[:, kept], (root * signs)[:, kept], atol=1e-9)


def test_features_that_vary_in_few_directions_are_whitened_by_their_covariance():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((100, 5)) @ rng.standard_normal((5, 200))
    whitened = (x - x.mean(axis=0)) @ nonlinear._whitening(x)[1]
    spread = np.linalg.eigvalsh(np.cov(whitened.T, bias=True))
    assert (spread[-5:] > 0.9).all()
    np.testing.assert_allclose(spread[:-5], 0, atol=1e-9)
