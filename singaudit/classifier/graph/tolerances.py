"""How far apart two computations of the same tensors are, and may be, by the precision of the graph."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singaudit.classifier.interface import Precision

Array = NDArray[Any]

TOLERANCES: dict[Precision, float] = {"fp32": 1e-4, "fp16": 2e-2, "int8": 6e-2}
"""Largest allowed difference, as a share of the output's range.

fp32: ten times what two orders of summation differ by in the deepest models tried; fp16: ONNX Runtime rounds every
value to 11 bits and the copy does not; int8: one quantisation step at several layers.
"""
_QUANTISED = (
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinear", "QGemm", "MatMulInteger", "ConvInteger",
    "DynamicQuantizeMatMul", "MatMulNBits",
)  # fmt: skip
_HALF = frozenset({10, 16})
"""float16 and bfloat16, as ONNX numbers element types."""


def quantises(operators: Iterable[str]) -> bool:
    """Whether operators of these names round to integers on the way."""
    return any(name.startswith(_QUANTISED) for name in operators)


def precision_of(operators: Iterable[str], elements: Iterable[int]) -> Precision:
    """int8 where the graph quantises, fp16 where it stores or takes half floats: by the names of its operators and
    the element types of its constants and inputs, as ONNX numbers them."""
    return "int8" if quantises(operators) else "fp16" if _HALF & set(elements) else "fp32"


def largest_share(values: Sequence[Array], reference: Sequence[Array]) -> float:
    """The largest difference over all tensors, each as a share of its own range in ``reference``."""
    worst = 0.0
    for ours, stored in zip(values, reference, strict=True):
        theirs = stored.astype(np.float64)
        finite = np.isfinite(theirs)
        if ours.shape != theirs.shape or not np.isfinite(ours[finite]).all():
            return float("inf")
        if not finite.any():
            continue
        spread = float(np.ptp(theirs[finite])) or float(np.abs(theirs[finite]).max()) or 1.0
        worst = max(worst, float(np.abs(ours - theirs)[finite].max()) / spread)
    return worst
