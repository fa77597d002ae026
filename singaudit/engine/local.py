"""One pass over images on this machine: every model sees every image once, duplicates left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from singaudit.cache.shelf import Shelf
from singaudit.dataset.interface import ImageSource
from singaudit.dataset.loader import Batch, batches
from singaudit.engine.gathering import Gathering, Read
from singaudit.engine.interface import Outputs, Pass, Step, StepModel


def run_pass(
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
    """As ``Engine`` says: images are decoded in threads while the models compute in this one."""
    gathering = Gathering(source, steps, exclude, only, limit, start)
    models = {key: step.model() for key, step in steps.items()}
    prepare = {key: model.prepare for key, model in models.items()}
    try:
        for batch in batches(source, prepare, batch_size, gathering.end, known=gathering.known, start=start):
            read = Read(batch.indices, batch.names, batch.sha256, batch.notes, batch.skipped)
            fresh = gathering.fresh(read)
            computed = {
                key: done for key, model in models.items() if (done := compute(model, batch, key, fresh)) is not None
            }
            gathering.add(read, fresh, computed)
            progress(len(batch.indices) + len(batch.skipped))
    finally:
        gathering.flush()
    return gathering.result()


def compute(model: StepModel, batch: Batch, key: str, fresh: list[int]) -> tuple[list[int], Outputs] | None:
    """(rows, the model's arrays of them) for those of the batch's rows ``fresh`` that it has to see; None of none."""
    position = {row: i for i, row in enumerate(batch.rows[key])}
    new = [row for row in fresh if row in position]
    if not new:
        return None
    inputs = batch.inputs[key]
    return new, model.compute(inputs if len(new) == len(inputs) else inputs[[position[row] for row in new]])
