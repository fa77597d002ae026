"""An ONNX graph as lookup tables: who makes a tensor, what depends on the image, which values are constant."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from singaudit.errors import ModelError

if TYPE_CHECKING:
    import onnx

Kind = Literal["const", "shape", "data"]
_RANK: dict[str, int] = {"const": 0, "shape": 1, "data": 2}
_SHAPE_ONLY = frozenset({"Shape", "Size"})


class GraphIndex:
    """Read-only tables over a ModelProto whose local functions are already inlined.

    Nodes may stand in any order (ONNX Runtime's fp16 converter writes unsorted graphs); a cycle raises ModelError.
    """

    def __init__(self, model: onnx.ModelProto, folder: Path | None = None) -> None:
        self.model = model
        self.folder = folder
        graph = model.graph
        self.initializers: dict[str, onnx.TensorProto] = {item.name: item for item in graph.initializer}
        self.producers: dict[str, onnx.NodeProto] = {name: node for node in graph.node for name in node.output if name}
        self.inputs = [item for item in graph.input if item.name not in self.initializers]
        self.outputs = [item.name for item in graph.output]
        self.opset = max((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), default=1)
        self.order = self._sorted()
        self.positions = {id(node): index for index, node in enumerate(self.order)}
        self.kinds = self._kinds()

    def _sorted(self) -> list[onnx.NodeProto]:
        nodes = list(self.model.graph.node)
        waiting = [0] * len(nodes)
        users: dict[str, list[int]] = {}
        for index, node in enumerate(nodes):
            for name in set(node_inputs(node)):
                if name in self.producers:
                    waiting[index] += 1
                    users.setdefault(name, []).append(index)
        ready = deque(index for index, count in enumerate(waiting) if count == 0)
        order = []
        while ready:
            node = nodes[ready.popleft()]
            order.append(node)
            for name in node.output:
                for user in users.get(name, ()):
                    waiting[user] -= 1
                    if waiting[user] == 0:
                        ready.append(user)
        if len(order) != len(nodes):
            raise ModelError("the graph's nodes form a cycle; expected a feed-forward ONNX graph")
        return order

    def _kinds(self) -> dict[str, Kind]:
        kinds: dict[str, Kind] = dict.fromkeys(self.initializers, "const")
        kinds.update({item.name: "data" for item in self.inputs})
        for node in self.order:
            kind = max((kinds.get(name, "const") for name in node_inputs(node)), key=_RANK.__getitem__, default="const")
            if node.op_type in _SHAPE_ONLY and kind == "data":
                kind = "shape"
            kinds.update({name: kind for name in node.output if name})
        return kinds

    def kind(self, name: str) -> Kind:
        """const: the same for every input; shape: depends on the input's shape alone; data: depends on pixels."""
        return self.kinds.get(name, "const")

    def data_inputs(self, node: onnx.NodeProto) -> list[str]:
        """Inputs of a node that depend on pixels, repeated names kept."""
        return [name for name in node.input if name and self.kind(name) == "data"]

    def ancestors(self, names: Iterable[str]) -> set[str]:
        """All tensors that the named ones are computed from, themselves included."""
        seen: set[str] = set()
        stack = list(names)
        while stack:
            name = stack.pop()
            if name in seen:
                continue
            seen.add(name)
            node = self.producers.get(name)
            if node is not None:
                stack.extend(node_inputs(node))
        return seen

    def initializer(self, name: str) -> NDArray[Any]:
        """The array of an initializer or of a Constant node's ``value``, in its stored dtype."""
        from onnx import numpy_helper

        tensor = self.initializers.get(name)
        if tensor is None:
            node = self.producers[name]
            values = attributes(node)
            for key, dtype in (("value_float", np.float32), ("value_floats", np.float32)):
                if key in values:
                    return np.asarray(values[key], dtype=dtype)
            for key in ("value_int", "value_ints"):
                if key in values:
                    return np.asarray(values[key], dtype=np.int64)
            tensor = values["value"]
        return numpy_helper.to_array(tensor, base_dir=str(self.folder or ""))

    def is_stored(self, name: str) -> bool:
        """Whether the tensor's numbers stand in the file itself."""
        node = self.producers.get(name)
        return name in self.initializers or (node is not None and node.op_type == "Constant")

    def label(self, node: onnx.NodeProto) -> str:
        """The node's name, or its operator and first output where it has none."""
        return node.name or f"{node.op_type}->{next(iter(node.output), '')}"


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes as Python values: numbers, bytes decoded to str, lists, tensors."""
    from onnx import helper

    found = {}
    for item in node.attribute:
        value = helper.get_attribute_value(item)
        found[item.name] = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return found


def node_inputs(node: onnx.NodeProto) -> Iterator[str]:
    """Names a node reads, those that its If, Loop and Scan bodies take from outside included."""
    yield from (name for name in node.input if name)
    for body in subgraphs(node):
        made = {item.name for item in body.input} | {item.name for item in body.initializer}
        made.update(name for inner in body.node for name in inner.output)
        for inner in body.node:
            yield from (name for name in node_inputs(inner) if name not in made)
        yield from (item.name for item in body.output if item.name not in made)


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs a node holds in its attributes."""
    for item in node.attribute:
        if item.HasField("g"):
            yield item.g
        yield from item.graphs


def shape_of(value: onnx.ValueInfoProto) -> list[int | None]:
    """A graph input's axes; None where one is free. ModelError for anything but a tensor with a known rank."""
    kind = value.type
    if not kind.HasField("tensor_type") or not kind.tensor_type.HasField("shape"):
        raise ModelError(
            f"expected the input {value.name!r} to be a tensor with 4 axes; it states no shape",
            hint="Export the classifier with a batch of images as its only input",
        )
    return [axis.dim_value if axis.dim_value > 0 else None for axis in kind.tensor_type.shape.dim]


def free_empty_axes(model: onnx.ModelProto) -> bool:
    """Leave open the axes of the graph's inputs that are declared as 0 or less, in place; whether there were any.

    Exporters write a free batch so (-1 Paddle's, 0 older converters); ONNX Runtime takes 0 for a batch without images.
    """
    found = False
    for item in model.graph.input:
        for axis in item.type.tensor_type.shape.dim:
            if axis.HasField("dim_value") and axis.dim_value <= 0:
                axis.ClearField("dim_value")
                found = True
    return found


def opset_imports(model: onnx.ModelProto) -> Mapping[str, int]:
    """Operator set versions by domain; the default domain is the empty string."""
    return {"" if item.domain == "ai.onnx" else item.domain: item.version for item in model.opset_import}
