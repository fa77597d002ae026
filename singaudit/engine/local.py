"""One pass over images on this machine: every model sees every image once, duplicates left out."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from singaudit.cache.shelf import Shelf
from singaudit.dataset.interface import ImageSource, Skipped
from singaudit.dataset.loader import Batch, batches
from singaudit.engine.interface import Pass, Step
from singaudit.errors import DatasetError

# Outputs beyond this many bytes go to a temporary file, so that memory does not grow with the images.
_IN_MEMORY_BYTES = 512 * 2**20


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
                with tempfile.TemporaryFile(dir=self.folder) as file:
                    _reserve(file.fileno(), self.rows * values.shape[1] * 4)
                    self.array = np.memmap(file, np.float32, "w+", shape=shape)
        self.array[start : start + len(values)] = values


def _reserve(descriptor: int, size: int) -> None:
    """Take the bytes from the disk now: a mapped page that finds it full would kill the process. Raises OSError."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)


def run_pass(
    source: ImageSource,
    steps: Mapping[str, Step],
    *,
    batch_size: int,
    exclude: frozenset[str] = frozenset(),
    only: Shelf | None = None,
    limit: int | None = None,
    progress: Callable[[int], None] = lambda n: None,
) -> Pass:
    """Run every step on every image of ``source``.

    Images whose content hash is in ``exclude`` or occurred before are left out and counted as duplicates.
    Where ``only`` is given, images without a row on that shelf are left out. Only the first ``limit`` images are
    looked at.
    ``progress`` is told the number of images each batch took. Raises ``DatasetError`` when no image is left.
    """
    stores: dict[str, list[_Store]] = {}
    folder = Path(tempfile.gettempdir())
    indices: list[int] = []
    names: list[str] = []
    hashes: dict[str, int] = {}
    skipped = list(source.left_out)
    notes: dict[str, list[str]] = {}
    duplicates = 0
    copies: list[tuple[int, int]] = []
    count = len(source) if limit is None else min(limit, len(source))
    outside = 0

    def known(key: str, sha256: str) -> bool:
        return steps[key].knows(sha256) or (only is not None and sha256 not in only)

    try:
        for batch in batches(source, {k: s.prepare for k, s in steps.items()}, batch_size, count, known=known):
            skipped += batch.skipped
            fresh = []
            for row, digest in enumerate(batch.sha256):
                if digest in exclude or digest in hashes:
                    duplicates += 1
                    if digest in hashes:
                        copies.append((hashes[digest], batch.indices[row]))
                elif only is not None and digest not in only:
                    outside += 1
                else:
                    hashes[digest] = batch.indices[row]
                    fresh.append(row)
            if fresh:
                for key, step in steps.items():
                    found = _outputs(step, key, batch, fresh)
                    kept = stores.setdefault(key, [_Store(count, folder) for _ in found])
                    for store, values in zip(kept, found, strict=True):
                        store.put(len(indices), values)
                indices += [batch.indices[row] for row in fresh]
                names += [batch.names[row] for row in fresh]
                for row in fresh:
                    if batch.notes[row]:
                        notes.setdefault(batch.notes[row], []).append(batch.names[row])
            progress(len(batch.indices) + len(batch.skipped))
    finally:
        # An interrupted pass leaves what it computed to the next one.
        for step in steps.values():
            if step.shelf is not None:
                step.shelf.flush()
    if not indices:
        raise _none_left(source, skipped, outside)
    n = len(indices)
    outputs = {key: tuple(s.array[:n] for s in kept if s.array is not None) for key, kept in stores.items()}
    return Pass(
        source.name, count + len(source.left_out), np.asarray(indices, np.intp), names, list(hashes), outputs,
        skipped, duplicates, notes, outside, tuple(copies),
    )  # fmt: skip


def _none_left(source: ImageSource, skipped: list[Skipped], outside: int) -> DatasetError:
    """Why no image of the source could be used."""
    if outside:
        return DatasetError(
            f"expected images of {source.name} in the pack, it holds none of the {outside} that could be read",
            hint="Images are found by the hash of their bytes: give those that were packed, or pack these.",
        )
    reasons = f"; the first: {skipped[0].name!r} {skipped[0].reason}" if skipped else ""
    return DatasetError(
        f"expected readable images in {source.name}, none of its {len(source)} could be used{reasons}",
        hint="Check that the files are JPEG, PNG, WebP, BMP, TIFF or GIF images.",
    )


def _outputs(step: Step, key: str, batch: Batch, fresh: list[int]) -> tuple[NDArray[np.float32], ...]:
    """The step's arrays for the batch's rows ``fresh``: computed where it has to be, else from its shelf."""
    position = {row: i for i, row in enumerate(batch.rows[key])}
    new = [row for row in fresh if row in position]
    computed: tuple[NDArray[np.float32], ...] = ()
    if new:
        inputs = batch.inputs[key]
        computed = step.compute(inputs if len(new) == len(inputs) else inputs[[position[row] for row in new]])
        if step.shelf is not None:
            step.shelf.add([batch.sha256[row] for row in new], computed)
    if len(new) == len(fresh):
        return computed
    assert step.shelf is not None
    old = [row for row in fresh if row not in position]
    stored = step.shelf.take([batch.sha256[row] for row in old])
    if not new:
        return stored
    merged = tuple(np.empty((len(fresh), a.shape[1]), a.dtype) for a in stored)
    at = {row: i for i, row in enumerate(fresh)}
    for array, mine, theirs in zip(merged, computed, stored, strict=True):
        array[[at[row] for row in new]] = mine
        array[[at[row] for row in old]] = theirs
    return merged
