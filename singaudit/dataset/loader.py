"""Decode and prepare images in threads while the models compute, in a fixed order and bounded memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singaudit.dataset.interface import Image, ImageSource, Skipped

Prepare = Callable[[NDArray[np.uint8]], NDArray[np.generic]]


@dataclass(frozen=True)
class Batch:
    """Consecutive images of a source, prepared for each model."""

    indices: list[int]
    """Positions in the source of the images that could be read."""
    names: list[str]
    """Their names."""
    sha256: list[str]
    """Their content hashes."""
    inputs: dict[str, NDArray[np.generic]]
    """Per model: (n, ...) as its ``prepare`` gives, stacked."""
    skipped: list[Skipped]
    """Images of this stretch that could not be read."""


def batches(
    source: ImageSource,
    prepare: Mapping[str, Prepare],
    batch_size: int,
    count: int | None = None,
    workers: int | None = None,
) -> Iterator[Batch]:
    """Batches of at most ``batch_size`` of the first ``count`` images (default: all), in the source's order.

    At most three batches are in memory, however large the source. ``workers`` defaults to the cores there are.
    """

    def load(index: int) -> Skipped | tuple[Image, dict[str, NDArray[np.generic]]]:
        image = source.load(index)
        if isinstance(image, Skipped):
            return image
        return image, {key: step(image.pixels) for key, step in prepare.items()}

    end = len(source) if count is None else min(count, len(source))
    workers = workers or os.cpu_count() or 1
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        pending: deque[tuple[int, Future[Skipped | tuple[Image, dict[str, NDArray[np.generic]]]]]] = deque()
        position = 0
        try:
            while position < end or pending:
                while position < end and len(pending) < 3 * batch_size:
                    pending.append((position, pool.submit(load, position)))
                    position += 1
                yield _collect([pending.popleft() for _ in range(min(batch_size, len(pending)))], prepare)
        finally:
            for _, future in pending:
                future.cancel()


def _collect(
    loaded: list[tuple[int, Future[Skipped | tuple[Image, dict[str, NDArray[np.generic]]]]]],
    prepare: Mapping[str, Prepare],
) -> Batch:
    indices, images, arrays, skipped = [], [], [], []
    for index, future in loaded:
        result = future.result()
        if isinstance(result, Skipped):
            skipped.append(result)
        else:
            indices.append(index)
            images.append(result[0])
            arrays.append(result[1])
    inputs = {key: np.stack([array[key] for array in arrays]) for key in prepare} if arrays else {}
    return Batch(indices, [i.name for i in images], [i.sha256 for i in images], inputs, skipped)
