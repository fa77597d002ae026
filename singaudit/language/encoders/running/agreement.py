"""Whether towers that are run in another way give what their library's give, on inputs that are made for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singaudit.language.encoders.running.towers import TEXTS, Prepare, Towers, unit

_IMAGES = 8
"""Images on which towers are compared, beside three times as many texts."""

Embeddings = tuple[NDArray[Any], NDArray[Any]]
"""Of the images and of the texts, of any length."""


@dataclass(frozen=True)
class Probes:
    """What towers are compared on."""

    images: NDArray[np.float32]
    """Prepared images."""
    tokens: Sequence[Sequence[int]]
    """Of texts."""

    def by(self, towers: Towers) -> Embeddings:
        """Their embeddings by ``towers``."""
        return towers.images(self.images), _embedded(towers, self.tokens)


def make_probes(prepare: Prepare, tokens: Sequence[Sequence[int]]) -> Probes:
    """Pictures of noise, each smooth in another degree, so that towers see plain areas and edges; and some texts.

    ``prepare`` makes an input of pixels; ``tokens`` are of the texts.
    """
    rng = np.random.default_rng(0)
    made = []
    for i in range(_IMAGES):
        coarse = rng.integers(0, 256, (2 + 2 * i, 3 + 2 * i, 3), dtype=np.uint8)
        made.append(prepare(np.kron(coarse, np.ones((-(-240 // len(coarse)),) * 2 + (1,), np.uint8))))
    return Probes(np.stack(made), tokens)


def least_cosine(found: Embeddings, wanted: Embeddings) -> float:
    """The smallest cosine between an embedding and what it should be, NaN where one is; computed in float64."""
    pairs = zip(found, wanted, strict=True)
    # Python's min would pass over what is no number.
    return float(np.min([(unit(a) * unit(b)).sum(axis=1, dtype=np.float64).min() for a, b in pairs]))


def bits_stay(towers: Callable[[], Towers], tokens: Sequence[Sequence[int]]) -> bool:
    """Whether texts alone, two, some and many of a length have the same bits, so that no batch has to be filled up.

    By ``towers`` that know no beginning yet.
    """
    few = most([towers().used(ids) for ids in tokens])
    many = np.resize(few, (TEXTS, few.shape[1]))
    for i, row in enumerate(many):  # each begins otherwise
        row[1:-1] = np.roll(row[1:-1], i // len(few))
    for whole in (few, many):
        together = towers().texts([whole])[0]
        some = [0, len(whole) // 2, len(whole) - 1] if len(whole) == TEXTS else range(len(whole))
        alone = [towers().texts([whole[i : i + 1]])[0] for i in some]
        pair = towers().texts([whole[:2]])[0]
        if not np.array_equal(together[list(some)], np.concatenate(alone)) or not np.array_equal(together[:2], pair):
            return False
    return True


def most(tokens: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """Tokens (k, length) of the most texts of one length."""
    return np.array([tokens[i] for i in max(_by_length(tokens), key=len)], np.int64)


def _by_length(tokens: Sequence[Sequence[int]]) -> list[NDArray[np.intp]]:
    lengths = np.array([len(ids) for ids in tokens])
    return [np.flatnonzero(lengths == length) for length in np.unique(lengths)]


def _embedded(towers: Towers, tokens: Sequence[Sequence[int]]) -> NDArray[Any]:
    """(k, d) embeddings of texts, as the tower gives them."""
    tokens = [towers.used(ids) for ids in tokens]
    places = _by_length(tokens)
    parts = towers.texts([np.array([tokens[i] for i in same], np.int64) for same in places])
    found = np.empty((len(tokens), parts[0].shape[1]), parts[0].dtype)
    for same, part in zip(places, parts, strict=True):
        found[same] = part
    return found
