"""From a read graph to a validated plan: everything unsupported is listed here, before anything runs."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from onnx import ModelProto
from torch import Tensor

import singaudit.classifier.shadow.operators.catalogue  # noqa: F401  (fills the registry)
from singaudit.classifier.shadow import carriers, fusions, limits, program, types
from singaudit.classifier.shadow.graph import Graph, Node, Source
from singaudit.classifier.shadow.operators.registry import Kernel, Operator, Site, Unsupported, find
from singaudit.classifier.shadow.plan import Input, Plan, UnsupportedGraphError
from singaudit.classifier.shadow.reading import read
from singaudit.errors import ModelError

RANDOM = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"}
)
"""Operators that draw random numbers: no number of such a graph could be repeated."""

NEWEST_OPSET = 28
"""Newest version of ONNX's own operators whose meaning was checked."""


def make_plan(
    model: ModelProto, base: Path | None = None, outputs: Sequence[str] | None = None, mapped: bool = False
) -> Plan:
    """Plan the execution of a model, up to the tensors named in ``outputs`` (default: the graph's outputs).

    ``mapped`` is as ``shadow_copy`` says.

    Raises UnsupportedModelError that lists all unsupported operators, attributes and types at once, and ModelError
    for malformed graphs, unknown names and graphs beyond the static limits. The proto is left untouched.
    """
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx") and entry.version > NEWEST_OPSET:
            raise UnsupportedGraphError((f"opset {entry.version}: newer than {NEWEST_OPSET}",))
    return _Planner(read(model, base, mapped), model, outputs).plan()


def _label(node: Node) -> str:
    kind = f"{node.domain}:{node.kind}" if node.domain else node.kind
    return f"{kind} ({node.name})" if node.name else kind


class _Planner:
    """Builds kernels in order, folds what is constant, and collects every problem on the way."""

    def __init__(self, source: Source, model: ModelProto, outputs: Sequence[str] | None) -> None:
        self._graph = source.graph
        self._constants = source.constants
        self._types = source.types
        self._stored = source.stored
        self._names = list(outputs) if outputs is not None else [value.name for value in model.graph.output]
        self._problems: dict[str, list[str]] = {}
        self._alias: dict[str, str] = {}
        self._kernels: dict[int, tuple[Kernel, Operator]] = {}
        self._budget = program.Budget()
        self._bodies: list[tuple[Node, Graph, program.Body]] = []
        self._kinds: set[str] = set()

    def plan(self) -> Plan:
        graph = self._graph
        unknown = [name for name in self._names if name not in graph.names]
        if unknown:
            raise ModelError(f"The graph has no tensor named {', '.join(unknown)}.")
        outputs = [graph.names[name] for name in self._names]
        nodes = live(graph.nodes, outputs)
        for value, element in zip(graph.inputs, graph.input_types, strict=True):
            self._types[value] = element
            if element not in carriers.CARRIERS:
                self._problem(f"input {value}", f"type {carriers.type_name(element)}")
        nodes = self._process(nodes)
        outputs = [self._final(name) for name in outputs]
        self._refuse()
        nodes = live(nodes, outputs)
        nodes = self._fuse(nodes, outputs)
        for node, body, callable_ in self._bodies:
            self._fill(node, body, callable_)
        steps = tuple(self._step(node) for node in nodes)
        tensors, host = program.used_by(steps, outputs)
        return Plan(
            inputs=tuple(
                Input(name, element, shape)
                for name, element, shape in zip(graph.inputs, graph.input_types, graph.input_shapes, strict=True)
            ),
            input_values=tuple(graph.inputs),
            steps=steps,
            outputs=tuple(outputs),
            output_names=tuple(self._names),
            output_types=tuple(self._types.get(name, 0) for name in outputs),
            constants={name: value for name, value in self._constants.items() if name in tensors | host},
            budget=self._budget,
            stored=frozenset(self._stored),
            kinds=frozenset(self._kinds),
        )

    def _problem(self, what: str, reason: str) -> None:
        self._problems.setdefault(what, [])
        if reason not in self._problems[what]:
            self._problems[what].append(reason)

    def _refuse(self) -> None:
        if self._problems:
            raise UnsupportedGraphError(
                tuple(f"{what}: {', '.join(reasons)}" for what, reasons in sorted(self._problems.items()))
            )

    def _final(self, name: str) -> str:
        """Follow aliases (Identity, chosen branches) to the value that really exists."""
        while name in self._alias:
            name = self._alias[name]
        return name

    def _process(self, nodes: Iterable[Node]) -> list[Node]:
        """Build, fold or dissolve each node, in order; returns what is left to run."""
        waiting = deque(nodes)
        kept: list[Node] = []
        while waiting:
            node = waiting.popleft()
            node.inputs = [self._final(name) for name in node.inputs]
            chosen = self._constant_branch(node)
            if chosen is not None:
                waiting.extendleft(reversed(live(chosen.nodes, chosen.outputs)))
                self._alias.update(zip(node.outputs, chosen.outputs, strict=False))
            elif node.kind == "Identity" and node.domain == "":
                self._alias[node.outputs[0]] = node.inputs[0]
            elif self._build(node) and not self._fold(node):
                kept.append(node)
        return kept

    def _constant_branch(self, node: Node) -> Graph | None:
        """Return the subgraph that an If with a constant condition always takes."""
        if node.kind != "If" or node.domain or node.inputs[0] not in self._constants:
            return None
        taken = bool(self._constants[node.inputs[0]].reshape(-1)[0])
        return node.bodies.get("then_branch" if taken else "else_branch")

    def _build(self, node: Node) -> bool:
        """Choose the implementation of a node and build its kernel; problems are collected, not raised."""
        what = f"{node.domain}:{node.kind}" if node.domain else node.kind
        self._kinds.add(f"{node.domain}:{node.kind}")
        if node.kind in RANDOM:
            self._problem(what, "draws random numbers, so no result could be repeated")
            return False
        operator = find(node.domain, node.kind, node.version)
        if operator is None:
            self._problem(what, f"operator not supported (opset {node.version})")
            return False
        unknown = {name.removesuffix(".type") for name in node.attributes} - operator.attributes
        if unknown:
            self._problem(what, f"unknown attribute {', '.join(sorted(unknown))}")
            return False
        try:
            site = self._site(node, operator)
            site = dataclasses.replace(site, output_types=types.output_types(operator, site))
            self._types.update((n, t) for n, t in zip(node.outputs, site.output_types, strict=False) if n)
            for element in (*site.input_types, *site.output_types):
                if element > 0 and element not in carriers.CARRIERS:
                    raise Unsupported(f"type {carriers.type_name(element)}")
            self._kernels[id(node)] = (operator.build(site), operator)
        except Unsupported as reason:
            self._problem(what, str(reason))
            return False
        except (KeyError, ValueError, TypeError, IndexError) as error:
            raise ModelError(f"The node {_label(node)} is malformed: {error!r}") from error
        return True

    def _site(self, node: Node, operator: Operator) -> Site:
        explicit = len(node.inputs)
        bodies: dict[str, program.Body] = {}
        for name, body in node.bodies.items():
            # Formal inputs without a declared type take that of the value handed in.
            offset = 0 if len(body.inputs) == explicit else explicit - len(body.inputs)
            for index, (value, element) in enumerate(zip(body.inputs, body.input_types, strict=True)):
                source = node.inputs[index + offset] if 0 <= index + offset < explicit else ""
                self._types[value] = element or self._types.get(source, 0)
            body.nodes = self._process(live(body.nodes, body.outputs))
            body.outputs = [self._final(value) for value in body.outputs]
            body.nodes = live(body.nodes, body.outputs)
            bodies[name] = program.Body(self._budget)
            self._bodies.append((node, body, bodies[name]))
        captured: dict[str, None] = {}
        for body in node.bodies.values():
            captured.update(dict.fromkeys(self._captures(body)))
        node.inputs = node.inputs + list(captured)
        return Site(
            kind=node.kind,
            version=node.version,
            attributes=node.attributes,
            input_types=tuple(self._types.get(name, 0) if name else -1 for name in node.inputs),
            output_types=(),
            wanted=tuple(bool(name) for name in node.outputs),
            constants=tuple(self._constants.get(name) for name in node.inputs),
            bodies=bodies,
            body_outputs={
                name: tuple(self._types.get(value, 0) for value in body.outputs) for name, body in node.bodies.items()
            },
            explicit=explicit,
        )

    def _captures(self, body: Graph) -> list[str]:
        """Return the values a processed subgraph reads from around it as tensors."""
        steps = [self._step(node) for node in body.nodes]
        tensors, host = program.used_by(steps, body.outputs)
        inside = {*body.inputs, *(name for node in body.nodes for name in node.outputs)}
        host -= set(self._constants)
        return sorted(name for name in tensors | host if name not in inside)

    def _fill(self, node: Node, body: Graph, callable_: program.Body) -> None:
        captured = node.inputs[len(node.inputs) - self._captured_count(node) :]
        steps = [self._step(item) for item in body.nodes]
        host = {
            name: program.to_host(self._constants[name])
            for name in program.used_by(steps, ())[1]
            if name in self._constants
        }
        callable_.fill(program.Program(steps, [*body.inputs, *captured], body.outputs, host))

    def _captured_count(self, node: Node) -> int:
        return len({name for body in node.bodies.values() for name in self._captures(body)})

    def _fold(self, node: Node) -> bool:
        """Compute a node whose inputs are all constant, within limits; returns whether it did."""
        if node.bodies or any(name and name not in self._constants for name in node.inputs):
            return False
        step = self._step(node)
        arguments = [
            (program.to_host(self._constants[name]) if index in step.host else self._constants[name]) if name else None
            for index, name in enumerate(node.inputs)
        ]
        try:
            with torch.no_grad():
                result = step.kernel(*arguments)
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            raise ModelError(f"The node {step.label} cannot be computed from its constants: {error}") from error
        results = result if isinstance(result, tuple) else (result,)
        if not isinstance(results[0], Tensor):
            return False
        for item in results:
            if item is not None:
                limits.check_elements(item.shape, step.label, limits.MAX_FOLDED_ELEMENTS)
        for name, item in zip(node.outputs, results, strict=False):
            if name and item is not None:
                self._constants[name] = item.contiguous()
        return True

    def _step(self, node: Node) -> program.Step:
        kernel, operator = self._kernels[id(node)]
        return program.Step(
            kernel=kernel,
            inputs=tuple(node.inputs),
            outputs=tuple(node.outputs),
            host=operator.host,
            creates=operator.creates,
            label=_label(node),
            data_shape=operator.data_shape,
            keeps=operator.keeps,
            reads_shape=node.domain == "" and node.kind in ("Shape", "Size"),
        )

    def _fuse(self, nodes: list[Node], outputs: Sequence[str]) -> list[Node]:
        """Replace decomposed patterns by single operators of the internal domain, and build those."""
        keep = set(outputs) | {name for node in nodes for body in node.bodies.values() for name in self._captures(body)}
        steps = [self._step(node) for node in nodes]
        by_shape = program.depends_on_shapes(steps, self._constants, self._graph.inputs)
        scalars = {name for name, value in self._constants.items() if value.numel() == 1}
        scalars.update(name for index in by_shape for name in steps[index].outputs)
        fused = fusions.fuse(nodes, self._constants, scalars, keep)
        for node in fused:
            if id(node) not in self._kernels and not self._build(node):
                raise AssertionError(f"a fusion produced an unsupported node: {self._problems}")
        return live(fused, outputs)


def live(nodes: Sequence[Node], outputs: Iterable[str]) -> list[Node]:
    """Return the nodes that the outputs depend on, in the same order."""
    needed = set(outputs)
    kept = []
    for node in reversed(nodes):
        if not needed.isdisjoint(name for name in node.outputs if name):
            kept.append(node)
            needed.update(node.inputs)
            for body in node.bodies.values():
                needed |= _needs(body)
    return kept[::-1]


def _needs(body: Graph) -> set[str]:
    """Return a superset of the values a subgraph reads from around it."""
    needs = set(body.outputs)
    for node in body.nodes:
        needs.update(node.inputs)
        for inner in node.bodies.values():
            needs |= _needs(inner)
    return needs
