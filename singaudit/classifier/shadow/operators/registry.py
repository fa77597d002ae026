"""The table of operators: who implements what, since which version, and with which attributes.

An implementation is a *builder*: it gets a ``Site`` (what the graph says about one node), refuses what it does not
implement by raising ``Unsupported``, and returns a *kernel*, a function from the node's inputs to its output or
outputs. All refusals therefore happen while planning, before anything runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

Kernel = Callable[..., Any]
"""From input tensors (None where an optional one is missing) to one output, or a tuple of outputs."""

ALIASES = {"ai.onnx": ""}
"""Other names of operator domains."""

_HARMLESS = frozenset({"consumed_inputs"})
# A hint to allocators in opsets 1 to 5; it never changed a number.


class Unsupported(Exception):  # noqa: N818  (a reason to collect, not an error shown to anyone)
    """Why one node cannot be executed; collected by the plan, which lists all of them."""


@dataclass(frozen=True)
class Site:
    """What a builder may know about its node."""

    kind: str
    """Operator name."""
    version: int
    """Version of the operator's domain that the graph (or the function it stands in) imports."""
    attributes: dict[str, Any]
    """Attribute values: int, float, str, bytes, lists of them, or tensors in their carriers."""
    input_types: tuple[int, ...]
    """ONNX element type of each input: 0 where unknown, -1 where the input is missing."""
    output_types: tuple[int, ...]
    """ONNX element type of each output, 0 where unknown."""
    wanted: tuple[bool, ...]
    """Whether each output has a name, hence may be used."""
    constants: tuple[Any, ...] = ()
    """The tensor of each input that is constant, None for the others."""
    bodies: dict[str, Any] = field(default_factory=dict)
    """Subgraphs by attribute name: callables from (formal inputs, captured values) to a list of outputs."""
    body_outputs: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Element types of each subgraph's outputs."""
    explicit: int = 0
    """Number of inputs the node names itself; what follows was captured by its subgraphs."""

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute's value, or ``default`` where the node does not state it."""
        return self.attributes.get(name, default)

    def need(self, name: str) -> Any:
        """Return a required attribute's value; Unsupported where it is missing."""
        if name not in self.attributes:
            raise Unsupported(f"attribute {name} is missing")
        return self.attributes[name]

    def flag(self, name: str, default: int) -> bool:
        """Return an attribute that is 0 or 1; Unsupported for another number, of which runtimes make what they like."""
        value = self.attributes.get(name, default)
        if value not in (0, 1):
            raise Unsupported(f"{name}={value!r}, which is neither 0 nor 1")
        return bool(value)

    def choice(self, name: str, default: str, allowed: tuple[str, ...]) -> str:
        """Return a textual attribute that must be one of ``allowed``; Unsupported otherwise."""
        value = self.attributes.get(name, default)
        if value not in allowed:
            raise Unsupported(f"{name}={value!r}")
        return str(value)

    def has(self, index: int) -> bool:
        """Whether input number ``index`` is present."""
        return index < len(self.input_types) and self.input_types[index] != -1

    def wants(self, index: int) -> bool:
        """Whether output number ``index`` is present."""
        return index < len(self.wanted) and self.wanted[index]


def from_front(axis: int, rank: int) -> int:
    """Return an axis counted from the front. IndexError for one that ``rank`` dimensions do not have."""
    if not -rank <= axis < rank:
        raise IndexError(f"axis {axis} of {rank} dimensions")
    return axis % rank


TypeRule = Callable[[Site], tuple[int, ...]]
Keeps = Literal["", "shape", "type"]


@dataclass(frozen=True)
class Operator:
    """One implementation and what the plan must know about it."""

    domain: str
    """Operator domain, "" for ONNX's own."""
    kind: str
    """Operator name."""
    since: int
    """First version of the domain that it implements."""
    build: Callable[[Site], Kernel]
    """The builder."""
    attributes: frozenset[str]
    """Attributes it understands; any other makes the node unsupported."""
    host: frozenset[int]
    """Inputs wanted as Python numbers or lists; these alone decide the output's shape beside the input shapes."""
    data_shape: bool
    """Whether output shapes depend on values that are not ``host`` inputs."""
    creates: bool
    """Whether it makes tensors out of Python numbers, which then must be moved to the module's device."""
    keeps: Keeps
    """Whether its first output has the shape of its first input, in a float32 carrier, or the type as well, so that a
    dry run need not call it."""
    types: TypeRule | None
    """Output element types where the operator's schema does not determine them."""


_TABLE: dict[tuple[str, str], list[Operator]] = {}


def operator(
    kind: str,
    since: int = 1,
    *,
    domain: str = "",
    attributes: tuple[str, ...] = (),
    host: tuple[int, ...] = (),
    data_shape: bool = False,
    creates: bool = False,
    keeps: Keeps = "",
    types: TypeRule | None = None,
) -> Callable[[Callable[[Site], Kernel]], Callable[[Site], Kernel]]:
    """Register a builder for ``kind`` from version ``since`` of its domain on; see ``Operator`` for the rest."""

    def register(build: Callable[[Site], Kernel]) -> Callable[[Site], Kernel]:
        entry = Operator(
            domain, kind, since, build, frozenset(attributes) | _HARMLESS, frozenset(host), data_shape, creates,
            keeps, types,
        )  # fmt: skip
        entries = _TABLE.setdefault((domain, kind), [])
        entries.append(entry)
        entries.sort(key=lambda item: item.since)
        return build

    return register


def find(domain: str, kind: str, version: int) -> Operator | None:
    """Return the newest implementation not newer than ``version``, or None."""
    entries = [item for item in _TABLE.get((ALIASES.get(domain, domain), kind), []) if item.since <= version]
    return entries[-1] if entries else None


def same_as_input(index: int = 0, outputs: int = 1) -> TypeRule:
    """Return a type rule: all outputs have the element type of input ``index``."""

    def rule(site: Site) -> tuple[int, ...]:
        return (site.input_types[index],) * max(outputs, len(site.wanted))

    return rule


def fixed(*elements: int) -> TypeRule:
    """Return a type rule: the outputs have these element types."""
    return lambda site: elements
