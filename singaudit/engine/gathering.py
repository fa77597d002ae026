"""The rows of a pass put together in the source's order, whatever computed them: the part that engines share."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from singaudit.cache.shelf import Shelf
from singaudit.dataset.interface import ImageSource, Skipped
from singaudit.engine.interface import Outputs, Pass, Step
from singaudit.errors import DatasetError

# Outputs beyond this many bytes go to a temporary file, so that memory does not grow with the images.
_IN_MEMORY_BYTES = 512 * 2**20


@dataclass(frozen=True)
class Read:
    """What is known of consecutive images of a source once they were read."""

    indices: list[int]
    """Positions in the source of the images that could be read."""
    names: list[str]
    """Their names."""
    sha256: list[str]
    """Their content hashes."""
    notes: list[str]
    """How each was read, where that is worth knowing; else empty."""
    skipped: list[Skipped]
    """Images of this stretch that could not be read."""


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


class Gathering:
    """Takes stretches of a source in its order and gives the ``Pass``. Used from one thread.

    ``exclude``, ``only``, ``limit`` and ``start`` as ``Engine`` says.
    """

    def __init__(
        self,
        source: ImageSource,
        steps: Mapping[str, Step],
        exclude: frozenset[str],
        only: Shelf | None,
        limit: int | None,
        start: int,
    ) -> None:
        self.start, self.end = start, len(source) if limit is None else min(limit, len(source))
        self._source, self._steps, self._exclude, self._only = source, steps, exclude, only
        self._folder = Path(tempfile.gettempdir())
        self._stores: dict[str, list[_Store]] = {}
        self._indices: list[int] = []
        self._names: list[str] = []
        self._hashes: dict[str, int] = {}
        self._skipped = list(source.left_out)
        self._notes: dict[str, list[str]] = {}
        self._copies: list[tuple[int, int]] = []
        self._duplicates = self._outside = 0

    def known(self, key: str, sha256: str) -> bool:
        """Whether the step ``key`` has no need to see this content."""
        return self._steps[key].knows(sha256) or (self._only is not None and sha256 not in self._only)

    def fresh(self, read: Read) -> list[int]:
        """Rows of the next stretch that are used: no copy of an earlier image, nothing left out. Counts the others."""
        self._skipped += read.skipped
        rows = []
        for row, digest in enumerate(read.sha256):
            if digest in self._exclude or digest in self._hashes:
                self._duplicates += 1
                if digest in self._hashes:
                    self._copies.append((self._hashes[digest], read.indices[row]))
            elif self._only is not None and digest not in self._only:
                self._outside += 1
            else:
                self._hashes[digest] = read.indices[row]
                rows.append(row)
        return rows

    def add(self, read: Read, fresh: list[int], computed: Mapping[str, tuple[Sequence[int], Outputs]]) -> None:
        """Take the rows ``fresh`` of the stretch ``read``.

        ``computed``: per step the rows that it saw, all of ``fresh`` that are on no shelf of its, and its arrays.
        """
        if not fresh:
            return
        for key, step in self._steps.items():
            found = _merged(step, read, fresh, computed.get(key))
            kept = self._stores.setdefault(key, [_Store(self.end - self.start, self._folder) for _ in found])
            for store, values in zip(kept, found, strict=True):
                store.put(len(self._indices), values)
        self._indices += [read.indices[row] for row in fresh]
        self._names += [read.names[row] for row in fresh]
        for row in fresh:
            if read.notes[row]:
                self._notes.setdefault(read.notes[row], []).append(read.names[row])

    def flush(self) -> None:
        """An interrupted pass leaves what it computed to the next one."""
        for step in self._steps.values():
            if step.shelf is not None:
                step.shelf.flush()

    def result(self) -> Pass:
        """What was gathered. Raises ``DatasetError`` when no image is left."""
        source, n = self._source, len(self._indices)
        if not n:
            raise _none_left(source, self._skipped, self._outside)
        outputs = {key: tuple(s.array[:n] for s in kept if s.array is not None) for key, kept in self._stores.items()}
        return Pass(
            source.name, self.end - self.start + len(source.left_out), np.asarray(self._indices, np.intp), self._names,
            list(self._hashes), outputs, self._skipped, self._duplicates, self._notes, self._outside,
            tuple(self._copies),
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


def _merged(step: Step, read: Read, fresh: list[int], computed: tuple[Sequence[int], Outputs] | None) -> Outputs:
    """The step's arrays for the rows ``fresh``: those that were computed, which its shelf takes, and its shelf's."""
    seen, arrays = computed if computed is not None else ((), ())
    position = {row: i for i, row in enumerate(seen)}
    new = [row for row in fresh if row in position]
    if new:
        if list(seen) != new:
            arrays = tuple(array[[position[row] for row in new]] for array in arrays)
        if step.shelf is not None:
            step.shelf.add([read.sha256[row] for row in new], arrays)
    if len(new) == len(fresh):
        return arrays
    assert step.shelf is not None
    old = [row for row in fresh if row not in position]
    stored = step.shelf.take([read.sha256[row] for row in old])
    if not new:
        return stored
    merged = tuple(np.empty((len(fresh), a.shape[1]), a.dtype) for a in stored)
    at = {row: i for i, row in enumerate(fresh)}
    for array, mine, theirs in zip(merged, arrays, stored, strict=True):
        array[[at[row] for row in new]] = mine
        array[[at[row] for row in old]] = theirs
    return merged
