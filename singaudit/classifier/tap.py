"""From a tensor of the graph to rows of features or logits, and back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass
class Tap:
    """Where the rows of a tensor are."""

    tensor: str
    batch_axis: int | None
    """None where a graph for one image drops the axis that counts images."""
    axes: tuple[int, ...]
    """Kept axes; the tensor is averaged over the others, the batch axis excepted."""
    shape: tuple[int, ...]
    """For one image."""
    scale: float | None = None
    zero: float = 0.0
    dtype: str = "float32"
    """Of the stored tensor."""

    @property
    def size(self) -> int:
        """Numbers per row."""
        return int(np.prod([self.shape[axis] for axis in self.axes]))

    def with_batch_axis(self) -> Tap:
        """The tap of the same tensor once an axis of length 1 was put first."""
        return replace(self, batch_axis=0, axes=tuple(axis + 1 for axis in self.axes), shape=(1, *self.shape))

    def read(self, array: NDArray[Any]) -> NDArray[np.float32]:
        """(n, size) float32 from the tensor."""
        if self.batch_axis is None:
            return self.with_batch_axis().read(array[None])
        others = tuple(axis for axis in range(array.ndim) if axis != self.batch_axis and axis not in self.axes)
        moved = np.moveaxis(array, self.batch_axis, 0)
        if others:
            # Axes before the batch axis moved one place up.
            places = tuple(axis + 1 if axis < self.batch_axis else axis for axis in others)
            moved = moved.mean(axis=places, dtype=np.float64 if array.dtype != np.float32 else np.float32)
        rows = moved.reshape(len(moved), -1)
        if self.scale is not None:
            rows = (rows.astype(np.float32) - np.float32(self.zero)) * np.float32(self.scale)
        return np.ascontiguousarray(rows, dtype=np.float32)

    def write(self, rows: NDArray[np.float32]) -> NDArray[Any]:
        """The tensor that ``read`` gives ``rows`` (n, size) for; constant along averaged axes."""
        if self.batch_axis is None:
            only: NDArray[Any] = self.with_batch_axis().write(rows)[0]
            return only
        values: NDArray[Any] = rows
        if self.scale is not None:
            info = np.iinfo(self.dtype)
            values = np.clip(np.round(rows / self.scale) + self.zero, info.min, info.max)
        kept = [length if axis in self.axes else 1 for axis, length in enumerate(self.shape)]
        del kept[self.batch_axis]
        full = [len(rows) if axis == self.batch_axis else length for axis, length in enumerate(self.shape)]
        moved = np.moveaxis(values.reshape(len(rows), *kept), 0, self.batch_axis)
        return np.ascontiguousarray(np.broadcast_to(moved, full), dtype=self.dtype)
