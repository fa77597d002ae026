"""Runs the shadow copy on the node tests that the onnx package ships, and names what it cannot run.

``python tests/support/backend_suite.py`` prints the table that ``test_shadow_backend.py`` compares with.
"""

from __future__ import annotations

import functools
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import ModelProto, TensorProto, numpy_helper

from singaudit.classifier.shadow.carriers import CARRIERS, from_numpy
from singaudit.classifier.shadow.module import shadow_copy
from singaudit.classifier.shadow.plan import UnsupportedGraphError
from singaudit.machine import on_device

TABLE = Path(__file__).with_name("shadow_unsupported.toml")

NOT_VISION = frozenset(
    [
        "Adagrad",
        "Adam",
        "Momentum",
        "StringConcat",
        "StringNormalizer",
        "StringSplit",
        "RegexFullMatch",
        "TfIdfVectorizer",
        "LabelEncoder",
        "ArrayFeatureExtractor",
        "Binarizer",
        "TreeEnsemble",
        "GRU",
        "LSTM",
        "RNN",
        "DFT",
        "STFT",
        "MelWeightMatrix",
        "HannWindow",
        "HammingWindow",
        "BlackmanWindow",
        "ImageDecoder",
        "NonMaxSuppression",
        "Bernoulli",
        "NegativeLogLikelihoodLoss",
        "SoftmaxCrossEntropyLoss",
        "SequenceInsert",
        "SequenceMap",
        "SplitToSequence",
        "OptionalGetElement",
        "OptionalHasElement",
        "LinearAttention",
        "CausalConvWithState",
        "FlexAttention",
        "TensorScatter",
        "RotaryEmbedding",
    ]
)
"""Operators of training, text, trees, recurrence, sound, detection, losses, containers and language models."""

# Relative tolerances where the expected values were computed in half precision, in which the copy does not compute:
# twice the format's spacing.
_HALF = {TensorProto.FLOAT16: 2e-3, TensorProto.BFLOAT16: 1.6e-2}


@functools.cache
def cases():
    """Return all generated node test cases."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        return collect_testcases(None)


def is_vision(case) -> bool:
    """Whether a case is about operators of image classifiers; expansions of functions are counted separately."""
    return "_expanded" not in case.name and not any(node.op_type in NOT_VISION for node in case.model.graph.node)


def _proto(value) -> TensorProto:
    return value if isinstance(value, TensorProto) else numpy_helper.from_array(np.asarray(value))


def _tensor(value, device):
    if value is None or isinstance(value, list):
        return value if value is None else [_tensor(item, device) for item in value]
    proto = _proto(value)
    if proto.data_type not in CARRIERS:
        raise UnsupportedGraphError(("type STRING",))
    return from_numpy(numpy_helper.to_array(proto), proto.data_type).to(device)


def bind(model: ModelProto, inputs: list) -> tuple[ModelProto, list]:
    """Turn all tensor inputs but the first into initializers, as weights are in real models."""
    bound = ModelProto()
    bound.CopyFrom(model)
    kept, values = [], []
    for index, (info, value) in enumerate(zip(model.graph.input, inputs, strict=True)):
        if index and info.type.WhichOneof("value") == "tensor_type" and value is not None:
            proto = TensorProto()
            proto.CopyFrom(_proto(value))
            proto.name = info.name
            bound.graph.initializer.append(proto)
        else:
            kept.append(info)
            values.append(value)
    del bound.graph.input[:]
    bound.graph.input.extend(kept)
    return bound, values


def agrees(ours, expected, rtol: float, atol: float) -> bool:
    """Whether a result equals the expected one in shape and, within tolerance, in value."""
    if expected is None or isinstance(expected, list):
        if expected is None or not isinstance(ours, list) or len(ours) != len(expected):
            return ours is None and expected is None
        return all(agrees(a, b, rtol, atol) for a, b in zip(ours, expected, strict=True))
    proto = _proto(expected)
    wanted = from_numpy(numpy_helper.to_array(proto), proto.data_type)
    if not isinstance(ours, torch.Tensor) or ours.shape != wanted.shape:
        return False
    rtol = max(rtol, _HALF.get(proto.data_type, 1e-3))
    return np.allclose(
        ours.detach().to("cpu", torch.float64).numpy(), wanted.to(torch.float64).numpy(), rtol, max(atol, 1e-6), True
    )


def run(case, bound: bool, device: str = "cpu") -> tuple[str, str]:
    """Return "passed", "wrong" or "unsupported", and why; any other failure is an exception."""
    try:
        for inputs, expected in case.data_sets:
            model, values = bind(case.model, inputs) if bound else (case.model, inputs)
            tensors = [_tensor(value, device) for value in values]
            results = on_device(shadow_copy(model), device)(*tensors)
            if not all(agrees(a, b, case.rtol, case.atol) for a, b in zip(results, expected, strict=True)):
                return "wrong", ""
    except UnsupportedGraphError as error:
        return "unsupported", "; ".join(error.problems)
    return "passed", ""


def outcomes(bound: bool, chosen, device: str = "cpu") -> dict[str, dict[str, str]]:
    """Return by outcome the names of the chosen cases and why."""
    found: dict[str, dict[str, str]] = {"passed": {}, "wrong": {}, "unsupported": {}}
    for case in cases():
        if chosen(case):
            outcome, reason = run(case, bound, device)
            found[outcome][case.name] = reason
    return found


def table(results: dict[str, dict[str, str]]) -> str:
    """Return the unsupported and deviating cases as TOML, by reason."""
    reasons = defaultdict(list)
    for name, reason in results["unsupported"].items():
        reasons[reason].append(name)
    lines = ["# Node tests of the onnx package that the shadow copy refuses, by reason; kept true by a test.", ""]
    lines += [f'onnx = "{onnx.__version__}"', "", "[unsupported]"]
    for reason, names in sorted(reasons.items()):
        lines += [f'"{reason}" = [', *(f'  "{name}",' for name in sorted(names)), "]"]
    lines += [
        "",
        "[deviating]",
        "# The runtime floors the output length before it aligns corners; the copy follows it.",
    ]
    lines += [f"{name} = true" for name in sorted(results["wrong"])]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(table(outcomes(False, lambda case: True)), end="")
