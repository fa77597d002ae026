"""What a worker of a cluster does: open the source and the models once, then look at stretches of the source."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singaudit.cache.merge import differences
from singaudit.cache.store import surroundings
from singaudit.classifier.sandbox.messages import send
from singaudit.dataset.interface import ImageSource
from singaudit.dataset.loader import Batch, batches
from singaudit.dataset.sources.table import open_source
from singaudit.engine.interface import Recipe, StepModel
from singaudit.engine.local import compute
from singaudit.errors import DatasetError, MachineError, SingauditError
from singaudit.machine import arithmetic, limit_cores

Keys = NDArray[Any]
"""(n,) S32, sorted: content hashes."""


@dataclass(frozen=True)
class Task:
    """A pass as it travels to workers; plain data and recipes."""

    source: str
    """What ``open_source`` opens on a worker."""
    images: int
    """How many images it has to have."""
    names: str
    """``names_digest`` of their names."""
    batch_size: int
    """Images of a batch."""
    recipes: Mapping[str, Recipe]
    """Per step how its model is opened."""
    known: Mapping[str, Keys]
    """Per step the contents that it has rows of."""
    exclude: frozenset[str]
    """Content hashes that are left out."""
    only: Keys | None
    """The only contents that are looked at, where given."""
    cpus: int
    """Cores that the worker may use."""
    made_by: Mapping[str, Any]
    """``surroundings`` of the process that gathers."""
    arithmetic: str
    """Its CPU's vector instructions."""


class Stretches:
    """The actor class of ``map_batches``: stretches of the source in, one encoded answer for each out."""

    def __init__(self, task: Any) -> None:
        """``task``: the ``Task``, or a reference to it in the cluster's store."""
        if not isinstance(task, Task):
            import ray

            task = ray.get(task)
        self._task: Task = task
        self._source: ImageSource | None = None
        self._models: dict[str, StepModel] = {}

    def __call__(self, stretches: Mapping[str, NDArray[Any]]) -> dict[str, list[bytes]]:
        """Columns start and end in; column answer out. What is the user's to mend is part of the answer."""
        return {
            "answer": [
                self._answer(int(start), int(end))
                for start, end in zip(stretches["start"], stretches["end"], strict=True)
            ]
        }

    def _answer(self, start: int, end: int) -> bytes:
        stream = io.BytesIO()
        try:
            source = self._opened()
            prepare = {key: model.prepare for key, model in self._models.items()}
            for batch in batches(source, prepare, self._task.batch_size, end, known=self._known, start=start):
                self._write(stream, batch)
        except SingauditError as error:
            # Opening a model again for each stretch would only fail again.
            send(stream, {"error": error.message, "hint": error.hint, "code": error.code})
        return stream.getvalue()

    def _write(self, stream: io.BytesIO, batch: Batch) -> None:
        """One batch's rows; copies of earlier images are left out by the process that gathers, which knows all."""
        seen: set[str] = set()
        fresh = []
        for row, digest in enumerate(batch.sha256):
            if digest not in seen and digest not in self._task.exclude and not self._outside(digest):
                fresh.append(row)
            seen.add(digest)
        computed: dict[str, tuple[list[int], int]] = {}
        arrays: dict[str, Any] = {}
        for key, model in self._models.items():
            if (found := compute(model, batch, key, fresh)) is not None:
                computed[key] = (found[0], len(found[1]))
                arrays |= {f"{key} {i}": array for i, array in enumerate(found[1])}
        fields = {
            "indices": batch.indices,
            "names": batch.names,
            "sha256": batch.sha256,
            "notes": batch.notes,
            "skipped": [(s.name, s.reason) for s in batch.skipped],
            "computed": computed,
        }
        send(stream, fields, arrays)

    def _opened(self) -> ImageSource:
        """Source and models, opened at the first stretch. Raises ``SingauditError``."""
        if self._source is None:
            task = self._task
            limit_cores(task.cpus)
            otherwise = differences(surroundings(), task.made_by)
            if arithmetic("cpu") != task.arithmetic:
                otherwise.append("a processor with other vector instructions")
            if otherwise:
                raise MachineError(
                    f"a worker computes otherwise than the machine that gathers: {', '.join(otherwise)}",
                    hint="Install the same versions on workers of one kind, or fill a cache per kind with features.",
                )
            source = open_source(task.source)
            if len(source) != task.images or names_digest(source.names) != task.names:
                raise DatasetError(
                    f"a worker sees other images in {task.source}: {len(source)}, expected {task.images}",
                    hint="Put the images where every worker reads the same, such as a shared disk.",
                )
            self._models = {key: recipe.open() for key, recipe in task.recipes.items()}
            self._source = source
        return self._source

    def _known(self, key: str, sha256: str) -> bool:
        known = self._task.known.get(key)
        return (known is not None and _holds(known, sha256)) or self._outside(sha256)

    def _outside(self, sha256: str) -> bool:
        return self._task.only is not None and not _holds(self._task.only, sha256)


def _holds(keys: Keys, sha256: str) -> bool:
    key = np.array([bytes.fromhex(sha256)], keys.dtype)
    at = int(np.searchsorted(keys, key)[0])
    return at < len(keys) and bool(keys[at] == key[0])


def names_digest(names: Iterable[str]) -> str:
    """sha256 (hex) over names in their order: two lists with the same one are the same list."""
    whole = hashlib.sha256()
    for name in names:
        whole.update(name.encode("utf-8", "surrogatepass") + b"\n")
    return whole.hexdigest()
