"""What a pass over images takes and gives, whatever runs it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singaudit.cache.shelf import Shelf
from singaudit.dataset.interface import Skipped
from singaudit.dataset.loader import Prepare

Compute = Callable[[NDArray[np.generic]], tuple[NDArray[np.float32], ...]]


@dataclass(frozen=True)
class Step:
    """One model's part of a pass."""

    prepare: Prepare
    """(h, w, 3) uint8 -> one input."""
    compute: Compute
    """Stacked inputs -> one or more (n, width) arrays."""
    shelf: Shelf | None = None
    """Rows that were computed before, by content hash, and where new ones are kept; None: compute all."""

    def knows(self, sha256: str) -> bool:
        """True when this content need not be computed again."""
        return self.shelf is not None and sha256 in self.shelf


@dataclass(frozen=True)
class Pass:
    """What a pass over a source gave, one row per distinct readable image, in the source's order."""

    source: str
    """Name of the source."""
    found: int
    """Images looked for in the source, what cannot be read included."""
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
    notes: dict[str, list[str]]
    """Names of the images used that were read in a way worth knowing, by what it was."""
    outside: int = 0
    """Images left out because the pack that was asked for holds no row of theirs."""
    copies: tuple[tuple[int, int], ...] = ()
    """Positions in the source: of an image that was used, and of another with the same content."""

    def digest(self) -> str:
        """sha256 over the sorted content hashes: the same set of images gives the same digest in any order."""
        return hashlib.sha256("\n".join(sorted(self.sha256)).encode()).hexdigest()
