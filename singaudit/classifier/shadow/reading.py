"""Read an ONNX ModelProto into plain nodes: functions inlined, names unique, nodes sorted, constants as tensors.

The proto is only read; nothing of it is changed.
"""

from __future__ import annotations

import math
import mmap
from collections import ChainMap
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper
from torch import Tensor

from singaudit.classifier.shadow import carriers, limits
from singaudit.classifier.shadow.graph import Graph, Node, Source
from singaudit.classifier.shadow.operators.registry import ALIASES
from singaudit.classifier.shadow.sorting import sort_nodes
from singaudit.disk import open_plain
from singaudit.errors import ModelError


def read(model: ModelProto, base: Path | None, mapped: bool = False) -> Source:
    """Read a model; ``base`` is the folder of its external data, ``mapped`` as ``shadow_copy`` says.

    Raises ModelError for graphs that are malformed, recursive or beyond the static limits.
    """
    return _Reader(model, base, mapped).source()


class _Reader:
    """Walks the proto once; counts as it goes, so that expansion stops at the limits."""

    def __init__(self, model: ModelProto, base: Path | None, mapped: bool) -> None:
        self._model = model
        self._base = base
        self._mapped = mapped
        self._functions = {(_domain(f.domain), f.name, f.overload): f for f in model.functions}
        self._constants: dict[str, Tensor] = {}
        self._types: dict[str, int] = {}
        self._stored: set[int] = set()
        self._taken: dict[str, int] = {}
        self._nodes = 0
        self._bytes = 0

    def source(self) -> Source:
        opsets = {_domain(entry.domain): entry.version for entry in self._model.opset_import}
        graph = self._graph(self._model.graph, {}, opsets, {}, 0)
        return Source(graph, self._constants, self._types, self._stored)

    def _fresh(self, name: str) -> str:
        """Return a value name not used so far, the given one where possible."""
        count = self._taken.get(name, 0)
        self._taken[name] = count + 1
        if not count:
            return name
        # Inlined functions repeat their inner names; counting keeps this linear in the number of calls.
        return self._fresh(f"{name}#{count}")

    def _graph(
        self,
        proto: GraphProto,
        outer: MutableMapping[str, str],
        opsets: dict[str, int],
        bindings: dict[str, AttributeProto],
        depth: int,
    ) -> Graph:
        limits.check_depth(depth)
        scope: MutableMapping[str, str] = ChainMap({}, outer)
        if proto.sparse_initializer:
            raise ModelError("Sparse initializers are not supported; store the weights densely.")
        for tensor in proto.initializer:
            scope[tensor.name] = self._fresh(tensor.name)
            self._constant(scope[tensor.name], tensor)
        initialised = {tensor.name for tensor in proto.initializer}
        formal = [value for value in proto.input if value.name not in initialised]
        for value in formal:
            scope[value.name] = self._fresh(value.name)
        shapes = [_shape(value.type) for value in formal]
        for value, shape in zip(formal, shapes, strict=True):
            limits.check_elements([size or 1 for size in shape or ()], f"Input {value.name}")
        nodes: list[Node] = []
        self._emit(sort_nodes(proto.node), scope, opsets, bindings, depth, nodes)
        missing = [value.name for value in proto.output if value.name not in scope]
        if missing:
            raise ModelError(f"Graph output {missing[0]} is produced by no node.")
        return Graph(
            inputs=[scope[value.name] for value in formal],
            input_types=[element_type(value.type) for value in formal],
            input_shapes=shapes,
            nodes=nodes,
            outputs=[scope[value.name] for value in proto.output],
            names=scope,
        )

    def _emit(
        self,
        protos: Sequence[NodeProto],
        scope: MutableMapping[str, str],
        opsets: dict[str, int],
        bindings: dict[str, AttributeProto],
        depth: int,
        nodes: list[Node],
    ) -> None:
        """Append the nodes' executable form to ``nodes``, calls of local functions replaced by their bodies."""
        for proto in protos:
            self._nodes += 1
            if self._nodes > limits.MAX_NODES:
                raise ModelError(f"The graph has more than {limits.MAX_NODES} nodes once its functions are inlined.")
            domain = _domain(proto.domain)
            stated = [item.name for item in proto.attribute]
            if len(set(stated)) < len(stated):
                raise ModelError(f"The node {proto.op_type} ({proto.name}) states an attribute twice.")
            attributes = [bound for item in proto.attribute if (bound := _bind(item, bindings)) is not None]
            inputs = [self._resolve(name, scope, proto) for name in proto.input]
            function = self._functions.get((domain, proto.op_type, proto.overload))
            if function is not None:
                self._inline(function, proto, inputs, attributes, scope, depth, nodes)
                continue
            outputs = [self._fresh(name) if name else "" for name in proto.output]
            if proto.op_type == "Constant" and domain == "":
                self._constant_node(outputs[0], attributes)
            else:
                if domain not in opsets:
                    raise ModelError(f"The model uses {domain or 'ai.onnx'}:{proto.op_type} but imports no such opset.")
                node = Node(proto.op_type, domain, opsets[domain], proto.name, {}, inputs, outputs)
                self._attributes(node, attributes, scope, opsets, bindings, depth)
                nodes.append(node)
            for name, value in zip(proto.output, outputs, strict=True):
                if name:
                    scope[name] = value

    def _resolve(self, name: str, scope: MutableMapping[str, str], proto: NodeProto) -> str:
        if name and name not in scope:
            raise ModelError(f"Node {proto.name or proto.op_type} reads {name}, which nothing produces.")
        return scope[name] if name else ""

    def _inline(
        self,
        function: FunctionProto,
        call: NodeProto,
        inputs: list[str],
        attributes: list[AttributeProto],
        scope: MutableMapping[str, str],
        depth: int,
        nodes: list[Node],
    ) -> None:
        """Append a function's body; its outputs become the call's."""
        limits.check_depth(depth + 1)
        bindings = {item.name: item for item in function.attribute_proto}
        bindings |= {item.name: item for item in attributes}
        inner: MutableMapping[str, str] = {}
        for index, name in enumerate(function.input):
            inner[name] = inputs[index] if index < len(inputs) else ""
        opsets = {_domain(entry.domain): entry.version for entry in function.opset_import}
        self._emit(sort_nodes(function.node), inner, opsets, bindings, depth + 1, nodes)
        for name, formal in zip(call.output, function.output, strict=False):
            if formal not in inner:
                raise ModelError(f"Function {function.name} does not produce its output {formal}.")
            if name:
                scope[name] = inner[formal]

    def _attributes(
        self,
        node: Node,
        attributes: list[AttributeProto],
        scope: MutableMapping[str, str],
        opsets: dict[str, int],
        bindings: dict[str, AttributeProto],
        depth: int,
    ) -> None:
        for item in attributes:
            if item.type == AttributeProto.GRAPH:
                node.bodies[item.name] = self._graph(item.g, scope, opsets, bindings, depth + 1)
            elif item.type == AttributeProto.TENSOR:
                node.attributes[item.name] = self._tensor(item.t)
                node.attributes[item.name + ".type"] = item.t.data_type
            elif item.type == AttributeProto.STRING:
                node.attributes[item.name] = item.s.decode("utf-8", "replace")
            elif item.type == AttributeProto.STRINGS:
                node.attributes[item.name] = [text.decode("utf-8", "replace") for text in item.strings]
            elif item.type == AttributeProto.TYPE_PROTO:
                node.attributes[item.name] = element_type(item.tp)
            else:
                value = onnx.helper.get_attribute_value(item)
                node.attributes[item.name] = list(value) if item.type in _LISTS else value

    def _tensor(self, proto: TensorProto) -> Tensor:
        """Read a tensor into its carrier, external data included, within the limits."""
        limits.check_elements(proto.dims, f"Constant {proto.name}")
        if proto.data_location == TensorProto.EXTERNAL:
            if self._base is None:
                raise ModelError(
                    "The weights lie in another file that was not loaded.",
                    hint="Pass the path of the .onnx file, or load it with onnx.load.",
                )
            copy = TensorProto()
            copy.CopyFrom(proto)
            proto = copy
        try:
            array: np.ndarray[Any, Any] | None = _floats_of(proto, self._base, self._mapped)
            if array is None:
                array = numpy_helper.to_array(proto, str(self._base or ""))
        except Exception as error:  # onnx raises whatever numpy or the file system does
            raise ModelError(f"Constant {proto.name or '(unnamed)'} cannot be read: {error}") from error
        self._stored.add(proto.data_type)
        tensor = carriers.from_numpy(array, proto.data_type)
        self._bytes += tensor.numel() * tensor.element_size()
        if self._bytes > limits.MAX_CONSTANT_BYTES:
            raise ModelError(f"The weights take more than {limits.MAX_CONSTANT_BYTES >> 30} GiB.")
        return tensor

    def _constant(self, value: str, proto: TensorProto) -> None:
        self._types[value] = proto.data_type
        # Types without a carrier (text) stay out: whoever reads them is then listed as unsupported.
        if proto.data_type in carriers.CARRIERS:
            self._constants[value] = self._tensor(proto)

    def _constant_node(self, value: str, attributes: list[AttributeProto]) -> None:
        """Read a Constant node, whatever form its value has."""
        item = next((a for a in attributes if a.name.startswith(("value", "sparse_value"))), None)
        if item is None or item.name not in _CONSTANTS:
            raise ModelError("A Constant node has no value that can be read.")
        if item.name == "value":
            self._constant(value, item.t)
            return
        element = _CONSTANTS[item.name]
        self._types[value] = element
        if element in carriers.CARRIERS:
            array = np.array(onnx.helper.get_attribute_value(item))
            self._constants[value] = carriers.from_numpy(array, element)


_LISTS = (AttributeProto.INTS, AttributeProto.FLOATS)
_CONSTANTS = {
    "value": TensorProto.UNDEFINED,
    "value_float": TensorProto.FLOAT,
    "value_floats": TensorProto.FLOAT,
    "value_int": TensorProto.INT64,
    "value_ints": TensorProto.INT64,
    "value_string": TensorProto.STRING,
    "value_strings": TensorProto.STRING,
}


def _floats_of(proto: TensorProto, base: Path | None, mapped: bool) -> np.ndarray[Any, Any] | None:
    """Float32 weights from the file that holds them, read once, or mapped where they begin a page; onnx makes four
    copies. None for all others."""
    if base is None or proto.data_location != TensorProto.EXTERNAL or proto.data_type != TensorProto.FLOAT:
        return None
    said = {item.key: item.value for item in proto.external_data}
    count, offset = math.prod(proto.dims), int(said.get("offset", 0))
    if int(said.get("length", -1)) != 4 * count:
        return None
    with open_plain(base / said["location"]) as file:
        if mapped and count and offset % mmap.ALLOCATIONGRANULARITY == 0:
            # Of its own pages: what is written to them stays out of the file.
            return np.asarray(np.memmap(file, "<f4", "c", offset, tuple(proto.dims)))
        file.seek(offset)
        return np.fromfile(file, "<f4", count).reshape(proto.dims)


def _domain(name: str) -> str:
    return ALIASES.get(name, name)


def _bind(item: AttributeProto, bindings: dict[str, AttributeProto]) -> AttributeProto | None:
    """Replace a reference to a function's attribute by the caller's value; None where the caller states none."""
    if not item.ref_attr_name:
        return item
    bound = bindings.get(item.ref_attr_name)
    if bound is None:
        return None
    named = AttributeProto()
    named.CopyFrom(bound)
    named.name = item.name
    return named


def element_type(proto: onnx.TypeProto) -> int:
    """Return the element type of a tensor, or of the tensors in a sequence or optional; 0 where undeclared."""
    kind = proto.WhichOneof("value")
    if kind == "tensor_type":
        return int(proto.tensor_type.elem_type)
    if kind in ("sequence_type", "optional_type"):
        return element_type(getattr(proto, kind).elem_type)
    return 0


def _shape(proto: onnx.TypeProto) -> tuple[int | None, ...] | None:
    if proto.WhichOneof("value") != "tensor_type" or not proto.tensor_type.HasField("shape"):
        return None
    # Exporters declare a free axis as -1 or 0 as well.
    return tuple(d.dim_value if d.dim_value > 0 else None for d in proto.tensor_type.shape.dim)
