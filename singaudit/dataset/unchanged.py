"""Images that are read again, for a thumbnail or a picture: only as they were when they were audited."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from singaudit.dataset.interface import Content, Image, ImageSource, Skipped


class UnchangedSource:
    """A source whose images of known content are given with that content alone. Implements ``ImageSource``."""

    def __init__(self, source: ImageSource, sha256: Mapping[int, str]) -> None:
        """``sha256``: content hashes of images by their position."""
        self._source, self._sha256 = source, dict(sha256)
        self.name, self.names, self.left_out = source.name, source.names, source.left_out
        self.labels, self.label_kind, self.columns = source.labels, source.label_kind, source.columns
        self.labels_from = source.labels_from
        self.changed: set[str] = set()
        """Names of images that were asked for and are no longer what was audited, or gone."""

    def __len__(self) -> int:
        return len(self._source)

    def load(self, index: int) -> Image | Skipped:
        """As ``ImageLoader.load``; an image that changed is a ``Skipped``."""
        return self._same(index, self._source.load(index))

    def read(self, index: int) -> Content | Skipped:
        """As ``ImageSource.read``; an image that changed is a ``Skipped``."""
        return self._same(index, self._source.read(index))

    def _same(self, index: int, found: Any) -> Any:
        known = self._sha256.get(index)
        if known is None or getattr(found, "sha256", None) == known:
            return found
        self.changed.add(found.name)
        return Skipped(found.name, "changed since it was audited")
