"""The head's null space: which directions of feature space no logit depends on.

Source: "Make it SING" (arXiv 2603.14610), section 3, with a rank rule that holds for scaled, centred and
low-precision heads as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singaudit.classifier.interface import Head
from singaudit.geometry.threads import threads_for

Array = NDArray[np.float64]

# Relative spacing of the stored formats' significands: 2^-10 and 2^-7.
_EPS_STORED = {"float16": 2.0**-10, "bfloat16": 2.0**-7}
# Above this ratio of m to c the (c, c) Gram matrix is the cheaper one even though the null basis is then
# only known as the complement of the principal one. Measured in examples/benchmarks/.
_GRAM_RATIO = 1.5


@dataclass(frozen=True)
class Ranks:
    """How many dimensions of feature space the logits see, and how many they cannot."""

    singular_values: Array
    """(min(c, m),), descending."""
    tolerance: float
    """Singular values at or below it count as zero."""
    tolerance_reason: str
    """Where the tolerance comes from, in words."""
    rank: int
    """r: number of singular values above the tolerance."""
    softmax_rank: int
    """Rank of the row-centred weight: what class probabilities see."""
    feature_dim: int
    """m."""

    @property
    def null_dim(self) -> int:
        """m - r: dimension of the logit null space."""
        return self.feature_dim - self.rank

    @property
    def softmax_null_dim(self) -> int:
        """Dimension of the space along which no class probability changes."""
        return self.feature_dim - self.softmax_rank

    @property
    def gap(self) -> float | None:
        """Smallest kept over largest dropped singular value; None if none was dropped or the dropped are 0."""
        dropped = self.singular_values[self.rank :]
        if self.rank == 0 or dropped.size == 0 or dropped[0] <= 0:
            return None
        return float(self.singular_values[self.rank - 1] / dropped[0])

    def rank_at(self, factor: float) -> int:
        """The rank at ``factor`` times the tolerance."""
        return int(np.count_nonzero(self.singular_values > factor * self.tolerance))


@dataclass(frozen=True)
class NullSpace(Ranks):
    """Feature space split into what the logits see and what they cannot."""

    basis: Array
    """(m, k), orthonormal columns: of the null space or of the principal space, whichever is narrower to use."""
    basis_is_null: bool
    """Which of the two ``basis`` spans."""

    def null_part(self, features: NDArray[np.floating]) -> Array:
        """P_n f for each row of ``features`` (n, m), in float64, never through an m x m matrix."""
        f = np.asarray(features, dtype=np.float64)
        inside = (f @ self.basis) @ self.basis.T
        return inside if self.basis_is_null else f - inside

    def principal_part(self, features: NDArray[np.floating]) -> Array:
        """P_p f for each row of ``features`` (n, m), in float64."""
        f = np.asarray(features, dtype=np.float64)
        inside = (f @ self.basis) @ self.basis.T
        return f - inside if self.basis_is_null else inside


def rank_tolerance(weight: Array, s_max: float, stored_dtype: str, step: Array | None) -> tuple[float, str]:
    """The value at or below which a singular value of ``weight`` (c, m) is rounding, and why.

    The arithmetic term is numpy's ``max(c, m) * eps * s_max``. Rounding to a coarse storage format adds noise of
    standard deviation ``step / sqrt(12)`` per element; the largest singular value of such a noise matrix is
    ``(sqrt(c) + sqrt(m))`` times that, and a factor 2 covers elements above the root mean square.
    """
    c, m = weight.shape
    eps = np.finfo(np.float64 if stored_dtype == "float64" else np.float32).eps
    arithmetic = s_max * max(c, m) * float(eps)
    edge = (np.sqrt(c) + np.sqrt(m)) / np.sqrt(12)
    storage = 0.0
    if stored_dtype in _EPS_STORED:
        storage = 2 * float(np.sqrt(np.mean(weight**2))) * _EPS_STORED[stored_dtype] * edge
    elif stored_dtype.startswith("int") and step is not None:
        storage = 2 * float(np.sqrt(np.mean(np.square(step)))) * edge
    if storage > arithmetic:
        return float(storage), f"rounding of the weights to {stored_dtype}"
    return float(arithmetic), "float64 arithmetic" if stored_dtype == "float64" else "float32 arithmetic"


def null_space(head: Head) -> NullSpace:
    """Split the feature space of ``head``: rank, both null dimensions and one orthonormal basis.

    Weights stored in float32 or coarser go through an eigendecomposition of the smaller Gram matrix in float64,
    which resolves singular values down to 1e-8 of the largest, below any tolerance used here; a head stored in
    float64 needs a singular value decomposition, because its tolerance is finer than that.
    """
    with threads_for(min(head.weight.shape)):
        weight, gram = _prepared(head)
        if gram is None:
            _, s_all, vt = np.linalg.svd(weight, full_matrices=weight.shape[1] <= _GRAM_RATIO * len(weight))
            vectors = vt.T
        else:
            s_all, vectors = _gram_svd(weight, gram)
        ranks = _ranks(head, weight, gram, s_all)
    m, rank = ranks.feature_dim, ranks.rank
    if vectors.shape[1] == m and m - rank < rank:
        basis, is_null = vectors[:, rank:], True
    else:
        basis, is_null = vectors[:, :rank], False
    return NullSpace(**vars(ranks), basis=np.ascontiguousarray(basis), basis_is_null=is_null)


def ranks_of(head: Head) -> Ranks:
    """As ``null_space``, without a basis: from eigenvalues alone, in a quarter of the time."""
    with threads_for(min(head.weight.shape)):
        weight, gram = _prepared(head)
        if gram is None:
            s_all = np.asarray(np.linalg.svd(weight, compute_uv=False), dtype=np.float64)
        else:
            s_all = np.sqrt(np.clip(np.linalg.eigvalsh(gram), 0.0, None))[::-1][: min(weight.shape)]
        return _ranks(head, weight, gram, s_all)


def _prepared(head: Head) -> tuple[Array, Array | None]:
    """The weight in float64, and its Gram matrix, W'W or WW', where that is precise enough."""
    weight = np.asarray(head.weight, dtype=np.float64)
    c, m = weight.shape
    if head.stored_dtype == "float64":
        return weight, None
    return weight, weight.T @ weight if m <= _GRAM_RATIO * c else weight @ weight.T


def _ranks(head: Head, weight: Array, gram: Array | None, s_all: Array) -> Ranks:
    tolerance, reason = rank_tolerance(
        weight, float(s_all[0]) if s_all.size else 0.0, head.stored_dtype, head.quantisation_step
    )
    rank = int(np.count_nonzero(s_all > tolerance))
    return Ranks(
        singular_values=s_all,
        tolerance=tolerance,
        tolerance_reason=reason,
        rank=rank,
        softmax_rank=_softmax_rank(weight, gram, tolerance, rank),
        feature_dim=weight.shape[1],
    )


def _gram_svd(weight: Array, gram: Array) -> tuple[Array, Array]:
    """Singular values (min(c, m),) descending and right singular vectors, from W'W (m, m) or WW' (c, c).

    The vectors are (m, m) from W'W, and (m, k) from WW' with k the singular values that are not vanishing.
    """
    c, m = weight.shape
    values, vectors = np.linalg.eigh(gram)
    s, vectors = np.sqrt(np.clip(values[::-1], 0, None)), vectors[:, ::-1]
    if len(gram) == m:
        return s[: min(c, m)], vectors
    # Vectors of vanishing singular values are noise and are never used: the rank cut drops them.
    used = s > (s[0] * 1e-8 if s.size else 0)
    right = weight.T @ (vectors[:, used] / s[used])
    # V = W'U/s loses orthogonality as s_max/s grows; one QR restores it to rounding.
    if used.any() and s[used][-1] < 1e-3 * s[0]:
        right = np.linalg.qr(right)[0]
    return s, right


def _softmax_rank(weight: Array, gram: Array | None, tolerance: float, rank: int) -> int:
    """Rank of the row-centred weight: r - 1 when the all-ones vector lies in W's column space, else r.

    Adding one constant to every logit changes no probability. Centring the rows' mean away lowers each singular
    value, none below its next (interlacing), so that the rank is r or r - 1. Which of the two: the determinant of
    the centred Gram matrix less tolerance^2 is negative when the number of eigenvalues below is odd. That takes one
    LU factorisation of the Gram matrix there already is (None: float64 weights, which need a decomposition).
    """
    c = len(weight)
    if rank == 0 or c == 1:
        return 0
    mean = weight.mean(axis=0)
    if gram is None:
        s = np.linalg.svd(weight - mean, compute_uv=False)
        return min(rank, int(np.count_nonzero(s > tolerance)))
    if len(gram) == weight.shape[1]:
        shifted = gram - c * np.outer(mean, mean)
    else:
        by_row = gram.mean(axis=0)
        shifted = gram - by_row - by_row[:, None] + by_row.mean()
    shifted[np.diag_indices_from(shifted)] -= tolerance**2
    sign, _ = np.linalg.slogdet(shifted)
    same_rank = sign == (-1) ** (len(gram) - rank)
    return rank if same_rank else rank - 1
