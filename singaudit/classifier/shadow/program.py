"""Programs: a list of instructions over numbered slots, freed after their last use."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from singaudit.classifier.shadow import limits
from singaudit.errors import ModelError, SingauditError


class Step(NamedTuple):
    """One planned operator, ready to become an instruction."""

    kernel: Callable[..., Any]
    """From inputs to one output or a tuple of them."""
    inputs: tuple[str, ...]
    """Values read, "" where missing."""
    outputs: tuple[str, ...]
    """Values written, "" where unwanted."""
    host: frozenset[int]
    """Positions of inputs that the kernel wants as Python numbers or lists."""
    creates: bool
    """Whether the result is made from Python numbers, hence must be moved to the module's device."""
    label: str
    """Operator and node name, for messages."""
    data_shape: bool
    """Whether output shapes depend on values other than host inputs."""
    keeps: str
    """"shape" where the first result is a float32 tensor of the first input's shape, "type" where it has the input's
    own type, "" where neither is known."""
    reads_shape: bool
    """Whether the result depends on the input's shape, not on its values."""


class _Instruction(NamedTuple):
    kernel: Callable[..., Any]
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    frees: tuple[int, ...]
    creates: bool
    label: str


def to_host(value: Any) -> Any:
    """Turn a tensor into a Python number or nested lists; None stays None."""
    return value.tolist() if isinstance(value, Tensor) else value


class Program:
    """Steps compiled for one set of known values; stateless between runs."""

    def __init__(
        self,
        steps: Sequence[Step],
        inputs: Sequence[str],
        outputs: Sequence[str],
        host: Mapping[str, Any],
    ) -> None:
        """Compile steps.

        inputs: values handed to ``run``, in order; outputs: values it returns; host: Python values of those constant
        or cached values that steps want on the host.
        """
        # Slot 0 holds None: what a kernel gets for a missing optional input.
        self._template: list[Any] = [None]
        self._slots: dict[str, int] = {"": 0}
        self._known: dict[str, int] = {}
        self._inputs = tuple(self._slot(name) for name in inputs)
        drafts: list[_Instruction] = []
        for step in steps:
            reads = []
            for index, name in enumerate(step.inputs):
                if name and index in step.host:
                    reads.append(self._host_slot(name, host, drafts))
                else:
                    reads.append(self._slots[name])
            writes = tuple(self._slot(name) if name else 0 for name in step.outputs)
            drafts.append(_Instruction(step.kernel, tuple(reads), writes, (), step.creates, step.label))
        self._outputs = tuple(self._slots[name] for name in outputs)
        self.instructions = self._with_frees(drafts)

    def _slot(self, name: str) -> int:
        self._template.append(None)
        self._slots[name] = len(self._template) - 1
        return self._slots[name]

    def _host_slot(self, name: str, host: Mapping[str, Any], drafts: list[_Instruction]) -> int:
        """Return the slot of a value's Python form; a value known only at run time gets an instruction for it."""
        if name not in self._known:
            self._template.append(host.get(name))
            slot = len(self._template) - 1
            if name not in host:
                drafts.append(_Instruction(to_host, (self._slots[name],), (slot,), (), False, "host"))
            self._known[name] = slot
        return self._known[name]

    def _with_frees(self, drafts: list[_Instruction]) -> list[_Instruction]:
        """Let each instruction free the values it is the last to read; inputs and outputs stay."""
        kept = {0, *self._inputs, *self._outputs}
        written: set[int] = {slot for draft in drafts for slot in draft.writes}
        seen: set[int] = set()
        result = []
        for draft in reversed(drafts):
            # A written value nobody reads is freed at once.
            last = {slot for slot in (*draft.reads, *draft.writes) if slot not in seen and slot in written}
            seen |= last
            result.append(draft._replace(frees=tuple(sorted(last - kept))))
        return result[::-1]

    def run(self, values: Iterable[Any], device: torch.device, wide: bool = False) -> list[Any]:
        """Execute on the values of ``inputs``, in order; returns the values of ``outputs``.

        ``wide``: in float64; what is float32 among the values is widened for each step that reads it.
        """
        slots = self._template.copy()
        for slot, value in zip(self._inputs, values, strict=True):
            slots[slot] = value
        for kernel, reads, writes, frees, creates, label in self.instructions:
            arguments = [slots[index] for index in reads]
            try:
                result = kernel(*(map(_widened, arguments) if wide else arguments))
            except (SingauditError, RuntimeError, ValueError, IndexError, TypeError) as error:
                error.add_note(f"in the graph's node {label}")
                raise
            if creates:
                result = result.to(device)
            if isinstance(result, tuple):
                for slot, item in zip(writes, result, strict=False):
                    if slot:
                        slots[slot] = item
            else:
                slots[writes[0]] = result
            for slot in frees:
                slots[slot] = None
            result = None
        found = [slots[index] for index in self._outputs]
        return [_widened(value) for value in found] if wide else found


def _widened(value: Any) -> Any:
    return value.double() if isinstance(value, Tensor) and value.dtype == torch.float32 else value


class Budget:
    """Counts what the bodies of loops execute within one call, so that no trip count can hang the caller."""

    def __init__(self) -> None:
        """Start at zero."""
        self.spent = 0

    def spend(self, amount: int) -> None:
        """Add to the count; ModelError beyond the limit."""
        self.spent += amount
        if self.spent > limits.MAX_LOOP_STEPS:
            raise ModelError(f"Loops executed more than {limits.MAX_LOOP_STEPS} nodes in one call.")


class Body:
    """A subgraph as a callable from (formal inputs, captured values) to a list of outputs."""

    def __init__(self, budget: Budget) -> None:
        """Create it empty; ``fill`` follows once the plan knows what it captures."""
        self._budget = budget
        self._program: Program | None = None
        self._cost = 1

    def fill(self, program: Program) -> None:
        """Give it its program, whose inputs are the formal inputs followed by the captured values."""
        self._program = program
        self._cost = max(len(program.instructions), 1)

    def __call__(self, inputs: Sequence[Any], captured: Sequence[Any]) -> list[Any]:
        """Execute once."""
        assert self._program is not None
        self._budget.spend(self._cost)
        device = next((v.device for v in (*inputs, *captured) if isinstance(v, Tensor)), torch.device("cpu"))
        return self._program.run([*inputs, *captured], device)


def used_by(steps: Sequence[Step], outputs: Collection[str]) -> tuple[set[str], set[str]]:
    """Return which values are read as tensors and which as Python values; outputs count as tensors."""
    tensors: set[str] = set(outputs)
    host: set[str] = set()
    for step in steps:
        for index, name in enumerate(step.inputs):
            if name:
                (host if index in step.host else tensors).add(name)
    return tensors, host


def depends_on_shapes(steps: Sequence[Step], constants: Collection[str], inputs: Collection[str]) -> frozenset[int]:
    """Return the indices of steps whose results depend on input shapes alone.

    A value's *shape* is determined by input shapes unless an operator derives it from data (NonZero, or Reshape to a
    computed shape); what Shape reads of such a value, and all that follows from it, is known once shapes are.
    """
    static = set(constants)
    determined = static | set(inputs)
    found = set()
    for index, step in enumerate(steps):
        sources = {name for name in step.inputs if name}
        if step.data_shape or not sources <= determined:
            continue
        hosts = [step.inputs[i] for i in step.host if i < len(step.inputs) and step.inputs[i]]
        if sources <= static or step.reads_shape:
            found.add(index)
            static.update(step.outputs)
            determined.update(step.outputs)
        elif all(name in static for name in hosts):
            determined.update(step.outputs)
    return frozenset(found)
