"""What the search for a head knows and what it finds: the trace of a run, the features' tensors, the plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singaudit.classifier.graph.lookup import GraphIndex
from singaudit.classifier.head.linear_form import Linear, NotLinear


@dataclass(frozen=True)
class Trace:
    """What the first runs of the graph told about the tensors around its outputs."""

    shapes: Mapping[str, tuple[int, ...]]
    """Of tensors that depend on the image, for one image."""
    batch_axes: Mapping[str, int | None]
    """Which of those axes is the batch; None where none could be told."""
    values: Mapping[str, NDArray[Any]]
    """Of tensors that do not depend on pixels and do not stand in the file."""
    static_batch: int | None
    """The batch size the graph insists on, or None."""
    dtypes: Mapping[str, str]
    """NumPy's names of the data tensors' element types."""
    least_batch: int = 1
    """2 where the graph drops the batch axis of a single image (Squeeze without axes)."""
    given: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """The tensors of ``shapes`` as the last run gave them."""
    images: NDArray[Any] = field(default_factory=lambda: np.empty(0))
    """What that was a run of."""


@dataclass(frozen=True)
class Leaf:
    """A tensor that holds penultimate features."""

    tensor: str
    """Its name."""
    axes: tuple[int, ...]
    """Its axes that are features, in order; it is averaged over the others, the batch axis excepted."""
    batch_axis: int | None
    """None where a graph for one image drops it."""
    shape: tuple[int, ...]
    """For one image."""
    scale: float | None = None
    """Integer tensors: features are (stored - zero) * scale."""
    zero: float = 0.0
    """See ``scale``."""

    @property
    def size(self) -> int:
        """Number of features."""
        return int(np.prod([self.shape[axis] for axis in self.axes]))

    @property
    def pooled(self) -> bool:
        """Whether features are a mean over positions."""
        others = set(range(len(self.shape))) - {*self.axes, self.batch_axis}
        return any(self.shape[axis] != 1 for axis in others)


@dataclass
class HeadPlan:
    """A head's part of the graph."""

    logits: str
    leaves: list[Leaf] = field(default_factory=list)
    nodes: list[Any] = field(default_factory=list)
    """From the features to the logits, in graph order."""
    linears: dict[int, Linear] = field(default_factory=dict)
    """By position of the node in the graph's order."""
    collapsed: int = 0
    """How many linear layers before the last were folded in."""
    folded: int = 0
    """How many parallel branches of two and more linear layers were read as one with the head."""


def constants(graph: GraphIndex, values: Mapping[str, NDArray[Any]]) -> Callable[[str], NDArray[Any]]:
    """A function from tensor names to constant arrays: from the file, else from the trace."""

    def value(name: str) -> NDArray[Any]:
        if graph.is_stored(name):
            return graph.initializer(name)
        if name in values:
            return values[name]
        raise NotLinear(f"the constant {name!r} could not be computed")

    return value
