"""A graph as plain data: what reading a file gives and what planning works on."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass(eq=False)
class Node:
    """One operator of the graph."""

    kind: str
    """Operator name."""
    domain: str
    """Operator domain, "" for ONNX's own."""
    version: int
    """Version of that domain."""
    name: str
    """The node's name in the file, for messages."""
    attributes: dict[str, Any]
    """Attribute values as ``registry.Site`` describes them."""
    inputs: list[str]
    """Values read, "" where an optional one is missing."""
    outputs: list[str]
    """Values written, "" where nobody wants one."""
    bodies: dict[str, Graph] = field(default_factory=dict)
    """Subgraphs by attribute name."""


@dataclass(eq=False)
class Graph:
    """A graph or subgraph in executable order."""

    inputs: list[str]
    """Formal inputs, initializers left out."""
    input_types: list[int]
    """Declared element type of each input, 0 where undeclared."""
    input_shapes: list[tuple[int | None, ...] | None]
    """Declared sizes of each input, None where dynamic; None where the rank is undeclared."""
    nodes: list[Node]
    """Operators, sources first."""
    outputs: list[str]
    """Values returned."""
    names: MutableMapping[str, str]
    """From names in the file to values."""


@dataclass(eq=False)
class Source:
    """What was read from a file."""

    graph: Graph
    """The main graph."""
    constants: dict[str, Tensor]
    """Values fixed by the file, subgraphs' included, in their carriers, on the CPU."""
    types: dict[str, int]
    """Element types of constants."""
    stored: set[int]
    """Element types in which the file stores constants."""
