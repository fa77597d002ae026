"""What there is to look at: images, their labels and scenes, before any of them is decoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singaudit.config import AuditConfig
from singaudit.dataset.columns import TableFile
from singaudit.dataset.interface import ImageSource
from singaudit.dataset.labels import read_labels, resolve_group_labels, resolve_labels, resolve_units, tables_of
from singaudit.dataset.sources.table import open_source
from singaudit.language.concepts import Group
from singaudit.language.packs.pack import Pack


@dataclass(frozen=True)
class Asked:
    """The images of an audit, as they are listed."""

    source: ImageSource
    """Of the audited images."""
    count: int
    """How many of them are asked for."""
    probe: ImageSource | None
    """Of the probe images."""
    probe_count: int
    """How many of those are asked for; 0 without any."""
    labels: list[int] | None
    """Class of each image of the source, where it is known."""
    labels_source: str
    """In words."""
    own: dict[str, NDArray[np.intp]]
    """Values of concept groups by the user's labels, for every image of the source; -1 where unknown."""
    scenes: NDArray[np.int64] | None
    """Scene of each image of the source, where a column says."""
    groups: tuple[Group, ...] = ()
    """Whose texts will be embedded."""
    tables: tuple[TableFile, ...] = ()
    """Text files that say which images there are and what they show."""


def what_is_asked(config: AuditConfig, names: tuple[str, ...], groups: Sequence[Group], pack: Pack | None) -> Asked:
    """List the images and read what is said of them. Raises ``DatasetError``; no image is decoded."""
    source = (
        pack.source()
        if pack is not None and config.images is None
        else open_source(str(config.images), config.label_column)
    )
    stated = read_labels(source, config.labels)
    labels, labels_source = resolve_labels(source, stated, names, config.label_column)
    own = resolve_group_labels(source, stated, {g.name: g.values for g in groups if g.kind == "group"})
    scenes = resolve_units(source, stated, config.units)
    probe = open_source(config.probe) if config.probe else None

    def count(listed: ImageSource | None) -> int:
        return min(len(listed), config.limit or len(listed)) if listed is not None else 0

    return Asked(
        source, count(source), probe, count(probe), labels, labels_source, own, scenes, tuple(groups),
        tables_of(source, stated),
    )  # fmt: skip
