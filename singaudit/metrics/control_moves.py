"""Draws of something meaningless in the null space's or the translator's place, as translated features.

A draw of a random subspace with basis B costs the projection f B B' of the images' features and its translation; its
moves of both lengths come from that one projection. A draw of a shuffled translator is one product with Z. In
float32: angles between embeddings are then right within 1e-3 degrees, far below the spread of any control.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singaudit.language.translators.fit import fold_of
from singaudit.language.translators.statistics import solve_ridge
from singaudit.metrics.controls import random_numbers, spanned
from singaudit.metrics.subject import Block, Subject

Array = NDArray[np.float64]
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
    swaps: bool = True
    """Whether moves of different images can be exchanged: a random direction is each image's own."""


def unit_single(rows: Single) -> Single:
    """Rows (n, d) of length 1, in float32; zero rows stay."""
    norm = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    return (rows / np.where(norm > 0, norm, np.float32(1))[:, None]).astype(np.float32, copy=False)


class Subspaces:
    """Draws of random subspaces and directions, with moves of any length."""

    def __init__(self, subject: Subject, block: Block) -> None:
        self._generator = np.random.default_rng([subject.seed, 1])
        self._dim, self._of = subject.space.null_dim, subject.space.feature_dim
        self._fold = block.fold
        translators = subject.fitted.translators
        self._weights = [t.weight.astype(np.float32) for t in translators]
        self._features = block.features.astype(np.float32)
        self._means = np.stack([t.mean for t in translators]).astype(np.float32)
        self._original = block.original.astype(np.float32)
        self._whole = self._translate(self._features), self._per_fold(self._means)
        null, mean = block.null.astype(np.float32), block.null_mean.astype(np.float32)
        self._lengths = [np.linalg.norm(x, axis=1) for x in (null, null - mean)]

    def _translate(self, rows: Single) -> Single:
        """Rows (n, m) through the linear part of each image's translator -> (n, d)."""
        result = np.empty((len(rows), self._weights[0].shape[1]), np.float32)
        for k, weight in enumerate(self._weights):
            result[self._fold == k] = rows[self._fold == k] @ weight
        return result

    def _per_fold(self, rows: Single) -> Single:
        """Row k (m,) through translator k -> (n, d), that of each image's fold."""
        return np.stack([row @ weight for row, weight in zip(rows, self._weights, strict=True)])[self._fold]

    def random(self) -> tuple[Single, Single]:
        """The random numbers of the next draw: (m, k) a subspace's, and (n, m) every image's direction."""
        gaussian = random_numbers(self._dim, self._of, self._generator)
        return gaussian, self._generator.standard_normal(self._features.shape, dtype=np.float32)

    def moved(self, gaussian: Single, noise: Single) -> Iterator[tuple[str, Moved]]:
        """A subspace as it falls, the same with matched lengths, and a direction per image, by ``random``'s numbers."""
        basis, complement = spanned(gaussian), gaussian.shape[1] < self._dim
        inside, mean_inside = self._features @ basis, self._means @ basis
        projected, mean_projected = (np.asarray(x @ basis.T, np.float32) for x in (inside, mean_inside))
        moved, mean_moved = self._translate(projected), self._per_fold(mean_projected)
        if complement:
            moved, mean_moved = self._whole[0] - moved, self._whole[1] - mean_moved
        means = self._means[self._fold], mean_inside[self._fold]
        zero = moved, self._inside_length(self._features, inside, complement)
        mean = moved - mean_moved, self._inside_length(self._features - means[0], inside - means[1], complement)
        yield HAAR, Moved(self._original, self._original - zero[0], self._original - mean[0])
        zero_end, mean_end = (
            self._original - move * (wanted / np.where(length > 0, length, np.float32(1)))[:, None]
            for (move, length), wanted in zip((zero, mean), self._lengths, strict=True)
        )
        yield MATCHED, Moved(self._original, zero_end, mean_end)
        direction = self._translate(unit_single(noise))
        zero_end, mean_end = (self._original - direction * length[:, None] for length in self._lengths)
        yield DIRECTIONS, Moved(self._original, zero_end, mean_end, False)

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
            features, z, fold = subject.features, subject.embeddings, fold_of(subject.keys)
        rows = np.sort(self._generator.permutation(len(features))[:_MAX_SHUFFLED])
        self._z = np.asarray(z[rows], dtype=np.float32)
        training, fold = np.asarray(features[rows], dtype=np.float32), fold[rows]
        self._count = len(block.fold)
        self._parts = []
        for k, translator in enumerate(fitted.translators):
            used, own = np.flatnonzero(fold != k), np.flatnonzero(block.fold == k)
            if not len(own):
                continue
            mean = training[used].mean(axis=0, dtype=np.float64)
            centred = training[used] - mean
            # A published translator's penalty is not known: that of the ones which are fitted here stands in for it.
            like = translator if translator.penalty > 0 else fitted.principal[min(k, len(fitted.principal) - 1)]
            stacked = np.concatenate([block.features[own] - mean, block.null[own], block.null_mean[own][:1]])
            penalty = like.penalty * len(centred) / like.images
            solved = solve_ridge(centred.T @ centred, stacked.T, penalty).T
            self._parts.append(_Pairs(own, used, _through(solved, centred.T)))

    def random(self) -> NDArray[np.intp]:
        """The permutation of the next draw."""
        return self._generator.permutation(len(self._z))

    def moved(self, order: NDArray[np.intp]) -> Moved:
        """Translated features and equivalents by translators of one permutation."""
        z = self._z[order]
        original, zero, mean = np.empty((3, self._count, z.shape[1]), np.float32)
        for pairs in self._parts:
            paired, own = z[pairs.used], pairs.own
            centre = paired.mean(axis=0)
            found = paired - centre
            for matrix in pairs.through:
                found = matrix @ found
            seen, moved = np.split(found[:-1], 2)
            original[own] = centre + seen
            zero[own] = original[own] - moved
            mean[own] = zero[own] + found[-1]
        return Moved(original, zero, mean)


@dataclass(frozen=True)
class _Pairs:
    """One fold's translator of shuffled pairs (F, Z): T f = mean of Z + (f - mean) A^-1 (F - mean)' (Z - mean)."""

    own: NDArray[np.intp]
    """Images it is for."""
    used: NDArray[np.intp]
    """Pairs it is fitted on."""
    through: list[Single]
    """What stands before Z, the same in all draws, one matrix after the other: rows of the images' features, of their
    null parts, and of the mean's null part."""


def _through(solved: Array, centred: Array) -> list[Single]:
    """``solved`` (r, m) by ``centred`` (m, pairs), as one matrix or two, whichever a draw costs less with."""
    (rows, m), pairs = solved.shape, centred.shape[1]
    matrices = [centred, solved] if m * (rows + pairs) < rows * pairs else [solved @ centred]
    return [matrix.astype(np.float32) for matrix in matrices]
