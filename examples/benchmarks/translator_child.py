"""One fit of the translator in a process of its own, so that its peak memory is its own; prints one line of JSON.

python translator_child.py {singaudit,ridge,agreement} ROWS M D
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
from measuring import peak_bytes
from numpy.typing import NDArray

CHUNK = 4096
FOLDS = 5


class MadeRows:
    """Feature and embedding rows made on demand, the same each time, never all in memory."""

    def __init__(self, rows: int, m: int, d: int) -> None:
        self.rows, self.m, self.d = rows, m, d
        self.seconds = 0.0
        self._chunk = -1
        self._pair: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None

    def pair(self, chunk: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Chunk ``chunk``: features (CHUNK, m), uneven in size and off centre, and embeddings that follow them."""
        if chunk != self._chunk or self._pair is None:
            start = time.perf_counter()
            rng = np.random.default_rng(chunk)
            f = rng.standard_normal((CHUNK, self.m), dtype=np.float32)
            f *= np.linspace(0.2, 2, self.m, dtype=np.float32)
            f += 0.5
            z = rng.standard_normal((CHUNK, self.d), dtype=np.float32)
            z += f[:, : self.d] - 0.5 * f[:, -self.d :]
            self._chunk, self._pair = chunk, (f, z)
            self.seconds += time.perf_counter() - start
        return self._pair

    def table(self, which: int) -> Table:
        """The features (0) or the embeddings (1)."""
        return Table(self, which)


class Table:
    """One side of the rows, as :class:`singaudit.language.translators.statistics.Rows`."""

    def __init__(self, made: MadeRows, which: int) -> None:
        self.made, self.which = made, which
        self.shape = (made.rows, made.d if which else made.m)

    def __getitem__(self, rows: slice) -> NDArray[np.float32]:
        start, stop, _ = rows.indices(self.shape[0])
        parts = []
        while start < stop:
            chunk, offset = divmod(start, CHUNK)
            count = min(CHUNK - offset, stop - start)
            parts.append(self.made.pair(chunk)[self.which][offset : offset + count])
            start += count
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


def stream(rows: int, m: int, d: int) -> dict[str, Any]:
    """Statistics in five folds from streamed rows, a fit at one penalty, and a fit with the penalty chosen."""
    from singaudit.language.translators.fit import fit_ridge, fit_translator
    from singaudit.language.translators.statistics import accumulate, total

    made = MadeRows(rows, m, d)
    start = time.perf_counter()
    parts = accumulate(made.table(0), made.table(1), np.arange(rows) % FOLDS, FOLDS)
    summed = time.perf_counter()
    fit_ridge(total(parts), 1.0)
    fitted = time.perf_counter()
    translator = fit_translator(parts)
    return {
        "statistics": summed - start - made.seconds,
        "fit": fitted - summed,
        "choose": time.perf_counter() - fitted,
        "penalty": translator.penalty,
    }


def in_memory(rows: int, m: int, d: int) -> dict[str, Any]:
    """scikit-learn's Ridge at one penalty on rows in memory."""
    from sklearn.linear_model import Ridge

    made = MadeRows(rows, m, d)
    f, z = np.empty((rows, m), np.float32), np.empty((rows, d), np.float32)
    for first in range(0, rows, CHUNK):
        f[first : first + CHUNK] = made.table(0)[first : first + CHUNK]
        z[first : first + CHUNK] = made.table(1)[first : first + CHUNK]
    start = time.perf_counter()
    Ridge(alpha=1.0, copy_X=False).fit(f, z)
    return {"fit": time.perf_counter() - start}


def agreement(rows: int, m: int, d: int) -> dict[str, Any]:
    """Differences from Ridge in float64 at the penalty that cross-validation chose: weights and predictions."""
    from sklearn.linear_model import Ridge

    from singaudit.language.translators.fit import fit_translator
    from singaudit.language.translators.statistics import accumulate

    made = MadeRows(rows, m, d)
    f, z = made.table(0)[:rows].astype(np.float64), made.table(1)[:rows].astype(np.float64)
    ours = fit_translator(accumulate(made.table(0), made.table(1), np.arange(rows) % FOLDS, FOLDS))
    theirs = Ridge(alpha=ours.penalty).fit(f, z)
    held_out = made.pair(10_000)[0].astype(np.float64)
    expected = theirs.predict(held_out)
    return {
        "penalty": ours.penalty,
        "weights": float(np.abs(ours.weight - theirs.coef_.T).max() / np.abs(theirs.coef_).max()),
        "predictions": float(np.abs(ours(held_out) - expected).max() / np.abs(expected).max()),
    }


if __name__ == "__main__":
    task = {"singaudit": stream, "ridge": in_memory, "agreement": agreement}[sys.argv[1]]
    found = task(*(int(number) for number in sys.argv[2:5]))
    print(json.dumps({**found, "peak_bytes": peak_bytes()}))
