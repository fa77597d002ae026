"""What a handler sees of one node between the features and the logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from singaudit.classifier.graph.lookup import GraphIndex
from singaudit.classifier.head.affine import Affine
from singaudit.classifier.head.linear_form import NotLinear


@dataclass(frozen=True)
class HeadStep:
    """One node, the values that reach it, and their shapes."""

    graph: GraphIndex
    node: Any
    inputs: Sequence[Any]
    """Affine, Scale, array, or None for an input left out, in the node's order."""
    in_shapes: Sequence[tuple[int, ...]]
    """As the graph has them for one image; () where unknown."""
    out_shape: tuple[int, ...]
    out_name: str

    def affine(self) -> Affine:
        """The only input that depends on the features; NotLinear if there are several."""
        found = [value for value in self.inputs if isinstance(value, Affine)]
        if len(found) != 1:
            raise NotLinear(f"{self.graph.label(self.node)} combines {len(found)} tensors of the features")
        return found[0]
