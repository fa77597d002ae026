"""Fuse what exporters take apart: Gelu, Silu, HardSwish, layer normalisation, linear layers, attention.

Each fusion replaces the last node of its pattern; the rest falls away as dead code. A pattern is taken only where its
inner values have no other reader, so that nothing is computed twice.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from singaudit.classifier.shadow.graph import Node
from singaudit.classifier.shadow.operators.fused import DOMAIN


@dataclass
class _View:
    """What the patterns look at: who makes a value, how many read it, and what is known of it."""

    makers: dict[str, Node]
    readers: Counter[str]
    constants: Mapping[str, Tensor]
    scalars: Collection[str]

    def maker(self, value: str, *kinds: str, inner: bool = True) -> Node | None:
        """Return the node that makes a value if it is of one of these kinds and (``inner``) nobody else reads it."""
        node = self.makers.get(value)
        if node is None or node.domain != "" or node.kind not in kinds or (inner and self.readers[value] != 1):
            return None
        return node

    def number(self, value: str) -> float | None:
        """Return a constant of one element as a number."""
        tensor = self.constants.get(value)
        return float(tensor.reshape(())) if tensor is not None and tensor.numel() == 1 else None

    def is_number(self, value: str, wanted: float) -> bool:
        """Whether a value is this constant, within the rounding of half precision."""
        number = self.number(value)
        return number is not None and math.isclose(number, wanted, rel_tol=1e-3)

    def other(self, node: Node, value: str) -> str | None:
        """Return the operand of a binary node that is not ``value``."""
        if len(node.inputs) != 2 or value not in node.inputs:
            return None
        return node.inputs[1] if node.inputs[0] == value else node.inputs[0]

    def scaled(self, node: Node, factor: float) -> str | None:
        """Return x where the node computes factor * x."""
        for x, c in _orders(node):
            if self.is_number(c, factor):
                return x
        return None


def _orders(node: Node) -> Iterator[tuple[str, str]]:
    if len(node.inputs) == 2:
        yield node.inputs[0], node.inputs[1]
        yield node.inputs[1], node.inputs[0]


def _fused(kind: str, node: Node, inputs: list[str], **attributes: float | int) -> Node:
    return Node(kind, DOMAIN, 1, node.name, dict(attributes), inputs, list(node.outputs))


def _one_plus_erf(view: _View, value: str) -> str | None:
    """Return x where the value is 1 + erf(x / sqrt 2)."""
    add = view.maker(value, "Add")
    if add is None:
        return None
    for part, one in _orders(add):
        erf = view.maker(part, "Erf") if view.is_number(one, 1.0) else None
        inner = view.maker(erf.inputs[0], "Div", "Mul") if erf else None
        if inner is None:
            continue
        if inner.kind == "Div":
            return inner.inputs[0] if view.is_number(inner.inputs[1], math.sqrt(2)) else None
        return view.scaled(inner, math.sqrt(0.5))
    return None


def _gelu(view: _View, node: Node) -> Node | None:
    """Match the product of x, 1/2 and 1 + erf(x / sqrt 2), however it is associated."""
    if node.kind != "Mul":
        return None
    for first, second in _orders(node):
        x = _one_plus_erf(view, first)
        if x is not None:
            half = view.maker(second, "Mul")
            if half is not None and view.scaled(half, 0.5) == x:
                return _fused("Gelu", node, [x])
        product = view.maker(first, "Mul")
        if product is None:
            continue
        for part, factor in _orders(product):
            x = _one_plus_erf(view, part)
            if x is not None and (
                (factor == x and view.is_number(second, 0.5)) or (second == x and view.is_number(factor, 0.5))
            ):
                return _fused("Gelu", node, [x])
    return None


def _gated(view: _View, node: Node) -> Node | None:
    """Match x * sigmoid(x) and x * hardsigmoid(x)."""
    if node.kind != "Mul":
        return None
    for x, value in _orders(node):
        gate = view.maker(value, "Sigmoid", "HardSigmoid")
        if gate is None or gate.inputs[0] != x:
            continue
        if gate.kind == "Sigmoid":
            return _fused("Silu", node, [x])
        alpha, beta = gate.attributes.get("alpha", 0.2), gate.attributes.get("beta", 0.5)
        if math.isclose(alpha, 1 / 6, rel_tol=1e-6) and beta == 0.5:
            return _fused("HardSwish", node, [x])
    return None


def _linear(view: _View, node: Node) -> Node | None:
    """Match a product with a constant matrix plus a constant row."""
    if node.kind != "Add":
        return None
    for value, bias in _orders(node):
        product = view.maker(value, "MatMul")
        row = view.constants.get(bias)
        weight = view.constants.get(product.inputs[1]) if product else None
        if product is None or row is None or weight is None or weight.ndim != 2 or not weight.is_floating_point():
            continue
        if row.ndim == 1 and row.shape[0] == weight.shape[1] and row.dtype == weight.dtype:
            return _fused("Linear", node, [*product.inputs, bias])
    return None


def _last_axis_mean(view: _View, value: str, inner: bool = True) -> str | None:
    """Return x where the value is the mean of x over its last axis, kept."""
    node = view.maker(value, "ReduceMean", inner=inner)
    if node is None or node.attributes.get("keepdims", 1) != 1:
        return None
    axes = node.attributes.get("axes")
    if axes is None and len(node.inputs) > 1 and node.inputs[1] in view.constants:
        axes = view.constants[node.inputs[1]].reshape(-1).tolist()
    return node.inputs[0] if axes == [-1] else None


def _square(view: _View, value: str) -> str | None:
    node = view.maker(value, "Pow", "Mul")
    if node is None:
        return None
    if node.kind == "Mul":
        return node.inputs[0] if node.inputs[0] == node.inputs[1] else None
    return node.inputs[0] if view.number(node.inputs[1]) == 2.0 else None


def _layer_norm(view: _View, node: Node) -> Node | None:
    """Match (x - mean) / sqrt(mean((x - mean)^2) + epsilon) over the last axis."""
    if node.kind != "Div":
        return None
    centred, root = (view.makers.get(value) for value in node.inputs)
    if centred is None or root is None or centred.kind != "Sub" or root.kind != "Sqrt":
        return None
    x = centred.inputs[0]
    add = view.maker(root.inputs[0], "Add")
    if _last_axis_mean(view, centred.inputs[1], inner=False) != x or add is None:
        return None
    for variance, epsilon in _orders(add):
        number = view.number(epsilon)
        squared = _last_axis_mean(view, variance)
        base = _square(view, squared) if squared else None
        twin = view.makers.get(base) if base else None
        # Some exporters subtract the mean twice, once for each use.
        same = base == node.inputs[0] or (twin is not None and twin.kind == "Sub" and twin.inputs == centred.inputs)
        if number is not None and same:
            return _fused("LayerNorm", node, [x], axis=-1, epsilon=number)
    return None


def _affine_layer_norm(view: _View, node: Node) -> Node | None:
    """Match a fused layer normalisation times a constant row, and that plus a constant row."""
    if node.kind not in ("Mul", "Add"):
        return None
    for value, row in _orders(node):
        norm = view.makers.get(value)
        constant = view.constants.get(row)
        if norm is None or norm.domain != DOMAIN or norm.kind != "LayerNorm" or view.readers[value] != 1:
            continue
        if constant is None or constant.ndim != 1 or len(norm.inputs) != (1 if node.kind == "Mul" else 2):
            continue
        return _fused("LayerNorm", node, [*norm.inputs, row], **norm.attributes)
    return None


def _scale_of(view: _View, value: str) -> tuple[str, str]:
    """Peel a multiplication by one number: return what is multiplied and the number's value name ("" for none)."""
    node = view.maker(value, "Mul")
    if node is not None:
        for x, factor in _orders(node):
            if factor in view.scalars:
                return x, factor
    return value, ""


def _attention(view: _View, node: Node) -> Node | None:
    """Match softmax(scale q k + masks) v."""
    if node.kind != "MatMul":
        return None
    softmax = view.maker(node.inputs[0], "Softmax")
    if softmax is None or softmax.attributes.get("axis", -1 if softmax.version >= 13 else 1) != -1:
        return None
    value, scale, divides = softmax.inputs[0], "", 0
    masks: list[str] = []
    while len(masks) < 2 and (add := view.maker(value, "Add")) is not None:
        # The scores are the operand that leads to a product; the other one is a mask.
        ways = [(s, m) for s, m in _orders(add) if view.maker(s, "MatMul", "Mul", "Div", "Add") is not None]
        ways = [(s, m) for s, m in ways if _leads_to_scores(view, s)]
        if len(ways) != 1:
            return None
        value, mask = ways[0]
        masks.append(mask)
    factor = view.maker(value, "Mul", "Div")
    if factor is not None:
        ways = [(x, c) for x, c in _orders(factor) if c in view.scalars]
        if factor.kind == "Div":
            ways = [(x, c) for x, c in ways if c == factor.inputs[1]]
        if not ways:
            return None
        (value, scale), divides = ways[0], int(factor.kind == "Div")
    scores = view.maker(value, "MatMul")
    if scores is None:
        return None
    q, q_scale = _scale_of(view, scores.inputs[0])
    k, k_scale = _scale_of(view, scores.inputs[1])
    inputs = [q, k, node.inputs[1], q_scale, k_scale, scale, *masks]
    return _fused("Attention", node, inputs, divides=divides)


def _leads_to_scores(view: _View, value: str) -> bool:
    """Whether a value is a product of two computed matrices, perhaps scaled or with a mask added."""
    for _ in range(4):
        node = view.maker(value, "MatMul", "Mul", "Div", "Add")
        if node is None:
            return False
        if node.kind == "MatMul":
            return not any(name in view.constants for name in node.inputs)
        value = next((x for x in node.inputs if view.maker(x, "MatMul", "Mul", "Div", "Add") is not None), "")
    return False


_PATTERNS: tuple[Callable[[_View, Node], Node | None], ...] = (
    _gelu,
    _gated,
    _linear,
    _layer_norm,
    _affine_layer_norm,
    _attention,
)


def fuse(
    nodes: Sequence[Node], constants: Mapping[str, Tensor], scalars: Collection[str], keep: Collection[str]
) -> list[Node]:
    """Return the nodes with patterns replaced; the leftovers of a pattern stay, for dead code removal.

    constants: values known now; scalars: values known to be one number that depends on no data (constants, or
    computed from shapes); keep: values somebody outside the nodes reads, which therefore must survive.
    """
    readers = Counter(name for node in nodes for name in node.inputs if name)
    readers.update(keep)
    view = _View({name: node for node in nodes for name in node.outputs if name}, readers, constants, scalars)
    result = []
    for node in nodes:
        new = next((found for pattern in _PATTERNS if (found := pattern(view, node)) is not None), node)
        if new is not node:
            for name in new.outputs:
                view.makers[name] = new
        result.append(new)
    return result
