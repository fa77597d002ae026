"""Ridge regression on fewer images than features: by the products of images, which are a smaller matrix.

With F the centred features (n, m) and Z the centred embeddings, (F'F + a I)^-1 F'Z = F' (FF' + a I)^-1 Z: the same
weight from a system of n equations instead of m (Saunders, Gammerman and Vovk 1998). Of 1,000 images and 2,048
features it takes a tenth of the time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from singaudit.language.translators.penalties import squared_errors, unit_of
from singaudit.language.translators.statistics import solve_ridge

Array = NDArray[np.float64]


class FewImages:
    """Features (n, m) and embeddings (n, d) of images in parts; ``part`` (n,) says which, from 0."""

    def __init__(
        self, features: NDArray[np.floating], embeddings: NDArray[np.floating], part: NDArray[np.intp]
    ) -> None:
        self._f, self._z = np.asarray(features, np.float64), np.asarray(embeddings, np.float64)
        self._part = part
        self._products: Array = self._f @ self._f.T

    def projected(self, features: Array) -> FewImages:
        """The same images with other ``features`` (n, m)."""
        return FewImages(features, self._z, self._part)

    def unit_penalty(self, parts: Sequence[int]) -> float:
        """n times the mean variance of a feature over the images of ``parts``."""
        rows = self._rows(parts)
        among = self._products[np.ix_(rows, rows)]
        return unit_of(float(np.trace(among) - among.sum() / len(rows)), self._f.shape[1])

    def weight(self, parts: Sequence[int], penalty: float) -> Array:
        """(m, d), fitted on the images of ``parts``."""
        rows = self._rows(parts)
        centred = _centred(self._products[np.ix_(rows, rows)])
        z = self._z[rows]
        # What solves a centred system is centred, so that features need not be.
        result: Array = self._f[rows].T @ solve_ridge(centred, z - z.mean(axis=0), penalty)
        return result

    def errors(self, parts: Sequence[int], left_out: Sequence[int]) -> list[Array]:
        """For each part ``left_out`` the sum of squared errors of each penalty, fitted on the images of ``parts``."""
        rows = self._rows(parts)
        among, z = self._products[np.ix_(rows, rows)], self._z[rows]
        mean, mean_z = among.mean(axis=0), z.mean(axis=0)
        values, vectors = np.linalg.eigh(_centred(among))
        b = vectors.T @ (z - mean_z)
        pairs, values = b @ b.T, np.clip(values, 0, None)
        unit = unit_of(float(values.sum()), self._f.shape[1])
        found = []
        for part in left_out:
            tested = self._rows([part])
            across = self._products[np.ix_(tested, rows)]
            a = (across - across.mean(axis=1, keepdims=True) - mean + mean.mean()) @ vectors
            away = self._z[tested] - mean_z
            linear = np.einsum("ij,ij->i", a.T @ away, b)
            found.append(squared_errors(float(np.einsum("ij,ij->", away, away)), linear, a.T @ a * pairs, values, unit))
        return found

    def _rows(self, parts: Sequence[int]) -> NDArray[np.intp]:
        return np.flatnonzero(np.isin(self._part, parts))


def _centred(products: Array) -> Array:
    """Products (n, n) of images, of these less their mean."""
    mean = products.mean(axis=0)
    result: Array = products - mean - mean[:, None] + mean.mean()
    return result
