"""The head found by structure is proved by numbers: W f + b must equal the logits the file itself computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from singaudit.classifier.graph.lookup import GraphIndex
from singaudit.classifier.head.affine import Affine
from singaudit.classifier.head.describe import kind, storage
from singaudit.classifier.head.linear_form import Array, NotLinear
from singaudit.classifier.head.logits import candidates, finite, sole
from singaudit.classifier.head.plan import HeadPlan, Trace
from singaudit.classifier.head.read import read_head, weight_and_bias
from singaudit.classifier.head.search import plan_head
from singaudit.classifier.interface import Activation, Head, StoredDtype
from singaudit.errors import ModelError


class Runnable(Protocol):
    """An opened classifier whose head is not proved yet."""

    def logits_of(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits (n, c) by the classifier's own head arithmetic."""
        ...

    def representable(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """The features (n, m) as the head's inputs can hold them."""
        ...


_TOLERANCE: dict[StoredDtype, float] = {
    "float64": 1e-5,
    "float32": 1e-5,
    "float16": 2e-2,
    "bfloat16": 5e-2,
    "int8": 1e-3,
    "int4": 1e-3,
    "int2": 1e-3,
}
"""Of the largest logit. Float arithmetic over thousands of terms loses some 1e-6; half precision has 11 bits
(bfloat16 8); integer products are exact, so that beyond the grids' own rounding (added apart) little may remain."""
PROOF_IMAGES = 2
"""Random images that a head is proved on, of the seed that is their number: as many as a piece of a batch holds."""


@dataclass(frozen=True)
class Checked:
    """The outcome of one comparison."""

    error: float
    """Largest difference over the logits' largest magnitude."""
    seen: NDArray[np.bool_]
    """(c,): logits that were compared at least once."""


@dataclass(frozen=True)
class FoundHead:
    """A head read from the graph, not yet proved."""

    plan: HeadPlan
    affine: Affine
    weight: Array
    bias: Array
    stored_dtype: StoredDtype
    step: Array | None
    kind: str
    nodes: tuple[str, ...]
    activation: Activation | None
    half: bool
    """Whether the head computes in half precision."""

    def proved(
        self,
        classifier: Runnable,
        rows: tuple[NDArray[np.float32], NDArray[np.float32]],
        activation: Activation,
        stated: bool,
    ) -> Head:
        """The head, once W f + b equals the classifier's logits on images and on random features; else ModelError.

        ``rows``: its features (n, m) and logits (n, c) of random images.
        """
        features, logits = rows
        finite(self.plan.leaves[0].tensor, features)
        finite(self.plan.logits, logits)
        if features.shape[1] != self.weight.shape[1] or logits.shape[1] != self.weight.shape[0]:
            raise _unproved(
                f"the head reads as {self.weight.shape[0]} x {self.weight.shape[1]}, "
                f"but the model gives {logits.shape[1]} logits and {features.shape[1]} features"
            )
        errors = [self._check(features, logits, "the features of random images")]
        for share in (1.0, 0.25, 0.05) if self.affine.saturations else (1.0,):
            drawn = classifier.representable(share * self._drawn(features))
            errors.append(self._check(drawn, classifier.logits_of(drawn), "random features"))
        error = self._worst(errors)
        return Head(
            weight=self.weight,
            bias=self.bias,
            stored_dtype=self.stored_dtype,
            quantisation_step=self.step,
            kind=self.kind,
            nodes=self.nodes,
            features=self.plan.leaves[0].tensor,
            logits=self.plan.logits,
            max_error=error,
            activation=activation,
            activation_stated=stated,
        )

    def _drawn(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(5, m) random features, spread as the given ones are; of unit size where those are nearly zero."""
        largest = float(np.abs(features).max(initial=0.0))
        spread = np.maximum(features.std(axis=0), 0.1 * largest) if largest > 1e-3 else np.float32(1.0)
        drawn = np.random.default_rng(3).standard_normal((5, features.shape[1]))
        return (features.mean(axis=0) + spread * drawn).astype(np.float32)

    def _saturated(self, features: NDArray[np.float64]) -> NDArray[np.bool_]:
        """(n, c): where a quantised tensor on the way leaves its range, so that W f + b does not hold."""
        mask = np.zeros((len(features), len(self.weight)), dtype=bool)
        starts = np.cumsum([0, *(leaf.size for leaf in self.plan.leaves)])
        for cut in self.affine.saturations:
            stored = np.zeros((len(features), cut.constant.size)) + cut.constant.reshape(1, -1)
            for key, part in cut.parts.items():
                stored += features[:, starts[key] : starts[key + 1]] @ part.reshape(len(part), -1)
            outside = (stored < cut.low) | (stored > cut.high)
            mask |= outside if outside.shape == mask.shape else outside.any(axis=1, keepdims=True)
        return mask

    def _check(self, features: NDArray[np.float32], logits: NDArray[np.float32], where: str) -> Checked:
        """Differences and where they count; ModelError above the tolerance."""
        exact = features.astype(np.float64)
        predicted = exact @ self.weight.T + self.bias
        counted = ~self._saturated(exact)
        largest = max(float(np.abs(logits).max(initial=0.0)), float(np.finfo(np.float32).tiny))
        gain = float(np.abs(self.weight).sum(axis=1).max(initial=0.0))
        dtype: StoredDtype = "float16" if self.half else self.stored_dtype
        # Beside the relative part: two roundings of each quantised grid, and the smallest steps of half precision.
        allowed = _TOLERANCE[dtype] * largest + 2 * self.affine.noise + (6e-8 * (1 + gain) if self.half else 0.0)
        if any(linear.input_rounding for linear in self.plan.linears.values()):
            # Dynamic quantisation rounds each feature to 1/255 of the range that includes zero.
            width = np.maximum(features.max(axis=1), 0) - np.minimum(features.min(axis=1), 0)
            allowed += float(width.max()) / 255 / 2 * gain
        difference = float(np.abs(predicted - logits).max(initial=0.0, where=counted))
        if not difference <= allowed:
            raise _unproved(
                f"on {where}, W f + b of the {self.kind} head differs from the logits by {difference:.3g}, "
                f"allowed were {allowed:.3g}"
            )
        return Checked(difference / largest, np.asarray(counted.any(axis=0)))

    def _worst(self, checks: list[Checked]) -> float:
        """The largest relative error; ModelError when the quantised grids cut off most logits in every sample."""
        seen = np.any([check.seen for check in checks], axis=0)
        if 2 * int(seen.sum()) < len(seen):
            raise _unproved(f"its quantised grids cut off {int((~seen).sum())} of {len(seen)} logits in every sample")
        return max(check.error for check in checks)


def _unproved(reason: str) -> ModelError:
    return ModelError(
        f"the model's final linear layer could not be proved: {reason}",
        hint="Name the tensors: --logits NAME --features NAME",
    )


def find_head(
    graph: GraphIndex, trace: Trace, logits: str | None, features: str | None, collapse: bool = True
) -> FoundHead:
    """The head by structure; ModelError with the reason and what to do where there is none, or several."""
    found, reasons = {}, []
    items = candidates(graph, logits)
    for item in items:
        shape = trace.shapes.get(item.tensor)
        try:
            if shape is None:
                raise NotLinear(f"the output {item.output!r} does not depend on the image")
            if sum(length > 1 for length in shape) > 1:
                raise NotLinear(f"the output {item.output!r} has shape {shape} per image; expected one logit per class")
            plan = plan_head(graph, trace, item.tensor, features, collapse)
            affine = read_head(graph, trace, plan)
            found[item] = (plan, affine, *weight_and_bias(plan, affine, shape))
        except NotLinear as reason:
            reasons.append(str(reason))
    if not found:
        raise ModelError(
            "no final linear layer was found: " + "; ".join(dict.fromkeys(reasons)),
            hint="If it has one, name its tensors: --logits NAME --features NAME",
        )
    chosen = sole(graph, found)
    plan, affine, weight, bias = found[chosen]
    for leaf_linear in plan.linears.values():
        finite(leaf_linear.weight, leaf_linear.matrix)
    finite(plan.logits, weight)
    finite(plan.logits, bias)
    if not weight.any():
        raise ModelError(
            "the weights of the model's final linear layer are all zero: it says the same of every image",
            hint="Give the trained classifier; a network whose head was set up and never trained looks like this",
        )
    stored, step = storage(graph, plan, weight)
    half = (
        stored == "float16"
        or trace.dtypes[plan.logits] == "float16"
        or any(trace.dtypes[leaf.tensor] == "float16" for leaf in plan.leaves)
    )
    return FoundHead(
        plan,
        affine,
        weight,
        bias,
        stored,
        step,
        kind(graph, plan),
        tuple(graph.label(node) for node in plan.nodes),
        chosen.activation,
        half,
    )
