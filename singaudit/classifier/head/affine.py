"""Affine functions of the features, carried through the operators that stand around a head."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from singaudit.classifier.graph.lookup import GraphIndex
from singaudit.classifier.head.linear_form import Array, Linear, NotLinear

LARGEST = 1 << 28
"""Numbers (2 GiB in float64) that one coefficient array may hold."""


@dataclass(frozen=True)
class Saturation:
    """A quantised tensor on the way to the logits, as an affine function of the features, and its range."""

    parts: Mapping[int, Array]
    """By feature tensor: (m_k, *shape)."""
    constant: Array
    """(*shape)."""
    low: float
    high: float


@dataclass(frozen=True)
class Affine:
    """A tensor as ``sum_k coefficients[k] . f_k + constant``, for one image (batch axis of length 1).

    Axes along which the tensor is the same everywhere (a feature map given by its mean) may have length 1 here
    though they are longer in the graph.
    """

    parts: Mapping[int, Array | None]
    """By feature tensor: (m_k, *shape); None for the identity, before anything was done to it."""
    constant: Array
    """(*shape)."""
    noise: float = 0.0
    """Bound on what rounding to the quantised grids on the way adds, in the tensor's units."""
    saturations: tuple[Saturation, ...] = ()
    """Quantised tensors on the way; where one is outside its range the function does not hold."""
    pending: str | None = None
    """Name of a scale that depends on the image and still has to be multiplied on; None for none."""


@dataclass(frozen=True)
class Scale:
    """A number that depends on the image: ``factor`` times the tensor ``name`` (dynamic quantisation)."""

    name: str
    factor: Array


def materialise(value: Affine) -> Affine:
    """The same with every identity written out."""
    parts = {}
    for key, part in value.parts.items():
        if part is None:
            size = value.constant.size
            if size * size > LARGEST:
                raise NotLinear(f"features of {size} numbers are too many to follow through this head")
            part = np.eye(size).reshape(size, *value.constant.shape)
        parts[key] = part
    return replace(value, parts=parts)


def mapped(value: Affine, function: Callable[[Array], Array], noise: float | None = None) -> Affine:
    """The affine tensor after a linear function of arrays that carry one leading axis more."""
    parts = {key: function(part) for key, part in materialise(value).parts.items() if part is not None}
    for part in parts.values():
        if part.size > LARGEST:
            raise NotLinear("the head's coefficients do not fit in memory")
    return replace(
        value,
        parts=parts,
        constant=function(value.constant[None])[0],
        noise=value.noise if noise is None else noise,
    )


def apply_linear(value: Affine, linear: Linear, out_rank: int) -> Affine:
    """The tensor after one linear operator."""
    if linear.input_scale is not None:
        value = shifted(scaled(value, np.asarray(linear.input_scale)), -linear.input_zero * linear.input_scale)
    m, c = linear.matrix.shape
    rank = value.constant.ndim
    axes = [axis % rank for axis in linear.feature_axes]
    if int(np.prod([value.constant.shape[axis] for axis in axes])) != m:
        raise NotLinear(f"{linear.title} expected {m} features, its input has shape {value.constant.shape}")
    class_axis = linear.class_axis % out_rank

    def product(x: Array) -> Array:
        moved = np.moveaxis(x, [axis + 1 for axis in axes], range(-len(axes), 0))
        rows = moved.reshape(*moved.shape[: moved.ndim - len(axes)], m) @ linear.matrix
        return np.moveaxis(rows, -1, class_axis + 1)

    bound = value.noise * float(np.abs(linear.matrix).sum(axis=0).max(initial=0.0))
    plain = [key for key, part in value.parts.items() if part is None]
    if plain and value.constant.size == m:
        out = product(value.constant[None])[0]
        shape = [1] * out.ndim
        shape[class_axis] = c
        parts: dict[int, Array | None] = {plain[0]: linear.matrix.reshape(m, *shape)}
        value = replace(value, parts=parts, constant=out, noise=bound)
    else:
        value = mapped(value, product, bound)
    if linear.bias is not None:
        value = add_constant(value, linear.bias)
    value = replace(value, pending=linear.dynamic)
    if linear.output_scale is not None:
        value = quantised(value, linear.output_scale, linear.output_zero, linear.output_range)
    return value


def quantised(value: Affine, scale: float, zero: float, bounds: tuple[float, float]) -> Affine:
    """Rounded to the grid: stored = round(value / scale) + zero, cut to ``bounds``."""
    if not 0 < scale < np.inf:
        raise NotLinear(f"a quantised tensor has the scale {scale}; expected a number above zero")
    stored = shifted(scaled(value, np.asarray(1 / scale)), zero)
    parts = {key: part for key, part in stored.parts.items() if part is not None}
    cut = Saturation(parts, stored.constant, *bounds)
    return replace(stored, noise=stored.noise + 0.5, saturations=(*stored.saturations, cut))


def scaled(value: Affine, factor: Array) -> Affine:
    """The tensor times a constant, with broadcasting."""
    noise = value.noise * float(np.abs(factor).max(initial=0.0))
    return mapped(value, lambda x: lift(x, factor.ndim) * factor, noise)


def shifted(value: Affine, offset: float) -> Affine:
    """The tensor plus one number."""
    return replace(value, constant=value.constant + offset)


def lift(x: Array, rank: int) -> Array:
    """Axes of length 1 put after the leading one, until ``rank`` others are there."""
    missing = rank - (x.ndim - 1)
    return x.reshape(x.shape[0], *([1] * missing), *x.shape[1:]) if missing > 0 else x


def add_constant(value: Affine, other: Array) -> Affine:
    """The tensor plus a constant, with broadcasting."""
    constant = value.constant + other
    if constant.shape == value.constant.shape:
        return replace(value, constant=constant)
    parts = {
        key: np.broadcast_to(lift(part, constant.ndim), (part.shape[0], *constant.shape))
        for key, part in materialise(value).parts.items()
        if part is not None
    }
    return replace(value, parts=parts, constant=constant)


def add(first: Affine, second: Affine, sign: float = 1.0) -> Affine:
    """The sum (or, with sign -1, the difference) of two affine tensors."""
    if first.pending or second.pending:
        raise NotLinear("a dynamically quantised product is added before it is scaled")
    first, second = materialise(first), materialise(second)
    constant = first.constant + sign * second.constant
    parts: dict[int, Array] = {}
    for factor, source in ((1.0, first), (sign, second)):
        for key, part in source.parts.items():
            if part is None:
                continue
            wide = np.broadcast_to(lift(part, constant.ndim), (part.shape[0], *constant.shape))
            parts[key] = parts[key] + factor * wide if key in parts else factor * wide
    cuts = (*first.saturations, *second.saturations)
    return Affine(parts, constant, first.noise + second.noise, cuts)


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
