"""Some images of a source, as a source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from singaudit.dataset.interface import Content, Image, ImageSource, LabelKind, Skipped


class Subset:
    """The images of ``source`` at ``positions`` (n,), in that order. Implements ``ImageSource``."""

    left_out: tuple[Skipped, ...] = ()

    def __init__(self, source: ImageSource, positions: NDArray[np.intp], what: str) -> None:
        """``what`` they are, for messages: "held-out images"."""
        self._source, self._positions = source, positions
        self.name = f"{what} of {source.name}"
        self.label_kind: LabelKind = source.label_kind
        self.labels_from: str = source.labels_from

    def __len__(self) -> int:
        return len(self._positions)

    @property
    def names(self) -> Sequence[str]:
        """(n,) as in the source."""
        names = self._source.names
        return [names[i] for i in self._positions]

    @property
    def labels(self) -> tuple[str | None, ...] | None:
        """(n,) as in the source."""
        labels = self._source.labels
        return None if labels is None else tuple(labels[i] for i in self._positions)

    @property
    def columns(self) -> Mapping[str, Sequence[str]]:
        """(n,) values per column, as in the source."""
        return {name: [column[i] for i in self._positions] for name, column in self._source.columns.items()}

    def read(self, index: int) -> Content | Skipped:
        """One image's bytes."""
        return self._source.read(int(self._positions[index]))

    def load(self, index: int) -> Image | Skipped:
        """One image, decoded."""
        return self._source.load(int(self._positions[index]))
