"""One pass over images on this machine: every model sees every image once, duplicates left out."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from singaudit.dataset.interface import ImageSource, Skipped
from singaudit.dataset.loader import Prepare, batches
from singaudit.errors import DatasetError

Compute = Callable[[NDArray[np.generic]], tuple[NDArray[np.float32], ...]]

# Outputs beyond this many bytes go to a temporary file, so that memory does not grow with the images.
_IN_MEMORY_BYTES = 512 * 2**20


@dataclass(frozen=True)
class Step:
    """One model's part of a pass."""

    prepare: Prepare
    """(h, w, 3) uint8 -> one input."""
    compute: Compute
    """Stacked inputs -> one or more (n, width) arrays."""


@dataclass(frozen=True)
class Pass:
    """What a pass over a source gave, one row per distinct readable image, in the source's order."""

    source: str
    """Name of the source."""
    found: int
    """Images in the source."""
    indices: NDArray[np.intp]
    """(n,) positions in the source."""
    names: list[str]
    """(n,)."""
    sha256: list[str]
    """(n,) content hashes, distinct."""
    outputs: dict[str, tuple[NDArray[np.float32], ...]]
    """Per step: its arrays, (n, width) each."""
    skipped: list[Skipped]
    """Images that could not be read."""
    duplicates: int
    """Images left out because their content occurred before."""

    def digest(self) -> str:
        """sha256 over the sorted content hashes: the same set of images gives the same digest in any order."""
        return hashlib.sha256("\n".join(sorted(self.sha256)).encode()).hexdigest()


class _Store:
    """Rows of known maximal number; in memory while small, in an unnamed temporary file beyond."""

    def __init__(self, rows: int, folder: Path) -> None:
        self.rows, self.folder = rows, folder
        self.array: NDArray[np.float32] | None = None

    def put(self, start: int, values: NDArray[np.float32]) -> None:
        if self.array is None:
            shape = (self.rows, values.shape[1])
            if self.rows * values.shape[1] * 4 <= _IN_MEMORY_BYTES:
                self.array = np.empty(shape, np.float32)
            else:
                with tempfile.NamedTemporaryFile(dir=self.folder, prefix="singaudit-") as file:
                    self.array = np.memmap(file, np.float32, "w+", shape=shape)
        self.array[start : start + len(values)] = values


def run_pass(
    source: ImageSource,
    steps: Mapping[str, Step],
    *,
    batch_size: int,
    exclude: frozenset[str] = frozenset(),
    limit: int | None = None,
    progress: Callable[[int], None] = lambda n: None,
) -> Pass:
    """Run every step on every image of ``source``.

    Images whose content hash is in ``exclude`` or occurred before are left out and counted as duplicates.
    Only the first ``limit`` images are looked at.
    ``progress`` is told the number of images each batch took. Raises ``DatasetError`` when no image is left.
    """
    stores: dict[str, list[_Store]] = {}
    folder = Path(tempfile.gettempdir())
    indices: list[int] = []
    names: list[str] = []
    hashes: dict[str, None] = {}
    skipped: list[Skipped] = []
    duplicates = 0
    count = len(source) if limit is None else min(limit, len(source))
    for batch in batches(source, {key: step.prepare for key, step in steps.items()}, batch_size, count):
        skipped += batch.skipped
        fresh = []
        for row, digest in enumerate(batch.sha256):
            if digest in exclude or digest in hashes:
                duplicates += 1
            else:
                hashes[digest] = None
                fresh.append(row)
        if fresh:
            for key, step in steps.items():
                found = step.compute(batch.inputs[key][fresh] if len(fresh) < len(batch.sha256) else batch.inputs[key])
                kept = stores.setdefault(key, [_Store(count, folder) for _ in found])
                for store, values in zip(kept, found, strict=True):
                    store.put(len(indices), values)
            indices += [batch.indices[row] for row in fresh]
            names += [batch.names[row] for row in fresh]
        progress(len(batch.indices) + len(batch.skipped))
    if not indices:
        reasons = f"; the first: {skipped[0].name!r} {skipped[0].reason}" if skipped else ""
        raise DatasetError(
            f"expected readable images in {source.name}, none of its {len(source)} could be used{reasons}",
            hint="Check that the files are JPEG, PNG, WebP, BMP, TIFF or GIF images.",
        )
    n = len(indices)
    outputs = {key: tuple(s.array[:n] for s in kept if s.array is not None) for key, kept in stores.items()}
    return Pass(source.name, count, np.asarray(indices, np.intp), names, list(hashes), outputs, skipped, duplicates)
