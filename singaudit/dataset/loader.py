"""Read, decode and prepare images in threads while the models compute, in a fixed order and bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singaudit.dataset.interface import ImageSource, Skipped
from singaudit.machine import cores

Prepare = Callable[[NDArray[np.uint8]], NDArray[np.generic]]
Known = Callable[[str, str], bool]
"""Told (key of a model, content hash): whether the model's outputs are known, so that it needs no input."""
_Loaded = tuple[str, str, str, dict[str, NDArray[np.generic]]]
"""Name, content hash, note and inputs; not the ``Content``, which would keep the encoded bytes in memory."""


@dataclass(frozen=True)
class Batch:
    """Consecutive images of a source, prepared for each model."""

    indices: list[int]
    """Positions in the source of the images that could be read."""
    names: list[str]
    """Their names."""
    sha256: list[str]
    """Their content hashes."""
    notes: list[str]
    """How each was read, where that is worth knowing; else empty."""
    rows: dict[str, list[int]]
    """Per model: which of them it has to see."""
    inputs: dict[str, NDArray[np.generic]]
    """Per model: (rows, ...) as its ``prepare`` gives, stacked; absent where it has to see none."""
    skipped: list[Skipped]
    """Images of this stretch that could not be read."""


def batches(
    source: ImageSource,
    prepare: Mapping[str, Prepare],
    batch_size: int,
    count: int | None = None,
    workers: int | None = None,
    known: Known = lambda key, sha256: False,
    start: int = 0,
) -> Iterator[Batch]:
    """Batches of at most ``batch_size`` of the images from ``start`` to before ``count`` (default: all), in order.

    At most five batches are in memory, however large the source: the one handed out, the next one, stacked already
    so that no model waits for that, and three that are being decoded. ``workers`` defaults to the cores there are.
    An image is decoded only when a model has to see it.
    """

    def load(index: int) -> Skipped | _Loaded:
        content = source.read(index)
        if isinstance(content, Skipped):
            return content
        wanted = [key for key in prepare if not known(key, content.sha256)]
        if not wanted:
            return content.name, content.sha256, content.note, {}
        image = content.decode()
        if isinstance(image, Skipped):
            return image
        return content.name, content.sha256, content.note, {key: prepare[key](image.pixels) for key in wanted}

    end = len(source) if count is None else min(count, len(source))

    def in_order() -> Generator[Batch, None, None]:
        with ThreadPoolExecutor(workers or cores(), thread_name_prefix="decode") as pool:
            pending: deque[tuple[int, Future[Skipped | _Loaded]]] = deque()
            position = start
            try:
                while position < end or pending:
                    while position < end and len(pending) < 3 * batch_size:
                        pending.append((position, pool.submit(load, position)))
                        position += 1
                    yield _collect([pending.popleft() for _ in range(min(batch_size, len(pending)))], prepare)
            finally:
                for _, future in pending:
                    future.cancel()

    return _one_ahead(in_order())


def _one_ahead(items: Generator[Batch, None, None]) -> Iterator[Batch]:
    """The same batches, the next of them always in the making while one is used."""
    with ThreadPoolExecutor(1, thread_name_prefix="batch") as pool:
        try:
            coming = pool.submit(next, items, None)
            while (batch := coming.result()) is not None:
                coming = pool.submit(next, items, None)
                yield batch
        finally:
            pool.submit(items.close)


def _collect(loaded: list[tuple[int, Future[Skipped | _Loaded]]], models: Iterable[str]) -> Batch:
    indices, images, skipped = [], [], []
    for index, future in loaded:
        result = future.result()
        if isinstance(result, Skipped):
            skipped.append(result)
        else:
            indices.append(index)
            images.append(result)
    rows = {key: [row for row, (*_, arrays) in enumerate(images) if key in arrays] for key in models}
    inputs = {key: np.stack([images[row][3][key] for row in own]) for key, own in rows.items() if own}
    return Batch(indices, [i[0] for i in images], [i[1] for i in images], [i[2] for i in images], rows, inputs, skipped)
