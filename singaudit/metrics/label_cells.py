"""What stands for the class under a head of several labels: the labels that go with an attribute, together.

An image has any number of labels, so that no single class can be taken out. Labels that tell a value enter first, the
one that tells most before the others, as long as most images share their combination with others: what is compared then
has the same of all these labels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

KNOWS = 0.05
"""Normalised accuracy with which a label alone tells a value, from which on it is taken out."""
MIN_CELL = 8
"""Images of a combination of labels that can be compared with each other."""
COVERED = 0.8
"""Share of the images that must be in such combinations."""


def labels_of(activation: str, logits: NDArray[np.floating]) -> NDArray[np.bool_] | None:
    """(n, l) labels that a head of several gives each image, of its logits (n, l); None of a head that gives one."""
    return logits > 0 if activation == "sigmoid" and logits.shape[1] > 1 else None


def label_cells(labels: NDArray[np.bool_], own: Sequence[NDArray[np.intp]]) -> NDArray[np.intp]:
    """(n,) which images share the labels that go with any attribute.

    ``labels`` (n, l) are those each image has, ``own`` the (n,) values of the attributes, -1 where unknown.
    """
    tells = np.zeros(labels.shape[1])
    for values in own:
        tells = np.maximum(tells, knows(labels, values))
    cells = np.zeros(len(labels), np.intp)
    for label in np.argsort(-tells, kind="stable"):
        if tells[label] < KNOWS:
            break
        finer = np.unique(2 * cells + labels[:, label], return_inverse=True)[1].astype(np.intp)
        sizes = np.bincount(finer)
        if sizes[sizes >= MIN_CELL].sum() >= COVERED * len(labels):
            cells = finer
    return cells


def knows(labels: NDArray[np.bool_], own: NDArray[np.intp]) -> Array:
    """(l,) normalised accuracy with which each label alone tells the values ``own`` (n,), values weighing equally."""
    known = np.flatnonzero(own >= 0)
    present, place = np.unique(own[known], return_inverse=True)
    count = len(present)
    if count < 2:
        return np.zeros(labels.shape[1])
    has = np.stack([labels[known[place == v]].mean(axis=0) for v in range(count)])
    accuracy = (has.max(axis=0) + (1 - has).max(axis=0)) / count
    return np.asarray((accuracy - 1 / count) / (1 - 1 / count))
