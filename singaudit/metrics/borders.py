"""Where the first of two values begins, among all images: for audits of more images than a block holds.

A block's own images would do for one that is large beside the rarest value. Of a value that some blocks do not show at
all, they would give every block another border, and a carried share that depends on how images are cut into blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singaudit.metrics.intervals import BLOCK
from singaudit.metrics.scores import text_angles
from singaudit.metrics.subject import Subject, blocks
from singaudit.metrics.values import Layout, half_way

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Borders:
    """(s,) for each of a layout's pairs."""

    before: Array
    """In angles of T f, degrees."""
    after: Array
    """In angles of T f~ under mean removal, degrees."""
    encoder: Array
    """In angles of the images' own embeddings, degrees."""


def find_borders(subject: Subject, layout: Layout, choose: str | int) -> Borders | None:
    """Borders by the full translators or by half 0 or 1; None where one block holds all images and finds them itself.

    Costs one more pass over the images.
    """
    if len(subject.features) <= BLOCK or not len(layout.pairs):
        return None
    texts, sides = layout.texts, np.zeros((3, 2, 2, len(layout.pairs)))
    for block in blocks(subject, choose):
        own = layout.own[block.rows]
        seen = (block.original, block.mean, subject.embeddings[block.rows])
        sides += np.stack([layout.sides(layout.apart(text_angles(z, texts)), own) for z in seen])
    return Borders(*half_way(np.moveaxis(sides, 0, 2)).reshape(3, -1))
