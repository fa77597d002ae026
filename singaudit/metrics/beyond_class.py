"""What remains of a group when the class is taken out: weights that compare values within classes.

What the logits show of an attribute only because it goes with the class is not seen: a head that tells cows from camels
does not see sand, whatever a probe makes of its logits. Within a class its values count equally, so that whatever is
the same for all of a class cancels; classes count by how much there is to compare (overlap weights: Li, Morgan,
Zaslavsky 2018; Li and Li 2019). A value that a class does not show is no rival in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singaudit.metrics.values import Layout

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Within:
    """Comparisons within classes of one layout."""

    class_of: NDArray[np.intp]
    """(n,) row of each image in the tables below."""
    counts: Array
    """(c, K) images of each class with each value."""
    value_weight: Array
    """(c, K) weight of an image of that class with that value; 0 where its class shows no other."""
    rivals: Array
    """(c, G) values that each class shows."""
    starts: NDArray[np.intp]
    """(G,) as of the layout."""
    units: NDArray[np.intp]
    """(G,) units with a value that is not the most frequent of their class."""

    def weight(self, rows: NDArray[np.intp], own: NDArray[np.int32]) -> Array:
        """(b, G) weights of the images ``rows`` with own values ``own`` (b, G)."""
        return np.where(own >= 0, self.value_weight[self.class_of[rows][:, None], own], 0.0)

    def margin(self, angles: Array, rows: NDArray[np.intp], own: NDArray[np.int32]) -> Array:
        """(b, G) mean angle to the class's other values less that to the own one, of angles (b, K)."""
        mine = np.take_along_axis(angles, np.maximum(own, 0), axis=1)
        place = self.class_of[rows]
        total = np.add.reduceat(angles * (self.counts[place] > 0), self.starts, axis=1)
        others = (total - mine) / np.maximum(self.rivals[place] - 1, 1)
        return np.asarray(others - mine)

    def hits(self, scores: Array, rows: NDArray[np.intp], own: NDArray[np.int32]) -> Array:
        """(b, G) normalised hits: 1 where the largest of scores (b, K) among the class's values is the own one.

        Chance, one of so many values, is 0.
        """
        place = self.class_of[rows]
        scores = np.where(self.counts[place] > 0, scores, -np.inf)
        best = np.maximum.reduceat(scores, self.starts, axis=1)
        right = np.take_along_axis(scores, np.maximum(own, 0), axis=1) >= best
        chance = 1 / np.maximum(self.rivals[place], 1)
        return np.where(self.rivals[place] > 1, (right - chance) / np.where(chance < 1, 1 - chance, 1.0), 0.0)

    def class_hits(self, rows: NDArray[np.intp], own: NDArray[np.int32], value_weight: Array) -> Array:
        """(b, G) 1 where the class alone tells the value: the likeliest among its other images.

        ``value_weight`` (K,) as of the layout: values weigh equally, however many images have them.
        """
        place = self.class_of[rows]
        mine = np.zeros((len(rows), self.counts.shape[1]))
        at, groups = np.nonzero(own >= 0)
        mine[at, own[at, groups]] = 1.0
        likely = (self.counts[place] - mine) * value_weight
        best = np.maximum.reduceat(likely, self.starts, axis=1)
        own_likely = np.take_along_axis(likely, np.maximum(own, 0), axis=1)
        sizes = np.diff(np.append(self.starts, likely.shape[1]))
        tied = np.add.reduceat(likely >= np.repeat(best, sizes, axis=1) * (1 - 1e-12), self.starts, axis=1, dtype=float)
        return np.where(own_likely >= best * (1 - 1e-12), 1 / tied, 0.0)


def compare_within(layout: Layout, class_of: NDArray[np.intp], unit_of: NDArray[np.intp]) -> Within:
    """Tables of the comparisons within classes; ``class_of`` and ``unit_of`` (n,)."""
    place = np.unique(class_of, return_inverse=True)[1]
    width = len(layout.texts)
    counts = np.zeros((int(place.max()) + 1, width))
    rows, groups = np.nonzero(layout.own >= 0)
    np.add.at(counts, (place[rows], layout.own[rows, groups]), 1.0)
    shown = counts > 0
    rivals = np.add.reduceat(shown, layout.starts, axis=1, dtype=np.float64)
    with np.errstate(divide="ignore"):
        inverse = np.where(shown, 1 / counts, 0.0)
    overlap = 1 / np.maximum(np.add.reduceat(inverse, layout.starts, axis=1), 1e-300)
    overlap = np.where(rivals > 1, overlap, 0.0)
    best = np.maximum.reduceat(counts, layout.starts, axis=1)
    unusual = np.zeros(len(layout.starts), np.intp)
    for g in range(len(layout.starts)):
        own = layout.own[:, g]
        known = own >= 0
        odd = known.copy()
        odd[known] = counts[place[known], own[known]] < best[place[known], g]
        unusual[g] = len(np.unique(unit_of[odd]))
    return Within(place, counts, np.repeat(overlap, layout.sizes, axis=1) * inverse, rivals, layout.starts, unusual)
