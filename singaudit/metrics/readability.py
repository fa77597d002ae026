"""Do values read zero-shot separate the images? Measured against texts that mean nothing.

Two sets of prompts of the same words agree on noise. What noise does not have is spread along the directions in which a
group's texts differ: so the images' spread there, within classes, is compared with that along random directions that
have the same angles to each other (the same Gram matrix, turned at random).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singaudit.metrics.intervals import BLOCK
from singaudit.metrics.subject import GroupTexts, Subject
from singaudit.metrics.values import Values, centred_texts

Array = NDArray[np.float64]

DRAWS = 199
_MIN_PER_CLASS = 4
# Images per class below which the class is not taken out: its mean would be the image itself.


@dataclass(frozen=True)
class TextTest:
    """A group's texts against random ones."""

    spread: float
    """The images' variance along the directions in which the texts differ, in that of a random direction."""
    beaten: float
    """Share of the random texts along which images vary as much."""
    draws: int
    """How many there were."""

    @property
    def p(self) -> float:
        """One-sided p-value."""
        return (1 + self.beaten * self.draws) / (1 + self.draws)


class TextTests:
    """Tests of any number of groups of one audit."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._covariances: dict[bool, Array] = {}
        self._bases: dict[int, Array] = {}

    def of(self, group: GroupTexts, values: Values) -> TextTest | None:
        """The group's test; None where labels state the values or fewer than two are judged."""
        if group.labels is not None or not values.judged:
            return None
        covariance = self._covariance(group.kind != "class")
        texts = group.texts[values.present]
        if group.kind == "concept":
            # "An image" says nothing of its own: a concept stands out from the other concepts.
            directions = texts[:1] - self._subject.concept_texts.mean(axis=0)
        else:
            directions = centred_texts(texts)
        _, strength, axes = np.linalg.svd(directions, full_matrices=False)
        kept = strength > 1e-9 * strength[0]
        weight, axes = strength[kept] ** 2 / np.sum(strength[kept] ** 2), axes[kept]
        observed = float(weight @ np.einsum("kd,de,ke->k", axes, covariance, axes))
        spreads = self._random(len(axes), covariance) @ weight
        mean = max(float(np.trace(covariance)) / len(covariance), np.finfo(np.float64).tiny)
        return TextTest(observed / mean, float(np.mean(spreads >= observed)), len(spreads))

    def _random(self, count: int, covariance: Array) -> Array:
        """(draws, count) the images' variance along random orthonormal directions."""
        if count not in self._bases:
            generator = np.random.default_rng([self._subject.seed, 6, count])
            drawn = generator.standard_normal((DRAWS, len(covariance), count))
            self._bases[count] = np.linalg.qr(drawn)[0] if count > 1 else drawn / np.linalg.norm(drawn, axis=1)[:, None]
        bases = self._bases[count]
        return np.asarray(np.einsum("rdk,rdk->rk", bases, np.einsum("de,rek->rdk", covariance, bases, optimize=True)))

    def _covariance(self, within: bool) -> Array:
        """(d, d) of the images' embeddings, with the classes' means taken out where there are enough images of each."""
        if within not in self._covariances:
            subject = self._subject
            place = np.unique(subject.class_of, return_inverse=True)[1]
            sizes = np.bincount(place)
            if not within or len(place) < _MIN_PER_CLASS * len(sizes):
                place, sizes = np.zeros(len(place), np.intp), np.array([len(place)])
            d = subject.embeddings.shape[1]
            total, by_class = np.zeros((d, d)), np.zeros((len(sizes), d))
            for start in range(0, len(place), BLOCK):
                z = subject.embeddings[start : start + BLOCK].astype(np.float64)
                total += z.T @ z
                np.add.at(by_class, place[start : start + BLOCK], z)
            means = by_class / sizes[:, None]
            self._covariances[within] = (total - by_class.T @ means) / len(place)
        return self._covariances[within]
