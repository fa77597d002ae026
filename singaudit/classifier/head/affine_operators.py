"""The operators that may stand around a head, each as what it does to an affine function of the features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from singaudit.classifier.graph.lookup import attributes
from singaudit.classifier.head.affine import (
    Affine,
    HeadStep,
    Scale,
    add,
    add_constant,
    mapped,
    quantised,
    scaled,
    shifted,
)
from singaudit.classifier.head.affine_moves import MOVES
from singaudit.classifier.head.linear_form import NotLinear


def _identity(step: HeadStep) -> Affine:
    return step.affine()


def _sum(step: HeadStep) -> Affine:
    values = [value for value in step.inputs if value is not None]
    operator = step.node.op_type
    total: Affine | None = None
    offset: Any = 0.0
    for index, value in enumerate(values):
        sign = -1.0 if operator == "Sub" and index == 1 else 1.0
        if isinstance(value, Scale):
            raise NotLinear(f"{step.graph.label(step.node)} adds a dynamic scale")
        if not isinstance(value, Affine):
            offset = offset + sign * np.asarray(value, dtype=np.float64)
        elif total is None:
            total = value if sign > 0 else scaled(value, np.asarray(-1.0))
        else:
            total = add(total, value, sign)
    if total is None:
        raise NotLinear(f"{step.graph.label(step.node)} does not depend on the features")
    if np.any(offset):
        if total.pending:
            raise NotLinear("a bias is added before a dynamically quantised product is scaled")
        total = add_constant(total, np.asarray(offset, dtype=np.float64))
    return scaled(total, np.asarray(1 / len(values))) if operator == "Mean" else total


def _multiply(step: HeadStep) -> Affine | Scale:
    left, right = step.inputs[0], step.inputs[1]
    divide = step.node.op_type == "Div"
    if divide and not isinstance(right, np.ndarray):
        raise NotLinear(f"{step.graph.label(step.node)} divides by a number that depends on the image")
    if not isinstance(left, Affine | Scale):
        left, right = right, left
    if isinstance(right, Affine) and isinstance(left, Scale):
        left, right = right, left
    if isinstance(left, Affine) and isinstance(right, Scale) and left.pending == right.name:
        return replace(scaled(left, right.factor), pending=None)
    if not isinstance(right, np.ndarray):
        raise NotLinear(f"{step.graph.label(step.node)} multiplies two tensors that both depend on the image")
    factor = right.astype(np.float64)
    factor = 1 / factor if divide else factor
    return Scale(left.name, left.factor * factor) if isinstance(left, Scale) else scaled(left, factor)


def _negate(step: HeadStep) -> Affine:
    return scaled(step.affine(), np.asarray(-1.0))


def _batch_norm(step: HeadStep) -> Affine:
    options = attributes(step.node)
    if options.get("training_mode", 0):
        raise NotLinear(f"{step.graph.label(step.node)} normalises by the batch it sees (training mode)")
    value = step.affine()
    gain, shift, mean, variance = (np.asarray(item, dtype=np.float64) for item in step.inputs[1:5])
    factor = gain / np.sqrt(variance + options.get("epsilon", 1e-5))
    shape = (-1, *([1] * (value.constant.ndim - 2)))
    return add_constant(scaled(value, factor.reshape(shape)), (shift - mean * factor).reshape(shape))


def _reduced_axes(step: HeadStep, rank: int) -> tuple[int, ...]:
    if step.node.op_type.startswith("Reduce"):
        given = attributes(step.node).get("axes")
        if given is None and len(step.inputs) > 1 and step.inputs[1] is not None:
            given = np.asarray(step.inputs[1]).reshape(-1)
        if given is not None and len(given):
            return tuple(int(axis) % rank for axis in given)
        return () if attributes(step.node).get("noop_with_empty_axes") else tuple(range(rank))
    return tuple(range(2, rank))


def _mean(step: HeadStep) -> Affine:
    value = step.affine()
    rank = value.constant.ndim
    axes = _reduced_axes(step, rank)
    options = attributes(step.node)
    if step.node.op_type == "AveragePool" and (
        any(side != 1 for side in step.out_shape[2:])
        or any(options.get("pads", ()))
        or tuple(options.get("kernel_shape", ())) != tuple(step.in_shapes[0][2:])
    ):
        raise NotLinear(f"{step.graph.label(step.node)} averages over windows, not over the whole map")
    keep = bool(options.get("keepdims", 1))
    factor = 1.0
    if step.node.op_type == "ReduceSum":
        factor = float(np.prod([step.in_shapes[0][axis] for axis in axes]))
    return mapped(value, lambda x: factor * x.mean(axis=tuple(axis + 1 for axis in axes), keepdims=keep))


def _quantise(step: HeadStep) -> Affine:
    scale, zero = step.inputs[1], step.inputs[2] if len(step.inputs) > 2 else None
    if not isinstance(scale, np.ndarray) or scale.size != 1:
        raise NotLinear(f"{step.graph.label(step.node)} quantises per channel or by a scale that depends on the image")
    info = np.iinfo(np.uint8 if zero is None else np.asarray(zero).dtype)
    offset = 0.0 if zero is None else float(np.asarray(zero).reshape(()))
    return quantised(step.affine(), float(scale.reshape(())), offset, (float(info.min), float(info.max)))


def _dequantise(step: HeadStep) -> Affine:
    scale, zero = step.inputs[1], step.inputs[2] if len(step.inputs) > 2 else None
    if not isinstance(scale, np.ndarray) or scale.size != 1:
        raise NotLinear(f"{step.graph.label(step.node)} dequantises per channel or by a scale of the image")
    offset = 0.0 if zero is None else float(np.asarray(zero).reshape(()))
    return scaled(shifted(step.affine(), -offset), np.asarray(float(scale.reshape(()))))


def _quantised_sum(step: HeadStep) -> Affine:
    terms = []
    for index in (0, 3):
        value, scale, zero = step.inputs[index : index + 3]
        offset = 0.0 if zero is None else float(np.asarray(zero).reshape(()))
        factor = np.asarray(float(np.asarray(scale).reshape(())))
        if isinstance(value, Affine):
            terms.append(scaled(shifted(value, -offset), factor))
        else:
            terms.append(Affine({}, (np.asarray(value, dtype=np.float64) - offset) * factor))
    scale, zero = step.inputs[6], step.inputs[7] if len(step.inputs) > 7 else None
    info = np.iinfo(np.uint8 if zero is None else np.asarray(zero).dtype)
    offset = 0.0 if zero is None else float(np.asarray(zero).reshape(()))
    total = add(terms[0], terms[1])
    return quantised(total, float(np.asarray(scale).reshape(())), offset, (float(info.min), float(info.max)))


HANDLERS: dict[str, Callable[[HeadStep], Affine | Scale]] = {
    **MOVES,
    **dict.fromkeys(("Identity", "Cast", "Dropout"), _identity),
    **dict.fromkeys(("Add", "Sub", "Sum", "Mean"), _sum),
    **dict.fromkeys(("Mul", "Div"), _multiply),
    **dict.fromkeys(("GlobalAveragePool", "AveragePool", "ReduceMean", "ReduceSum"), _mean),
    "Neg": _negate,
    "BatchNormalization": _batch_norm,
    "QuantizeLinear": _quantise,
    "DequantizeLinear": _dequantise,
    "QLinearAdd": _quantised_sum,
}
"""By operator: the affine tensor after it. Operators outside this table and linear.LINEAR_OPS end a head."""
