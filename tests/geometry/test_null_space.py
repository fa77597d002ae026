"""The null space against a slow float64 truth, and the rank rule on heads whose rank is known."""

import numpy as np
import pytest

from singaudit.classifier.interface import Head
from singaudit.geometry.equivalents import remove_null, remove_null_to_mean, swap_null
from singaudit.geometry.near_null import near_null_dim
from singaudit.geometry.null_space import null_space, ranks_of


def head(weight, stored="float32", step=None):
    weight = np.asarray(weight, dtype=np.float64)
    return Head(
        weight=weight, bias=np.zeros(len(weight)), stored_dtype=stored, quantisation_step=step, kind="Gemm",
        nodes=("fc",), features="f", logits="y", max_error=0.0, activation="softmax", activation_stated=True,
    )  # fmt: skip


def bfloat16(x):
    bits = np.asarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


def int8(x):
    step = np.abs(x).max(axis=1) / 127
    return np.round(x / step[:, None]) * step[:, None], step


def stored(weight, dtype):
    if dtype == "float32":
        return head(np.float32(weight))
    if dtype == "float16":
        return head(np.float16(weight), "float16")
    if dtype == "bfloat16":
        return head(bfloat16(weight), "bfloat16")
    rounded, step = int8(weight)
    return head(rounded, "int8", step)


@pytest.fixture(scope="module")
def plain():
    # A trained head's scale: near-Gaussian rows of unequal size.
    rng = np.random.default_rng(0)
    return rng.normal(0, 0.03, (200, 256)) * rng.uniform(0.5, 2, (200, 1))


@pytest.mark.parametrize("shape", [(2, 40), (30, 40), (40, 40), (60, 40), (10, 64), (1, 8)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_projection_agrees_with_the_full_decomposition(shape, dtype):
    rng = np.random.default_rng(1)
    w = rng.normal(size=shape)
    space = null_space(head(np.float32(w) if dtype == "float32" else w, dtype))
    w = np.asarray(head(np.float32(w) if dtype == "float32" else w).weight)
    _, s, vt = np.linalg.svd(w)
    f = rng.normal(size=(7, shape[1]))
    truth = f @ vt[len(s) :].T @ vt[len(s) :]
    assert space.rank == min(shape)
    np.testing.assert_allclose(space.null_part(f), truth, atol=1e-10)
    np.testing.assert_allclose(space.principal_part(f), f - truth, atol=1e-10)
    np.testing.assert_allclose(space.singular_values, s, rtol=1e-6)


@pytest.mark.parametrize("shape", [(2, 40), (30, 40), (40, 40), (60, 40), (10, 64), (1, 8)])
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16", "int8"])
@pytest.mark.parametrize("kind", ["plain", "centred", "dependent"])
def test_ranks_need_no_basis(shape, dtype, kind):
    w = np.random.default_rng(5).normal(size=shape)
    if kind == "centred" and len(w) > 1:
        w -= w.mean(axis=0)
    if kind == "dependent":
        w[len(w) // 2 :] = w[0]
    given = head(w, dtype) if dtype == "float64" else stored(w, dtype)
    space, ranks = null_space(given), ranks_of(given)
    kept = space.singular_values[: space.rank]
    np.testing.assert_allclose(ranks.singular_values[: space.rank], kept, rtol=1e-9)
    assert ranks.singular_values.shape == space.singular_values.shape
    for name in ("tolerance_reason", "rank", "softmax_rank", "feature_dim", "null_dim", "softmax_null_dim"):
        assert getattr(ranks, name) == getattr(space, name)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int8"])
def test_centred_rows_lose_one_rank_in_every_storage_format(plain, dtype):
    assert null_space(stored((plain - plain.mean(axis=0)) * 100, dtype)).rank == 199


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_dependent_rows_are_seen_in_every_storage_format(plain, dtype):
    rng = np.random.default_rng(2)
    dependent = rng.normal(size=(200, 64)) @ plain[:64] * 30 / 8
    assert null_space(stored(dependent, dtype)).rank == 64


def test_rank_does_not_depend_on_the_scale_of_the_weights(plain):
    assert {null_space(head(np.float32(plain * k))).rank for k in (1e-6, 1.0, 1e6)} == {200}


def test_full_rank_heads_stay_full_rank_in_low_precision(plain):
    assert [null_space(stored(plain, d)).rank for d in ("float32", "float16", "bfloat16", "int8")] == [200] * 4


def test_float64_heads_resolve_what_a_gram_matrix_cannot():
    rng = np.random.default_rng(3)
    u, _ = np.linalg.qr(rng.normal(size=(60, 60)))
    v, _ = np.linalg.qr(rng.normal(size=(80, 60)))
    s = np.concatenate([np.logspace(0, -11, 50), np.zeros(10)])
    assert null_space(head((u * s) @ v.T, "float64")).rank == 50


def test_softmax_null_space_has_one_more_dimension_only_when_ones_are_reachable():
    rng = np.random.default_rng(4)
    assert null_space(head(np.float32(rng.normal(size=(10, 32))))).softmax_null_dim == 23
    tall = null_space(head(np.float32(rng.normal(size=(32, 10)))))
    assert (tall.null_dim, tall.softmax_null_dim) == (0, 0)
    square = null_space(head(np.float32(rng.normal(size=(12, 12)))))
    assert (square.null_dim, square.softmax_null_dim) == (0, 1)
    centred = rng.normal(size=(10, 32))
    centred -= centred.mean(axis=0)
    space = null_space(head(np.float32(centred)))
    assert (space.null_dim, space.softmax_null_dim) == (23, 23)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int8"])
@pytest.mark.parametrize("shape", [(2, 40), (30, 40), (40, 30), (33, 33), (50, 8)])
def test_softmax_rank_is_that_of_the_centred_weight(shape, dtype):
    rng = np.random.default_rng(7)
    dependent = rng.normal(size=(shape[0], 2)) @ rng.normal(size=(2, shape[1]))
    for w in (rng.normal(size=shape), rng.normal(size=shape) + 30 * rng.normal(size=shape[1]), dependent * 1e-3):
        for weight in (w, w - w.mean(axis=0)):
            space = null_space(stored(weight, dtype))
            kept = stored(weight, dtype).weight
            truth = np.linalg.svd(kept - kept.mean(axis=0), compute_uv=False)
            assert space.softmax_rank == min(space.rank, np.count_nonzero(truth > space.tolerance))


def test_a_zero_head_sees_nothing():
    space = null_space(head(np.zeros((3, 5))))
    assert (space.rank, space.null_dim, space.softmax_null_dim) == (0, 5, 5)
    f = np.ones((2, 5))
    np.testing.assert_array_equal(space.null_part(f), f)


def test_equivalents_keep_every_logit():
    rng = np.random.default_rng(5)
    for shape in ((4, 30), (28, 30)):
        w = np.float32(rng.normal(size=shape)).astype(np.float64)
        space = null_space(head(w))
        f = rng.normal(size=(50, 30)) * 3
        for other in (
            remove_null(f, space),
            remove_null_to_mean(f, f.mean(axis=0), space),
            swap_null(f, rng.permutation(50), space),
        ):
            np.testing.assert_allclose(other @ w.T, f @ w.T, atol=1e-9)
            assert np.abs(other - f).max() > 0.1


def test_mean_removal_leaves_one_common_null_component():
    rng = np.random.default_rng(6)
    space = null_space(head(np.float32(rng.normal(size=(4, 30)))))
    f = rng.normal(size=(50, 30))
    null = space.null_part(remove_null_to_mean(f, f.mean(axis=0), space))
    np.testing.assert_allclose(null, np.broadcast_to(null[0], null.shape), atol=1e-12)


@pytest.mark.parametrize("shape", [(40, 90), (90, 40), (1, 30)])
def test_near_null_dimensions_are_counted_as_singular_values_count_them(shape):
    rng = np.random.default_rng(0)
    # Singular values over twelve orders of magnitude: squares of the smallest are lost in the Gram matrix.
    u, _, v = np.linalg.svd(rng.normal(size=shape), full_matrices=False)
    weight = (u * np.logspace(0, -12, len(v))) @ v
    covariance = np.cov(rng.normal(size=(400, shape[1])), rowvar=False)
    values, vectors = np.linalg.eigh(covariance)
    moved = weight @ (vectors * np.sqrt(values))
    moved /= np.linalg.norm(moved, axis=1)[:, None]
    for fraction in (0.5, 0.01, 1e-4):
        truth = shape[1] - int((np.linalg.svd(moved, compute_uv=False) >= fraction).sum())
        assert near_null_dim(weight, covariance, fraction) == (truth, truth / shape[1])


def test_near_null_counts_directions_whose_logit_movement_is_small():
    # Two logits see coordinates 0 and 1; coordinate 2 is seen with a thousandth of the weight; 3 is exactly null.
    w = np.array([[1.0, 0, 1e-3, 0], [0, 1.0, 0, 0]])
    dim, share = near_null_dim(w, np.eye(4), 0.01)
    assert (dim, share) == (2, 0.5)
    assert near_null_dim(w, None, 0.01) == (dim, share)
    # Variation that does not occur in the data does not count.
    assert near_null_dim(w, np.diag([1.0, 1, 0, 0]), 0.01)[0] == 0


def test_a_logit_that_the_data_does_not_move_sees_nothing():
    # The third logit reads coordinate 2 alone, along which features vary by less than rounding.
    w = np.array([[1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 1.0, 0]])
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]
    covariance = turn.T @ np.diag([1.0, 1.0, 1e-20, 1.0]) @ turn
    assert near_null_dim(w @ turn, covariance, 0.01) == (1, 1 / 3)


def test_rank_sensitivity_reports_the_rank_at_other_tolerances():
    space = null_space(head(np.float32(np.diag([1.0, 1e-2, 1e-9]))))
    assert space.rank == 2
    assert space.rank_at(1e6) == 1
    assert space.gap is None or space.gap > 1e3
