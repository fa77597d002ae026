"""What a pass over images takes and gives, whatever runs it: the contract of every engine in the table."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from singaudit.cache.shelf import Shelf
from singaudit.dataset.interface import ImageSource, Skipped

Outputs = tuple[NDArray[np.float32], ...]
"""One or more (n, width) arrays of the same n."""


class StepModel(Protocol):
    """A model that is open and ready to look at images."""

    def prepare(self, pixels: NDArray[np.uint8]) -> NDArray[np.generic]:
        """(h, w, 3) uint8 RGB -> one input. Called from several threads at once."""
        ...

    def compute(self, inputs: NDArray[np.generic]) -> Outputs:
        """Stacked inputs (n, ...) -> its arrays. A row depends on its input alone: not on those beside it, nor on n."""
        ...


class Recipe(Protocol):
    """How a step's model is opened, where it runs.

    Picklable plain data: names, paths, settings and hashes; no open file, process, lock or closure.
    """

    def open(self) -> StepModel:
        """The model, opened in this process. Raises ``SingauditError``, also for another model than was meant."""
        ...


@dataclass(frozen=True)
class Step:
    """One model's part of a pass."""

    recipe: Recipe
    """Opens the model where it runs."""
    shelf: Shelf | None = None
    """Rows that were computed before, by content hash, and where new ones are kept; None: compute all."""
    here: StepModel | None = None
    """The model, where this process has it open already; stays in this process."""

    def model(self) -> StepModel:
        """The model in this process."""
        return self.here if self.here is not None else self.recipe.open()

    def knows(self, sha256: str) -> bool:
        """True when this content need not be computed again."""
        return self.shelf is not None and sha256 in self.shelf


@dataclass(frozen=True)
class EngineSettings:
    """What engines beyond this machine are told; each takes what concerns it."""

    address: str | None = None
    """Of a cluster that runs; None: one is started on this machine."""
    actors: int | None = None
    """Workers that open the models; None: as many as the cluster has room for."""
    cpus: float = 1.0
    """CPUs of each worker."""
    gpus: float = 0.0
    """GPUs of each worker."""


class Engine(Protocol):
    """Runs passes over images."""

    def __call__(
        self,
        source: ImageSource,
        steps: Mapping[str, Step],
        *,
        batch_size: int,
        exclude: frozenset[str] = frozenset(),
        only: Shelf | None = None,
        limit: int | None = None,
        start: int = 0,
        progress: Callable[[int], None] = lambda n: None,
    ) -> Pass:
        """Run every step on every image of ``source`` from position ``start`` on.

        Images whose content hash is in ``exclude`` or occurred before are left out and counted as duplicates. Where
        ``only`` is given, images without a row on that shelf are left out. No position from ``limit`` on is looked
        at. New rows are added to the steps' shelves while the pass runs, and flushed however it ends. ``progress`` is
        told, in this thread, how many images were done with since it was told last; whatever it raises ends the pass.

        Every engine gives the same bytes for the same images on machines of one kind: a row depends on its image
        alone, and rows stand in the source's order, whatever finished first. Raises ``DatasetError`` when no image is
        left, whatever ``Recipe.open`` raises, and ``MachineError`` when machines fail more often than can be made
        good.
        """
        ...


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
    outputs: dict[str, Outputs]
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


def anywhere(name: str) -> str:
    """A file's or folder's name that is good in another folder than the current one; other names as they are."""
    path = Path(os.path.expanduser(name))
    return str(path.resolve()) if os.path.lexists(path) else name
