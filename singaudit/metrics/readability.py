"""Do values read zero-shot separate the images? Measured against texts that mean nothing.

Two sets of prompts of the same words agree on noise. What noise does not have is spread along the directions in which a
group's texts differ: so the images' spread there, within classes, is compared with that along random directions that
have the same angles to each other (the same Gram matrix, turned at random). Texts of any kind lie in directions of
their own, though, along which images may vary whatever the texts say: so the spread is also compared with that along as
many words that no image shows, said in the group's own template, where these are given.
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
    words_beaten: float | None = None
    """Share of sets of words that no image shows along which images vary as much; None where none were given."""
    word_draws: int = 0
    """How many such sets there were."""

    @property
    def p(self) -> float:
        """One-sided p-value: the larger of both."""
        turned = (1 + self.beaten * self.draws) / (1 + self.draws)
        if self.words_beaten is None:
            return turned
        return max(turned, (1 + self.words_beaten * self.word_draws) / (1 + self.word_draws))


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
        usual = self._subject.concept_texts.mean(axis=0)
        # "An image" says nothing of its own: a concept stands out from the other concepts.
        directions = texts[:1] - usual if group.kind == "concept" else centred_texts(texts)
        _, strength, axes = np.linalg.svd(directions, full_matrices=False)
        kept = strength > 1e-9 * strength[0]
        weight, axes = strength[kept] ** 2 / np.sum(strength[kept] ** 2), axes[kept]
        observed = float(weight @ np.einsum("kd,de,ke->k", axes, covariance, axes))
        spreads = self._random(len(axes), covariance) @ weight
        mean = max(float(np.trace(covariance)) / len(covariance), np.finfo(np.float64).tiny)
        beaten = float(np.mean(spreads >= observed))
        if group.meaningless is None:
            return TextTest(observed / mean, beaten, len(spreads))
        # As well as the group does it: by the scores as they are, and by each word's own direction.
        sets = self._sets(len(group.meaningless), len(texts))
        as_they_are, along = _spreads(group.meaningless, covariance, sets)
        of_group = _spreads(texts, covariance, np.arange(len(texts))[None])
        by_words = min(float(np.mean(as_they_are >= of_group[0])), float(np.mean(along >= of_group[1])))
        return TextTest(observed / mean, beaten, len(spreads), by_words, len(sets))

    def _sets(self, words: int, size: int) -> NDArray[np.intp]:
        """(draws, size) which of so many ``words``: sets drawn at random."""
        size = max(2, min(size, words // 2))
        generator = np.random.default_rng([self._subject.seed, 7, size])
        return np.stack([generator.choice(words, size, replace=False) for _ in range(DRAWS)])

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
            place = np.unique(subject.within, return_inverse=True)[1]
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


def _spreads(texts: Array, covariance: Array, sets: NDArray[np.intp]) -> tuple[Array, Array]:
    """((s,), (s,)) images' variance along ``texts`` (k, d) less the mean of their set, mean of each of ``sets`` (s, v).

    As the directions are, and at length 1. The products of all texts with each other hold those of any set.
    """
    rows, columns = sets[:, :, None], sets[:, None, :]

    def about_mean(products: Array) -> Array:
        among = products[rows, columns]
        own: Array = np.diagonal(among, axis1=1, axis2=2) - 2 * among.mean(axis=2) + among.mean(axis=(1, 2))[:, None]
        return own

    varied = about_mean(texts @ covariance @ texts.T)
    squares = np.maximum(about_mean(texts @ texts.T), np.finfo(np.float64).tiny)
    return varied.mean(axis=1), (varied / squares).mean(axis=1)
