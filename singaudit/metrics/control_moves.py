"""Draws of something meaningless in the null space's or the translator's place, as translated features.

Everything is computed from translated vectors: a random subspace with basis B enters through f B (n, k) and
B' W (k, d), so that a draw costs two thin products, and its moves of both lengths come from one projection. In
float32: angles between embeddings are then right within 1e-3 degrees, far below the spread of any control.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singaudit.language.statistics import solve_ridge
from singaudit.language.translator import fold_of
from singaudit.metrics.controls import random_subspace
from singaudit.metrics.subject import Block, Subject

Single = NDArray[np.float32]

HAAR, MATCHED, DIRECTIONS, SHUFFLED = (
    "random subspaces of the same dimension",
    "random subspaces, moves of the same length",
    "random directions, moves of the same length",
    "shuffled translator",
)
# Pairs that a shuffled translator is fitted on.
_MAX_SHUFFLED = 4096


@dataclass(frozen=True)
class Moved:
    """Translated features (n, d) and their equivalents."""

    original: Single
    zero: Single
    mean: Single
    swapped: Single | None
    any_swapped: Single | None


def unit_single(rows: Single) -> Single:
    """Rows (n, d) of length 1, in float32; zero rows stay."""
    norm = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    return (rows / np.where(norm > 0, norm, np.float32(1))[:, None]).astype(np.float32, copy=False)


class Subspaces:
    """Draws of random subspaces and directions, with moves of any length."""

    def __init__(self, subject: Subject, block: Block) -> None:
        self._generator = np.random.default_rng([subject.seed, 1])
        self._dim, self._of = subject.space.null_dim, subject.space.feature_dim
        self._fold, self._donors, self._any = block.fold, block.donors, block.any_donors
        translators = subject.fitted.translators
        self._weights = [t.weight.astype(np.float32) for t in translators]
        self._features = block.features.astype(np.float32)
        self._means = np.stack([t.mean for t in translators]).astype(np.float32)
        self._original = block.original.astype(np.float32)
        self._whole = self._translate(self._features), self._per_fold(self._means)
        null, mean = block.null.astype(np.float32), block.null_mean.astype(np.float32)
        self._lengths = [
            np.linalg.norm(x, axis=1) for x in (null, null - mean, null[self._donors] - null, null[self._any] - null)
        ]

    def _translate(self, rows: Single) -> Single:
        """Rows (n, m) through the linear part of each image's translator -> (n, d)."""
        result = np.empty((len(rows), self._weights[0].shape[1]), np.float32)
        for k, weight in enumerate(self._weights):
            result[self._fold == k] = rows[self._fold == k] @ weight
        return result

    def _per_fold(self, rows: Single) -> Single:
        """Row k (m,) through translator k -> (n, d), that of each image's fold."""
        return np.stack([row @ weight for row, weight in zip(rows, self._weights, strict=True)])[self._fold]

    def draw(self) -> Iterator[tuple[str, Moved]]:
        """One random subspace as it falls, the same with matched lengths, and one random direction per image."""
        basis, complement = random_subspace(self._dim, self._of, self._generator)
        inside, mean_inside = self._features @ basis, self._means @ basis
        thin = [basis.T @ weight for weight in self._weights]
        moved = np.empty_like(self._original)
        for k, weight in enumerate(thin):
            moved[self._fold == k] = inside[self._fold == k] @ weight
        mean_moved = np.stack([row @ weight for row, weight in zip(mean_inside, thin, strict=True)])[self._fold]
        if complement:
            moved, mean_moved = self._whole[0] - moved, self._whole[1] - mean_moved
        means = self._means[self._fold], mean_inside[self._fold]
        zero = moved, self._inside_length(self._features, inside, complement)
        mean = moved - mean_moved, self._inside_length(self._features - means[0], inside - means[1], complement)
        swaps = [
            (moved[d] - moved, self._inside_length(self._features[d] - self._features, inside[d] - inside, complement))
            for d in (self._donors, self._any)
        ]
        plain = [zero[0], mean[0], -swaps[0][0], -swaps[1][0]]
        yield HAAR, Moved(self._original, *(self._original - move for move in plain))
        matched = [
            move * (wanted / np.where(length > 0, length, np.float32(1)))[:, None]
            for move, (_, length), wanted in zip(plain, (zero, mean, *swaps), self._lengths, strict=True)
        ]
        yield MATCHED, Moved(self._original, *(self._original - move for move in matched))
        noise = self._generator.standard_normal(self._features.shape, dtype=np.float32)
        direction = self._translate(unit_single(noise))
        zero_end, mean_end = (self._original - direction * length[:, None] for length in self._lengths[:2])
        yield DIRECTIONS, Moved(self._original, zero_end, mean_end, None, None)

    def _inside_length(self, whole: Single, inside: Single, complement: bool) -> Single:
        """Lengths of the parts of ``whole`` (n, m) inside the subspace, from coordinates (n, k) in its basis."""
        square = np.einsum("ij,ij->i", inside, inside)
        if complement:
            square = np.einsum("ij,ij->i", whole, whole) - square
        length: Single = np.sqrt(np.maximum(square, 0))
        return length


class Shuffles:
    """Draws of translators fitted on images paired with other images' embeddings, with the audit's own penalties."""

    def __init__(self, subject: Subject, block: Block) -> None:
        self._generator = np.random.default_rng([subject.seed, 4])
        fitted = subject.fitted
        if subject.probe is not None:
            features, z, fold = *subject.probe, np.full(len(subject.probe[0]), -1, np.intp)
        else:
            features, z, fold = subject.features, subject.embeddings, fold_of(subject.sha256)
        rows = np.sort(self._generator.permutation(len(features))[:_MAX_SHUFFLED])
        self._z = np.asarray(z[rows], dtype=np.float32)
        # Rows of a fold side by side: its products are then those of one slice.
        self._order = np.argsort(fold[rows], kind="stable")
        self._folds, self._starts = np.unique(fold[rows][self._order], return_index=True)
        self._sizes = np.diff(self._starts, append=len(rows))
        self._training = np.asarray(features[rows], dtype=np.float32)[self._order]
        self._donors, self._any = block.donors, block.any_donors
        # Per translator: the mean of its pairs, its images, and for these (f - mean) A^-1, (P_n f) A^-1,
        # (P_n mean) A^-1.
        self._parts: list[tuple[Single, NDArray[np.bool_], Single, Single, Single]] = []
        for k, translator in enumerate(fitted.translators):
            f = self._training[fold[rows][self._order] != k]
            own = block.fold == k
            mean = f.mean(axis=0, dtype=np.float64)
            centred = f - mean
            # A published translator's penalty is not known: that of the ones which are fitted here stands in for it.
            like = translator if translator.penalty > 0 else fitted.principal[min(k, len(fitted.principal) - 1)]
            stacked = np.concatenate([block.features[own] - mean, block.null[own], block.null_mean[own]])
            solved = solve_ridge(centred.T @ centred, stacked.T, like.penalty * len(f) / like.images).T
            self._parts.append((mean.astype(np.float32), own, *np.split(solved.astype(np.float32), 3)))

    def draw(self) -> Moved:
        """Translated features and equivalents by translators of one permutation."""
        z = self._z[self._generator.permutation(len(self._z))[self._order]]
        centre = z.mean(axis=0)
        z -= centre
        ends = self._starts + self._sizes
        products = [self._training[a:b].T @ z[a:b] for a, b in zip(self._starts, ends, strict=True)]
        sums = np.add.reduceat(z, self._starts, axis=0, dtype=np.float64)
        whole = sum(products)
        n, d = len(self._donors), z.shape[1]
        original, moved, mean = (np.empty((n, d), np.float32) for _ in range(3))
        for k, (mean_f, own, f, null, null_mean) in enumerate(self._parts):
            used = self._folds != k
            rest = sums[used].sum(axis=0)
            left_out = [product for product, kept in zip(products, used, strict=True) if not kept]
            # The rows' mean is already out of f on one side; F'Z needs it out as well.
            weight = sum((-product for product in left_out), whole) - np.outer(mean_f, rest.astype(np.float32))
            original[own] = centre + (rest / self._sizes[used].sum()).astype(np.float32) + f @ weight
            moved[own] = null @ weight
            mean[own] = null_mean @ weight
        zero = original - moved
        return Moved(original, zero, zero + mean, zero + moved[self._donors], zero + moved[self._any])
