"""Which tensor holds the logits: what stands between it and the graph's outputs is peeled off."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from singaudit.classifier.graph.lookup import GraphIndex
from singaudit.classifier.interface import Activation
from singaudit.errors import ModelError

_PASSABLE = frozenset(
    {
        "Identity",
        "Cast",
        "Squeeze",
        "Unsqueeze",
        "Reshape",
        "Flatten",
        "Dropout",
        "Clip",
        "Log",
        "QuantizeLinear",
        "DequantizeLinear",
    }
)
_ACTIVATIONS: dict[str, Activation] = {
    "Softmax": "softmax",
    "LogSoftmax": "softmax",
    "Sigmoid": "sigmoid",
    "QLinearSoftmax": "softmax",
    "QLinearSigmoid": "sigmoid",
}
_LABELS = frozenset(
    {"ArgMax", "ArgMin", "TopK", "Hardmax", "NonMaxSuppression", "LabelEncoder", "ArrayFeatureExtractor", "Binarizer"}
)


@dataclass(frozen=True)
class Peeled:
    """A graph output and the tensor found beneath its final non-linearities."""

    output: str
    """Name of the graph output."""
    tensor: str
    """Name of the tensor that may hold the logits."""
    activation: Activation | None
    """What the graph applies to it; None when nothing."""
    label_only: bool
    """Whether the output holds class indices, not scores."""


def peel(graph: GraphIndex, output: str) -> Peeled:
    """What lies beneath an output's Softmax, LogSoftmax, Sigmoid, Clip, Log, Cast, Squeeze, Identity, ArgMax."""
    tensor, activation, label_only = output, None, False
    name = output
    while (node := graph.producers.get(name)) is not None:
        if node.op_type in _ACTIVATIONS:
            activation = activation or _ACTIVATIONS[node.op_type]
            tensor = name = node.input[0]
        elif node.op_type in _LABELS:
            # Texts are picked by position: the position is what depends on the image.
            name = (graph.data_inputs(node) or [node.input[0]])[0]
            label_only, tensor = True, name
        elif node.op_type == "ZipMap":  # scores by class name: what it zips are scores
            tensor = name = node.input[0]
        elif node.op_type == "Gather" and label_gather(graph, node):
            label_only, name = True, node.input[1]
            tensor = name
        elif (inner := _decomposed_softmax(graph, name)) is not None:
            activation = activation or "softmax"
            tensor = name = inner
        elif node.op_type in _PASSABLE or _divided_by_its_sum(graph, node):
            name = node.input[0]
        elif node.op_type in ("Add", "Max") and activation is None and len(graph.data_inputs(node)) == 1:
            name = graph.data_inputs(node)[0]  # the small number added before a logarithm
        else:
            break
    return Peeled(output, tensor, activation, label_only)


def _divided_by_its_sum(graph: GraphIndex, node: Any) -> bool:
    """Whether scores are divided by the sum of their sizes here, which orders no two classes anew."""
    below = graph.producers.get(node.input[1]) if node.op_type == "Div" else None
    return below is not None and below.op_type == "ReduceL1" and below.input[0] == node.input[0]


def label_gather(graph: GraphIndex, node: Any) -> bool:
    """Whether a Gather picks class names, or other constants, by a position that depends on the image."""
    return graph.kind(node.input[0]) == "const" and graph.kind(node.input[1]) == "data"


def _decomposed_softmax(graph: GraphIndex, name: str) -> str | None:
    """The tensor whose exponentials are divided by their sum here, or None."""
    node = graph.producers.get(name)
    if node is None or node.op_type != "Div":
        return None
    top, bottom = graph.producers.get(node.input[0]), graph.producers.get(node.input[1])
    if top is None or bottom is None or top.op_type != "Exp" or bottom.op_type != "ReduceSum":
        return None
    if bottom.input[0] != node.input[0]:
        return None
    shifted = graph.producers.get(top.input[0])
    if shifted is not None and shifted.op_type == "Sub":
        peak = graph.producers.get(shifted.input[1])
        if peak is not None and peak.op_type == "ReduceMax" and peak.input[0] == shifted.input[0]:
            return shifted.input[0]
    return top.input[0]


def candidates(graph: GraphIndex, named: str | None) -> list[Peeled]:
    """The outputs that may hold logits, peeled; with ``named``, that output or inner tensor alone.

    A named output is peeled too: naming the probabilities names the logits beneath them. ModelError for a name
    that the graph does not have, and for graphs whose outputs hold labels alone.
    """
    if named is not None:
        check_name(graph, named, "--logits")
        return [peel(graph, named)]
    found = [peel(graph, name) for name in graph.outputs]
    scores = [item for item in found if not item.label_only]
    if not scores:
        inner = sorted({item.tensor for item in found})
        raise ModelError(
            f"the model's outputs ({', '.join(graph.outputs)}) hold class labels only; expected scores per class",
            hint=f"Export it with its logits as an output, or name them: --logits {inner[0]}" if inner else "",
        )
    return scores


def check_name(graph: GraphIndex, name: str, option: str) -> None:
    """ModelError unless the graph computes a tensor of that name from its input."""
    if graph.kind(name) == "data" and name in graph.producers:
        return
    known = [item for item in graph.producers if graph.kind(item) == "data"]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    raise ModelError(
        f"{option} {name}: the model computes no tensor of that name from its input",
        hint=f"Near it: {', '.join(near)}" if near else f"Its outputs: {', '.join(graph.outputs)}",
    )


def sole(graph: GraphIndex, found: Iterable[Peeled]) -> Peeled:
    """The one logits tensor among those for which a head was found.

    Outputs that resolve to the same tensor count once, and a tensor that another is computed from (features
    beside logits) does not count. ModelError naming the rest when several remain.
    """
    by_tensor: dict[str, Peeled] = {}
    for item in found:
        kept = by_tensor.get(item.tensor)
        if kept is None or (kept.activation is None and item.activation is not None):
            by_tensor[item.tensor] = item
    above = {name: graph.ancestors([name]) - {name} for name in by_tensor}
    final = [
        item
        for name, item in by_tensor.items()
        if not any(name in above[other] for other in by_tensor if other != name)
    ]
    if len(final) != 1:
        names = ", ".join(item.output for item in final)
        raise ModelError(
            f"the model has {len(final)} outputs that could be the logits: {names}",
            hint=f"Name one: --logits {final[0].output}",
        )
    return final[0]


def is_unit_norm(graph: GraphIndex, name: str) -> bool:
    """Whether the tensor is another one divided by its own Euclidean norm (cosine heads)."""
    node = graph.producers.get(name)
    if node is None:
        return False
    if node.op_type == "LpNormalization":
        return True
    if node.op_type != "Div":
        return False
    norms = {"ReduceL2", "ReduceSumSquare", "Sqrt"}
    stack, normed = [node.input[1]], False
    for _ in range(12):  # Clip or Add, Sqrt, ReduceSum, Mul or Pow, and casts between; a norm takes no more
        if not stack:
            break
        maker = graph.producers.get(stack.pop())
        if maker is None:
            continue
        normed |= maker.op_type in norms
        if normed and node.input[0] in maker.input:
            return True
        stack += graph.data_inputs(maker)
    return False


def finite(name: str, array: np.ndarray) -> None:
    """ModelError naming the tensor unless all its numbers are finite."""
    bad = int(array.size - np.isfinite(array).sum())
    if bad:
        raise ModelError(
            f"the weight {name!r} holds {bad} numbers that are NaN or infinite; expected finite numbers",
            hint="Export the classifier again from a healthy checkpoint",
        )
