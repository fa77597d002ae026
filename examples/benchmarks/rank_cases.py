"""Heads whose rank is known, in every storage format: scaled, centred, with dependent rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from singaudit.classifier.interface import Head, StoredDtype

Array = NDArray[np.float64]


def as_head(weight: NDArray[np.floating], stored: StoredDtype = "float32", step: Array | None = None) -> Head:
    """A head with this weight (c, m), stored as said, and no bias."""
    w = np.asarray(weight, dtype=np.float64)
    return Head(w, np.zeros(len(w)), stored, step, "Gemm", ("fc",), "f", "y", 0.0, "softmax", True)


def stored_head(weight: Array, stored: StoredDtype) -> Head:
    """The head that a file storing ``weight`` in this format holds."""
    if stored == "float16":
        return as_head(np.float16(weight), stored)
    if stored == "bfloat16":
        bits = np.asarray(weight, np.float32).view(np.uint32)
        rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
        return as_head(rounded.astype(np.uint32).view(np.float32), stored)
    if stored == "int8":
        step = np.abs(weight).max(axis=1) / 127
        return as_head(np.round(weight / step[:, None]) * step[:, None], stored, step)
    return as_head(np.float32(weight), stored)


def trained_head(reference: Path | None) -> tuple[Array, str]:
    """A (1000, 1280) weight of full rank: from a file's array whose name holds "head" and "weight", else random."""
    if reference is not None:
        data = np.load(reference, allow_pickle=False)
        name = next(n for n in data.files if "head" in n.lower() and "weight" in n.lower())
        return data[name].astype(np.float64), "trained weights"
    rng = np.random.default_rng(0)
    # Rows of unequal size around a common mean, as training leaves them.
    return rng.normal(0, 0.03, (1000, 1280)) * rng.uniform(0.5, 2, (1000, 1)) + rng.normal(
        0, 0.01, 1280
    ), "random weights"


def rank_cases(reference: Path | None) -> Iterator[tuple[str, Head, int]]:
    """(name, head, true rank)."""
    weight, _ = trained_head(reference)
    full = len(weight)
    for stored in ("float32", "float16", "bfloat16", "int8"):
        yield f"full rank, {stored}", stored_head(weight, stored), full
    yield "x 1e-6, float32", stored_head(weight * 1e-6, "float32"), full
    centred = (weight - weight.mean(axis=0)) * 100
    for stored in ("float32", "float16", "bfloat16", "int8"):
        yield f"centred x 100, {stored}", stored_head(centred, stored), full - 1
    mix = np.random.default_rng(1).normal(size=(full, 64)) / 8
    for stored in ("float32", "float16", "int8"):
        yield f"64 independent rows, x 30, {stored}", stored_head(mix @ weight[:64] * 30, stored), 64
