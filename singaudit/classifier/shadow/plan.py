"""A validated plan: what the planner hands to the module."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from singaudit.classifier.graph.tolerances import quantises
from singaudit.classifier.shadow import program
from singaudit.errors import UnsupportedModelError


class UnsupportedGraphError(UnsupportedModelError):
    """A graph that the copy cannot execute; ``problems`` lists everything it holds that is not implemented."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__(
            "The graph cannot be copied into torch; it holds:\n" + "\n".join(f"  - {line}" for line in problems),
            hint="Everything that does not need gradients still runs on ONNX Runtime.",
        )
        self.problems = problems


@dataclass(frozen=True)
class Input:
    """One input of the graph."""

    name: str
    """Its name in the file."""
    element: int
    """ONNX element type."""
    shape: tuple[int | None, ...] | None
    """Declared sizes, None where dynamic; None where even the rank is undeclared."""


@dataclass(frozen=True)
class Plan:
    """A graph ready to be executed."""

    inputs: tuple[Input, ...]
    """What ``forward`` takes, in order."""
    input_values: tuple[str, ...]
    """The inputs' values."""
    steps: tuple[program.Step, ...]
    """Operators, sources first."""
    outputs: tuple[str, ...]
    """Values that ``forward`` returns, in order."""
    output_names: tuple[str, ...]
    """Their names in the file."""
    output_types: tuple[int, ...]
    """Their ONNX element types."""
    constants: dict[str, Tensor]
    """Values fixed by the file that some step or output needs, in their carriers."""
    budget: program.Budget
    """What loops may still execute in the present call."""
    stored: frozenset[int]
    """Element types in which the file stores constants."""
    kinds: frozenset[str]
    """Operators in use, as ``domain:name``, subgraphs included."""

    @property
    def quantises(self) -> bool:
        """Whether the graph rounds to integers on the way."""
        return quantises(self.operators)

    @property
    def operators(self) -> set[str]:
        """Names of the operators in use, without their domains."""
        return {kind.split(":")[-1] for kind in self.kinds}
