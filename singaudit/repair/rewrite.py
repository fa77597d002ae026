"""A head's new numbers as edits of its file: the tensors that hold it, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from singaudit.classifier.head.linear_form import NotLinear
from singaudit.repair.places import Layer, Offset, Places, Stored

if TYPE_CHECKING:
    import onnx

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Edit:
    """New numbers for one node's constant input."""

    stored: Stored
    """Where they stand."""
    values: Array
    """(size,) in the order of the node's input."""


def edits_of(places: Places, leaves: list[int], weight: Array, bias: Array, old: tuple[Array, Array]) -> list[Edit]:
    """The least change of the stored numbers that turns the head ``old`` into ``weight`` (c, m) and ``bias`` (c,).

    ``leaves`` are the widths of the feature tensors, which together make up the m features. A bias may only differ
    where ``places.free``. NotLinear where the file has no room for these numbers: logits that are copies of one
    another, or do not see all features.
    """
    edits = []
    starts = np.cumsum([0, *leaves])
    for index in range(len(leaves)):
        layers = [layer for layer in places.layers if layer.leaf == index]
        block = slice(starts[index], starts[index + 1])
        parts = _spread([layer.mixing for layer in layers], weight[:, block] - old[0][:, block])
        edits += [_layer_edit(layer, part) for layer, part in zip(layers, parts, strict=True)]
    change = np.where(places.free, bias - old[1], 0.0)
    parts = _spread([offset.mixing for offset in places.offsets], change[:, None])
    edits += [_offset_edit(offset, part[:, 0]) for offset, part in zip(places.offsets, parts, strict=True)]
    return _joined(edits)


def _spread(mixings: list[Array], change: Array) -> list[Array]:
    """Per mixing (c, k_i): (k_i, m) so that the sum of mixing @ part is ``change`` (c, m), least in squared length."""
    if not mixings:
        return []
    gains = np.zeros(len(change))
    for matrix in mixings:
        gains += np.square(matrix).sum(axis=1)
    moved = np.abs(change).max(axis=1, initial=0.0) > 0
    if (moved & (gains == 0)).any():
        raise NotLinear("its logits do not all see the same features, so that the file has no room for a full weight")
    inner = np.divide(change, gains[:, None], out=np.zeros_like(change), where=gains[:, None] > 0)
    parts = [matrix.T @ inner for matrix in mixings]
    reached = sum((matrix @ part for matrix, part in zip(mixings, parts, strict=True)), np.zeros_like(change))
    if np.abs(reached - change).max(initial=0.0) > 1e-9 * max(np.abs(change).max(initial=0.0), 1e-300):
        raise NotLinear("its logits are mixtures or copies of one another, so that the file has no room for new ones")
    return parts


def _layer_edit(layer: Layer, change: Array) -> Edit:
    values = np.empty(layer.entries.size)
    values[layer.entries.reshape(-1)] = ((layer.matrix + change.T) / layer.factor).reshape(-1)
    return Edit(layer.stored, values)


def _offset_edit(offset: Offset, change: Array) -> Edit:
    return Edit(offset.stored, offset.values + change / offset.factor)


def _joined(edits: list[Edit]) -> list[Edit]:
    """One edit a node's input; two that ask for other numbers at one place cannot be."""
    seen: dict[tuple[str, int], Edit] = {}
    for edit in edits:
        key = (edit.stored.node.output[0], edit.stored.place)
        if key in seen and not np.allclose(seen[key].values, edit.values):
            raise NotLinear("one stored number serves as two")
        seen[key] = edit
    return list(seen.values())


def apply_edits(model: onnx.ModelProto, edits: list[Edit]) -> list[dict[str, Any]]:
    """Write the edits into ``model``; what was changed, as plain data.

    A tensor that only the head reads is overwritten where it stands. One that anything else reads as well (a tied
    weight) stays, and the head's node reads a new initializer. NotLinear where a number does not fit its element type.
    """
    return [_overwrite(model, edit) if edit.stored.alone else _untie(model, edit) for edit in edits]


def _overwrite(model: onnx.ModelProto, edit: Edit) -> dict[str, Any]:
    tensor = _tensor(model, edit.stored.name)
    flat = np.empty(edit.values.size)
    flat[edit.stored.order.reshape(-1)] = edit.values
    _fill(tensor, flat)
    return {"tensor": edit.stored.name, "shape": list(tensor.dims), "replaced": True}


def _untie(model: onnx.ModelProto, edit: Edit) -> dict[str, Any]:
    import onnx

    stored = edit.stored
    source = _tensor(model, stored.name)
    taken = {name for node in model.graph.node for name in (*node.input, *node.output)}
    taken |= {item.name for item in model.graph.initializer}
    name = fresh(f"{stored.name}_refit", taken)
    tensor = onnx.TensorProto(name=name, data_type=_read_type(model, stored, source.data_type))
    tensor.dims.extend(stored.order.shape)
    _fill(tensor, edit.values)
    model.graph.initializer.append(tensor)
    if model.ir_version < 4:  # there every initializer is an input as well
        model.graph.input.append(onnx.helper.make_tensor_value_info(name, tensor.data_type, list(tensor.dims)))
    found = [node for node in model.graph.node if list(node.output) == list(stored.node.output)]
    found[0].input[stored.place] = name
    return {"tensor": name, "shape": list(tensor.dims), "replaced": False, "instead_of": stored.name}


def _read_type(model: onnx.ModelProto, stored: Stored, source: int) -> int:
    """Element type of the node's input: the stored one's, or that of the last Cast on the way."""
    makers = {name: node for node in model.graph.node for name in node.output}
    name = stored.node.input[stored.place]
    while name in makers and makers[name].op_type != "Constant":
        if makers[name].op_type == "Cast":
            return next(int(item.i) for item in makers[name].attribute if item.name == "to")
        name = makers[name].input[0]
    return source


def fresh(name: str, taken: set[str]) -> str:
    """The name, with a number where it is taken."""
    number, found = 1, name
    while found in taken:
        number, found = number + 1, f"{name}_{number + 1}"
    return found


def _tensor(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    found = [item for item in model.graph.initializer if item.name == name]
    for node in model.graph.node:
        if node.op_type == "Constant" and name in node.output:
            found += [item.t for item in node.attribute if item.name == "value"]
    if len(found) != 1:
        raise NotLinear(f"{name!r} is not stored as one tensor")
    return found[0]


def _fill(tensor: onnx.TensorProto, values: Array) -> None:
    """Put numbers into a tensor, in its element type, inside the file."""
    from onnx import helper

    dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    with np.errstate(over="ignore"):
        stored = np.asarray(values).astype(dtype)
    if not np.isfinite(stored.astype(np.float64)).all():
        raise NotLinear(f"its new numbers do not fit {dtype}, the element type of {tensor.name!r}")
    for field in ("float_data", "int32_data", "double_data", "int64_data", "uint64_data", "external_data"):
        tensor.ClearField(field)
    tensor.ClearField("data_location")
    tensor.raw_data = stored.tobytes()
