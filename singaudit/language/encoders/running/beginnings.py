"""Texts that begin alike, through a tower that looks back alone: what it makes of a beginning is computed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Tokens = NDArray[np.int64]
Run = Callable[[Tokens, Array, Array], Sequence[Array]]
"""Tokens (k, s), keys and values (k, layers, heads, p, size) of p tokens before them -> embeddings (k, d), and keys and
values of the first ``BEGINNING`` of these tokens."""

BEGINNING = 5
"""Tokens of a beginning, the same for every text, so that no text's numbers depend on which others there are: start,
"a photo of", and an article. Where hardly two texts share one, both parts cost about what the whole would."""
_AT_ONCE = 32
_KEPT = 512
"""Beginnings that are remembered: of ViT-L/14 370 KB each."""


class Beginnings:
    """What is known of the beginnings of texts; ``state`` are layers, heads and numbers of a head.

    ``exact``: whether a row's bits do not depend on how many rows run with it; else beginnings run in full batches.
    """

    def __init__(self, end: int, state: Sequence[int], exact: bool) -> None:
        layers, heads, size = state
        self._exact, self._end, self._nothing = exact, end, np.zeros((1, layers, heads, 0, size), np.float32)
        self._known: dict[bytes, tuple[Array, Array]] = {}

    def used(self, ids: Sequence[int]) -> Sequence[int]:
        """The tokens of a text up to the one that its embedding is read from; none that follows changes it."""
        if self._end < 0:
            return ids[: int(np.argmax(ids)) + 1]
        return ids[: ids.index(self._end) + 1 if self._end in ids else 1]

    def texts(self, batches: Sequence[Tokens], run: Run, each: Callable[..., Sequence[Any]]) -> list[Array]:
        """Per batch of tokens (k, length), which end where they are read: (k, d). ``each`` maps side by side."""
        self._learn([batch[:, :BEGINNING] for batch in batches if batch.shape[1] > BEGINNING], run, each)
        return list(each(lambda batch: self._embedded(batch, run), batches))

    def _learn(self, beginnings: Sequence[Tokens], run: Run, each: Callable[..., Sequence[Any]]) -> None:
        new = {row.tobytes(): row for rows in beginnings for row in np.unique(rows, axis=0)}
        if len(self._known.keys() | new.keys()) > _KEPT:
            self._known = {}
        rows = [row for key, row in new.items() if key not in self._known]
        if not rows:
            return
        pieces = [np.stack(rows[start : start + _AT_ONCE]) for start in range(0, len(rows), _AT_ONCE)]
        for piece, (_, keys, values) in zip(pieces, each(lambda piece: self._begun(piece, run), pieces), strict=True):
            # Copies: a row of the run's output would keep all of it.
            self._known.update((row.tobytes(), (keys[i].copy(), values[i].copy())) for i, row in enumerate(piece))

    def _begun(self, piece: Tokens, run: Run) -> Sequence[Array]:
        whole = piece if self._exact else np.resize(piece, (_AT_ONCE, piece.shape[1]))
        return run(whole, *self._before(whole[:, :0]))

    def _embedded(self, batch: Tokens, run: Run) -> Array:
        begun = BEGINNING if batch.shape[1] > BEGINNING else 0
        return run(np.ascontiguousarray(batch[:, begun:]), *self._before(batch[:, :begun]))[0]

    def _before(self, beginnings: Tokens) -> tuple[Array, Array]:
        """Keys and values (k, layers, heads, p, size) of rows of tokens (k, p), of which p may be 0."""
        if not beginnings.shape[1]:
            nothing = np.repeat(self._nothing, len(beginnings), axis=0)
            return nothing, nothing
        found = [self._known[row.tobytes()] for row in np.ascontiguousarray(beginnings)]
        return np.stack([keys for keys, _ in found]), np.stack([values for _, values in found])
