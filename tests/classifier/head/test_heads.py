"""Every way a head is written must be found, proved and read as the same W and b; what is no head is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from head_graphs import Build, C, M, quantise_rows
from onnx import TensorProto

from singaudit.classifier.head import first_run as probe
from singaudit.classifier.options import ModelOptions
from singaudit.classifier.sandbox.model import OpenedModel, open_model
from singaudit.errors import ModelError

Truth = tuple[Any, np.ndarray, np.ndarray, str]
MS = "com.microsoft"


def gemm_plain(g: Build) -> Truth:
    y, w, b = g.gemm(g.features())
    return g.model(y), w, b, "Gemm"


def gemm_untransposed(g: Build) -> Truth:
    w, b = g.weight(M, C), g.weight(C)
    return g.model(g.node("Gemm", g.features(), g.const(w), g.const(b))), w.T, b, "Gemm"


def gemm_alpha_beta(g: Build) -> Truth:
    w, b = g.weight(C, M), g.weight(C)
    y = g.node("Gemm", g.features(), g.const(w), g.const(b), transB=1, alpha=0.5, beta=3.0)
    return g.model(y), 0.5 * w, 3 * b, "Gemm"


def gemm_transposed_features(g: Build) -> Truth:
    w, b = g.weight(M, C), g.weight(C)
    f = g.node("Transpose", g.features(), perm=[1, 0])
    return g.model(g.node("Gemm", f, g.const(w), g.const(b), transA=1)), w.T, b, "Gemm"


def gemm_weight_on_the_left(g: Build) -> Truth:
    w = g.weight(C, M)
    y = g.node("Gemm", g.const(w), g.features(), transB=1)
    return g.model(g.node("Transpose", y, perm=[1, 0])), w, np.zeros(C), "Gemm"


def gemm_without_bias(g: Build) -> Truth:
    w = g.weight(C, M)
    return g.model(g.node("Gemm", g.features(), g.const(w), transB=1)), w, np.zeros(C), "Gemm"


def matmul_add(g: Build) -> Truth:
    w, b = g.weight(M, C), g.weight(C)
    y = g.node("Add", g.const(b), g.node("MatMul", g.features(), g.const(w)))
    return g.model(g.node("Softmax", y, axis=1)), w.T, b, "MatMul+Add"


def matmul_weight_on_the_left(g: Build) -> Truth:
    w = g.weight(C, M)
    column = g.node("Unsqueeze", g.features(), g.const(np.array([2])))
    y = g.node("Squeeze", g.node("MatMul", g.const(w), column), g.const(np.array([2])))
    return g.model(y), w, np.zeros(C), "MatMul"


def matmul_transposed_weight_node(g: Build) -> Truth:
    w = g.weight(C, M)
    return (
        g.model(g.node("MatMul", g.features(), g.node("Transpose", g.const(w), perm=[1, 0]))),
        w,
        np.zeros(C),
        "MatMul",
    )


def weight_behind_identity_and_constant(g: Build) -> Truth:
    w, b = g.weight(C, M), g.weight(C)
    constant = g.node("Constant", value=onnx.numpy_helper.from_array(w))
    y = g.node("Gemm", g.features(), g.node("Identity", constant), g.const(b), transB=1)
    return g.model(y), w, b, "Gemm"


def weight_normalised_in_the_graph(g: Build) -> Truth:
    v, gain = g.weight(C, M), np.abs(g.weight(C, 1)) + 0.5
    norm = g.node("ReduceL2", g.const(v), axes=[1], keepdims=1)
    w = g.node("Mul", g.const(gain), g.node("Div", g.const(v), norm))
    truth = gain * v / np.linalg.norm(v.astype(np.float64), axis=1, keepdims=True)
    return g.model(g.node("Gemm", g.features(), w, transB=1)), truth, np.zeros(C), "Gemm"


def conv_then(op: str) -> Callable[[Build], Truth]:
    def build(g: Build) -> Truth:
        w, b = g.weight(C, M, 1, 1), g.weight(C)
        y = g.node("Conv", g.node("GlobalAveragePool", g.maps()), g.const(w), g.const(b))
        if op == "Flatten":
            y = g.node("Flatten", y)
        elif op == "Reshape":
            y = g.node("Reshape", y, g.const(np.array([0, -1])))
        else:
            y = g.node("Squeeze", y, g.const(np.array([2, 3])))
        return g.model(g.node("Sigmoid", y)), w[:, :, 0, 0], b, "Conv 1x1"

    return build


def conv_left_as_map(g: Build) -> Truth:
    w, b = g.weight(C, M, 1, 1), g.weight(C)
    y = g.node("Conv", g.node("GlobalAveragePool", g.maps()), g.const(w), g.const(b))
    return g.model(y), w[:, :, 0, 0], b, "Conv 1x1"


def conv_then_pool(op: str) -> Callable[[Build], Truth]:
    def build(g: Build) -> Truth:
        w, b = g.weight(C, M, 1, 1), g.weight(C)
        y = g.node("Conv", g.maps(), g.const(w), g.const(b))
        if op == "GlobalAveragePool":
            y = g.node("Flatten", g.node(op, y))
        elif op == "AveragePool":
            y = g.node("Flatten", g.node(op, y, kernel_shape=[6, 6]))
        elif op == "ReduceSum":
            y = g.node("ReduceSum", y, g.const(np.array([2, 3])), keepdims=0)
            return g.model(y), 36 * w[:, :, 0, 0], 36 * b, "Conv 1x1, averaged over positions"
        else:
            y = g.node("ReduceMean", y, axes=[-1, -2], keepdims=0)
        return g.model(y), w[:, :, 0, 0], b, "Conv 1x1, averaged over positions"

    return build


def tokens_then_mean(g: Build) -> Truth:
    w, b = g.weight(M, C), g.weight(C)
    tokens = g.node("Transpose", g.node("Reshape", g.maps(), g.const(np.array([0, M, 36]))), perm=[0, 2, 1])
    y = g.node("Add", g.node("MatMul", tokens, g.const(w)), g.const(b))
    return g.model(g.node("ReduceMean", y, axes=[1], keepdims=0)), w.T, b, "MatMul+Add, averaged over positions"


def casts_around(g: Build) -> Truth:
    half = TensorProto.FLOAT16
    w, b = g.weight(M, C).astype(np.float16), g.weight(C).astype(np.float16)
    f = g.node("Cast", g.features(), to=half)
    y = g.node("Cast", g.node("MatMul", f, g.const(w)), to=TensorProto.FLOAT)
    y = g.node("Add", g.node("Cast", y, to=half), g.const(b))
    y = g.node("Softmax", g.node("Cast", y, to=TensorProto.FLOAT), axis=-1)
    return g.model(y), w.T, b, "MatMul+Add"


def half_stored_weight(g: Build) -> Truth:
    w, b = g.weight(C, M).astype(np.float16), g.weight(C)
    y = g.node("Gemm", g.features(), g.node("Cast", g.const(w), to=1), g.const(b), transB=1)
    return g.model(y), w, b, "Gemm"


def temperature(g: Build) -> Truth:
    y, w, b = g.gemm(g.features())
    y = g.node("Div", y, g.const(np.float32(4.0)))
    return g.model(g.node("Softmax", y, axis=1)), w / 4, b / 4, "Gemm"


def negated_and_shifted(g: Build) -> Truth:
    y, w, b = g.gemm(g.features())
    shift = g.weight(1, C)
    return g.model(g.node("Sub", g.const(shift), g.node("Neg", y))), w, b + shift[0], "Gemm"


def batch_norm_after(g: Build) -> Truth:
    y, w, b = g.gemm(g.features())
    gain, shift, mean = g.weight(C), g.weight(C), g.weight(C)
    variance = np.abs(g.weight(C)) + 0.1
    y = g.node("BatchNormalization", y, *map(g.const, (gain, shift, mean, variance)), epsilon=1e-3)
    factor = gain / np.sqrt(variance + 1e-3)
    return g.model(y), factor[:, None] * w, (b - mean) * factor + shift, "Gemm + BatchNormalization"


def einsum(g: Build) -> Truth:
    w = g.weight(C, M)
    return g.model(g.node("Einsum", g.features(), g.const(w), equation="bm,cm->bc")), w, np.zeros(C), "Einsum"


def einsum_over_heads(g: Build) -> Truth:
    w = g.weight(3, 4, C)
    f = g.node("Reshape", g.features(), g.const(np.array([0, 3, 4])))
    y = g.node("Einsum", f, g.const(w), equation="bhd,hdc->bc")
    return g.model(y), w.reshape(M, C).T, np.zeros(C), "Einsum"


def einsum_with_ellipsis(g: Build) -> Truth:
    w, b = g.weight(C, M), g.weight(C)
    y = g.node("Einsum", g.features(), g.const(w), equation="... k, c k -> ... c")
    return g.model(g.node("Add", y, g.const(b))), w, b, "Einsum"


def einsum_of_implied_output(g: Build) -> Truth:
    w = g.weight(M, C)
    return g.model(g.node("Einsum", g.const(w), g.features(), equation="yz,...y")), w.T, np.zeros(C), "Einsum"


def einsum_of_tokens(g: Build) -> Truth:
    w = g.weight(M, C)
    y = g.node("Einsum", g.maps(), g.const(w), equation="bk...,kc->bc...")
    return (
        g.model(g.node("ReduceMean", y, axes=[2, 3], keepdims=0)),
        w.T,
        np.zeros(C),
        "Einsum, averaged over positions",
    )


def cosine(g: Build) -> Truth:
    w = g.weight(M, C)
    f = g.features()
    unit = g.node("Div", f, g.node("ReduceL2", f, axes=[1], keepdims=1))
    y = g.node("Mul", g.node("MatMul", unit, g.const(w)), g.const(np.float32(20.0)))
    return g.model(y), 20 * w.T, np.zeros(C), "cosine (MatMul)"


def cosine_by_lp_norm(g: Build) -> Truth:
    w = g.weight(M, C)
    unit = g.node("LpNormalization", g.features(), axis=-1)
    return g.model(g.node("MatMul", unit, g.const(w))), w.T, np.zeros(C), "cosine (MatMul)"


def two_heads_averaged(g: Build) -> Truth:
    one, two = g.node("Tanh", g.features()), g.node("Sigmoid", g.features(7))
    y1, w1, b1 = g.gemm(one)
    y2, w2, b2 = g.gemm(two, m=7)
    y = g.node("Div", g.node("Add", y1, y2), g.const(np.float32(2)))
    return g.model(y), np.hstack([w1, w2]) / 2, (b1 + b2) / 2, "two heads averaged (Gemm)"


def two_heads_by_mean(g: Build) -> Truth:
    y1, w1, b1 = g.gemm(g.node("Tanh", g.features()))
    y2, w2, b2 = g.gemm(g.node("Sigmoid", g.features()))
    return g.model(g.node("Mean", y1, y2)), np.hstack([w1, w2]) / 2, (b1 + b2) / 2, "two heads averaged (Gemm)"


def heads_concatenated(g: Build) -> Truth:
    f = g.features()
    y1, w1, b1 = g.gemm(f, c=2)
    y2, w2, b2 = g.gemm(f, c=3)
    return (
        g.model(g.node("Concat", y1, y2, axis=1)),
        np.vstack([w1, w2]),
        np.hstack([b1, b2]),
        "two heads concatenated (Gemm)",
    )


def heads_concatenated_of_two_features(g: Build) -> Truth:
    y1, w1, b1 = g.gemm(g.node("Tanh", g.features(4)), m=4, c=2)
    y2, w2, b2 = g.gemm(g.node("Sigmoid", g.features()), c=3)
    w = np.zeros((5, 16))
    w[:2, :4], w[2:, 4:] = w1, w2
    return g.model(g.node("Concat", y1, y2, axis=1)), w, np.hstack([b1, b2]), "two heads concatenated (Gemm)"


def stacked(g: Build) -> Truth:
    f = g.features()
    y1, w1, b1 = g.gemm(f, c=3)
    y1 = g.node("Mul", g.node("Dropout", y1), g.const(np.float32(2)))
    y2, w2, b2 = g.gemm(y1, m=3)
    return g.model(y2), 2 * w2 @ w1, 2 * w2 @ b1 + b2, "2 stacked linear layers (Gemm)"


def stacked_three(g: Build) -> Truth:
    y, w, b = g.gemm(g.features(), c=9)
    for m, c in ((9, 8), (8, C)):
        y, w2, b2 = g.gemm(y, m=m, c=c)
        w, b = w2 @ w, w2 @ b + b2
    return g.model(y), w, b, "3 stacked linear layers (Gemm)"


def low_rank_branch(g: Build) -> Truth:
    """W f + b + 2 B (A f): an adapter that was not merged; its A f are no features of their own."""
    f = g.features()
    y, w, b = g.gemm(f)
    down, up = g.weight(M, 3), g.weight(3, C)
    branch = g.node("MatMul", g.node("MatMul", g.node("Identity", f), g.const(down)), g.const(up))
    y = g.node("Add", y, g.node("Mul", branch, g.const(np.float32(2))))
    return g.model(y), w + 2 * (down @ up).T, b, "Gemm + parallel linear branch"


def low_rank_branches_alone(g: Build) -> Truth:
    """B (A f) + D (C f): the features are f, in which both branches begin."""
    f = g.features()
    a, b = g.weight(M, 2), g.weight(2, C)
    c, d = g.weight(M, 3), g.weight(3, C)
    one = g.node("MatMul", g.node("MatMul", f, g.const(a)), g.const(b))
    two = g.node("MatMul", g.node("MatMul", f, g.const(c)), g.const(d))
    return g.model(g.node("Add", one, two)), (a @ b + c @ d).T, np.zeros(C), "MatMul + parallel linear branch"


def log_of_clipped_softmax(g: Build) -> Truth:
    y, w, b = g.gemm(g.features())
    y = g.node("Clip", g.node("Softmax", y, axis=1), g.const(np.float32(1e-9)), g.const(np.float32(1)))
    return g.model(g.node("Log", y)), w, b, "Gemm"


def decomposed_softmax(g: Build) -> Truth:
    y, w, b = g.gemm(g.features())
    e = g.node("Exp", g.node("Sub", y, g.node("ReduceMax", y, axes=[1], keepdims=1)))
    total = g.node("ReduceSum", e, g.const(np.array([1])), keepdims=1)
    return g.model(g.node("Div", e, total)), w, b, "Gemm"


def argmax_beside(g: Build) -> Truth:
    y, w, b = g.gemm(g.features())
    label = g.node("ArgMax", y, axis=1)
    probabilities = g.node("Softmax", y, axis=1)
    return g.model(label, probabilities, y, types={label: TensorProto.INT64}), w, b, "Gemm"


def features_beside(g: Build) -> Truth:
    projected, _, _ = g.gemm(g.features(), c=M)
    f = g.node("Tanh", projected)
    y, w, b = g.gemm(f)
    return g.model(projected, y), w, b, "Gemm"


def slice_of_classes(g: Build) -> Truth:
    y, w, b = g.gemm(g.features(), c=9)
    y = g.node("Slice", y, *(g.const(np.array([value])) for value in (2, 7, 1, 1)))
    return g.model(y), w[2:7], b[2:7], "Gemm"


def gathered_classes(g: Build) -> Truth:
    y, w, b = g.gemm(g.features(), c=9)
    keep = np.array([8, 0, 3, 3, 1])
    return g.model(g.node("Gather", y, g.const(keep), axis=1)), w[keep], b[keep], "Gemm"


def split_classes(g: Build) -> Truth:
    y, w, b = g.gemm(g.features(), c=9)
    parts = g.node("Split", y, g.const(np.array([4, 5])), axis=1, outputs=2)
    return g.model(parts[1]), w[4:], b[4:], "Gemm"


def reshape_by_the_input_shape(g: Build) -> Truth:
    """As TorchScript writes ``x.view(x.size(0), -1)``."""
    count = g.node("Gather", g.node("Shape", "x"), g.const(np.array([0])))
    shape = g.node("Concat", count, g.const(np.array([C])), axis=0)
    w, b = g.weight(C, M, 1, 1), g.weight(C)
    y = g.node("Conv", g.node("GlobalAveragePool", g.maps()), g.const(w), g.const(b))
    return g.model(g.node("Reshape", y, shape)), w[:, :, 0, 0], b, "Conv 1x1"


def one_logit(g: Build) -> Truth:
    y, w, b = g.gemm(g.features(), c=1)
    return g.model(g.node("Sigmoid", y)), w, b, "Gemm"


FLOAT_HEADS = [
    gemm_plain,
    gemm_untransposed,
    gemm_alpha_beta,
    gemm_transposed_features,
    gemm_weight_on_the_left,
    gemm_without_bias,
    matmul_add,
    matmul_weight_on_the_left,
    matmul_transposed_weight_node,
    weight_behind_identity_and_constant,
    weight_normalised_in_the_graph,
    *(pytest.param(conv_then(op), id=f"conv_then_{op}") for op in ("Flatten", "Reshape", "Squeeze")),
    conv_left_as_map,
    *(
        pytest.param(conv_then_pool(op), id=f"conv_then_{op}")
        for op in ("GlobalAveragePool", "AveragePool", "ReduceMean", "ReduceSum")
    ),
    tokens_then_mean,
    casts_around,
    half_stored_weight,
    temperature,
    negated_and_shifted,
    batch_norm_after,
    einsum,
    einsum_over_heads,
    einsum_with_ellipsis,
    einsum_of_implied_output,
    einsum_of_tokens,
    cosine,
    cosine_by_lp_norm,
    two_heads_averaged,
    two_heads_by_mean,
    heads_concatenated,
    low_rank_branch,
    low_rank_branches_alone,
    heads_concatenated_of_two_features,
    stacked,
    stacked_three,
    log_of_clipped_softmax,
    decomposed_softmax,
    argmax_beside,
    features_beside,
    slice_of_classes,
    gathered_classes,
    split_classes,
    reshape_by_the_input_shape,
    one_logit,
]


def opened(tmp_path: Path, model: Any, **options: Any) -> OpenedModel:
    path = tmp_path / "model.onnx"
    onnx.save(model, str(path))
    return open_model(path, ModelOptions(threads=1, **options))


def check(classifier: OpenedModel, w: np.ndarray, b: np.ndarray, tolerance: float = 1e-6) -> None:
    """W and b are the truth's, and carry features of unseen images to their logits."""
    head = classifier.head
    assert head.weight.dtype == np.float64
    assert head.weight.shape == w.shape
    assert head.bias.shape == (w.shape[0],)
    scale = np.abs(w).max()
    np.testing.assert_allclose(head.weight, w, atol=tolerance * scale, rtol=0)
    np.testing.assert_allclose(head.bias, b, atol=tolerance * max(scale, np.abs(b).max()), rtol=0)
    images = probe.random_images(classifier.preprocessing, 7, 99)
    features, logits = classifier.forward(images)
    assert features.dtype == logits.dtype == np.float32
    assert features.shape == (7, w.shape[1])
    assert logits.shape == (7, w.shape[0])


@pytest.mark.parametrize("batch", ["batch", 1, 4])
@pytest.mark.parametrize("build", FLOAT_HEADS)
def test_head_is_read_as_the_truth(build: Callable[[Build], Truth], batch: int | str, tmp_path: Path) -> None:
    model, w, b, kind = build(Build(batch=batch))
    chain = build in (stacked, stacked_three)
    classifier = opened(tmp_path, model, stacked="collapsed" if chain else "last")
    half = build in (casts_around,)
    check(classifier, np.asarray(w, np.float64), np.asarray(b, np.float64))
    assert classifier.head.kind == kind
    assert classifier.head.max_error <= (2e-2 if half else 1e-5)
    assert classifier.head.stored_dtype == ("float16" if build in (casts_around, half_stored_weight) else "float32")
    images = probe.random_images(classifier.preprocessing, 7, 99)
    features, logits = classifier.forward(images)
    error = np.abs(features.astype(np.float64) @ classifier.head.weight.T + classifier.head.bias - logits).max()
    assert error <= (2e-2 if half else 1e-5) * np.abs(logits).max()
    np.testing.assert_allclose(
        classifier.logits_of(features), logits, atol=(2e-2 if half else 1e-5) * np.abs(logits).max()
    )


def with_softmax(g: Build, operator: str) -> Any:
    return g.model(g.node(operator, g.gemm(g.features())[0]))


@pytest.mark.parametrize(
    ("operator", "activation"), [("Softmax", "softmax"), ("LogSoftmax", "softmax"), ("Sigmoid", "sigmoid")]
)
def test_activation_is_read_from_the_graph(operator: str, activation: str, tmp_path: Path) -> None:
    head = opened(tmp_path, with_softmax(Build(), operator)).head
    assert (head.activation, head.activation_stated) == (activation, True)


def test_activation_is_assumed_where_nobody_states_it(tmp_path: Path) -> None:
    head = opened(tmp_path, gemm_plain(Build())[0]).head
    assert (head.activation, head.activation_stated) == ("softmax", False)
    head = opened(tmp_path, gemm_plain(Build())[0], activation="sigmoid").head
    assert (head.activation, head.activation_stated) == ("sigmoid", True)


# Quantised heads


def qdq_gemm(g: Build) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray]:
    w, b = g.weight(C, M), g.weight(C)
    wq, scale = quantise_rows(w, axis=0)
    zero = g.const(np.uint8(0))
    f_scale = g.const(np.float32(0.02))
    f = g.node("DequantizeLinear", g.node("QuantizeLinear", g.features(), f_scale, zero), f_scale, zero)
    weight = g.node("DequantizeLinear", g.const(wq), g.const(scale), g.const(np.zeros(C, np.int8)), axis=0)
    y = g.node("Gemm", f, weight, g.const(b), transB=1)
    y_scale, y_zero = g.const(np.float32(0.25)), g.const(np.uint8(128))
    y = g.node("DequantizeLinear", g.node("QuantizeLinear", y, y_scale, y_zero), y_scale, y_zero)
    return g.model(y), wq * scale[:, None].astype(np.float64), b, scale


def qgemm(g: Build) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray]:
    w, b = g.weight(M, C), g.weight(C)
    wq, scale = quantise_rows(w)
    f_scale, zero = np.float32(0.02), np.uint8(0)
    bq = np.round(b / (f_scale * scale)).astype(np.int32)
    names = [g.const(item) for item in (f_scale, zero, wq, scale, np.int8(0), bq, np.float32(0.25), np.uint8(128))]
    q = g.node("QuantizeLinear", g.features(), names[0], names[1])
    y = g.node("QGemm", q, *names, domain=MS, transA=0, transB=0, alpha=1.0)
    y = g.node("DequantizeLinear", y, names[6], names[7])
    return g.model(y), wq.T * np.float64(scale), bq * np.float64(f_scale) * scale, np.atleast_1d(scale)


def qlinear_matmul(g: Build) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray]:
    w, b = g.weight(M, C), g.weight(C)
    wq, scale = quantise_rows(w)
    names = [
        g.const(item)
        for item in (np.float32(0.02), np.uint8(3), wq, scale, np.int8(0), np.float32(0.25), np.uint8(128))
    ]
    q = g.node("QuantizeLinear", g.features(), names[0], names[1])
    y = g.node("QLinearMatMul", q, *names)
    y = g.node("Add", g.node("DequantizeLinear", y, names[5], names[6]), g.const(b))
    return g.model(y), wq.T * np.float64(scale), b, np.atleast_1d(scale)


def dynamic(g: Build) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray]:
    w, b = g.weight(M, C), g.weight(C)
    wq, scale = quantise_rows(w)
    q = g.node("DynamicQuantizeLinear", g.features(), outputs=3)
    y = g.node("MatMulInteger", q[0], g.const(wq), q[2], g.const(np.int8(0)))
    y = g.node("Cast", y, to=TensorProto.FLOAT)
    y = g.node("Mul", y, g.node("Mul", q[1], g.const(scale)))
    y = g.node("Add", y, g.const(b))
    return g.model(y), wq.T * np.float64(scale), b, np.atleast_1d(scale)


def weight_only(g: Build) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray]:
    w, b = g.weight(M, C), g.weight(C)
    wq, scale = quantise_rows(w)
    weight = g.node("DequantizeLinear", g.const(wq), g.const(scale))
    y = g.node("Add", g.node("MatMul", g.features(), weight), g.const(b))
    return g.model(y), wq.T * np.float64(scale), b, np.atleast_1d(scale)


@pytest.mark.parametrize("build", [qdq_gemm, qgemm, qlinear_matmul, dynamic, weight_only])
def test_quantised_head_is_read_by_dequantising(build: Callable[[Build], Any], tmp_path: Path) -> None:
    model, w, b, step = build(Build())
    classifier = opened(tmp_path, model)
    check(classifier, w, b)
    assert classifier.head.stored_dtype == "int8"
    assert classifier.head.quantisation_step is not None
    np.testing.assert_allclose(classifier.head.quantisation_step, step, rtol=1e-4)


def packed(numbers: np.ndarray, bits: int) -> np.ndarray:
    """Numbers (..., n) in bytes, the first in the lowest bits; the last byte of a row filled up."""
    each = 8 // bits
    numbers = np.pad(numbers, [(0, 0)] * (numbers.ndim - 1) + [(0, -numbers.shape[-1] % each)])
    groups = numbers.reshape(*numbers.shape[:-1], -1, each).astype(np.uint32)
    return (groups << (bits * np.arange(each, dtype=np.uint32))).sum(axis=-1).astype(np.uint8)


def packed_blocks(
    g: Build, data: str, m: int, bits: int, zero: str = "packed", **options: Any
) -> tuple[str, np.ndarray, np.ndarray, np.ndarray]:
    """MatMulNBits of data (n, m): (output, W, b, the scales' root mean squares)."""
    block = 16
    blocks = -(-m // block)
    whole = g.random.integers(0, 2**bits, (C, blocks * block))
    whole[:, m:] = 0
    scale = (g.random.random((C, blocks)) * 0.1 + 0.02).astype(np.float32)
    zeros = g.random.integers(0, 2**bits, (C, blocks)) if zero else np.full((C, blocks), 2 ** (bits - 1))
    b = g.weight(C)
    stated = {
        "": "",
        "packed": lambda: g.const(packed(zeros, bits)),
        "float": lambda: g.const(zeros.astype(np.float32)),
    }
    name = stated[zero]() if zero else ""
    inputs = [data, g.const(packed(whole.reshape(C, blocks, block), bits)), g.const(scale), name, "", g.const(b)]
    y = g.node("MatMulNBits", *inputs, domain=MS, K=m, N=C, bits=bits, block_size=block, **options)
    of = np.arange(m) // block
    w = (whole[:, :m] - zeros[:, of]) * scale.astype(np.float64)[:, of]
    return y, w, b, np.sqrt((scale.astype(np.float64) ** 2).mean(axis=1))


@pytest.mark.parametrize(
    ("bits", "m", "zero", "options"),
    [(4, 32, "packed", {}), (4, 48, "", {}), (4, 40, "packed", {}), (4, 32, "float", {}), (8, 32, "packed", {}),
     (2, 32, "packed", {}), (4, 32, "packed", {"accuracy_level": 4})],
)  # fmt: skip
def test_weights_packed_into_few_bits_are_read_by_dequantising(
    bits: int, m: int, zero: str, options: Any, tmp_path: Path
) -> None:
    g = Build()
    y, w, b, step = packed_blocks(g, g.features(m), m, bits, zero, **options)
    classifier = opened(tmp_path, g.model(y))
    check(classifier, w, b)
    assert classifier.head.kind == f"MatMulNBits ({bits} bits)"
    assert classifier.head.stored_dtype == f"int{bits}"
    np.testing.assert_allclose(classifier.head.quantisation_step, step, rtol=1e-6)
    assert classifier.head.max_error < (2e-2 if options else 1e-5)
    # Its weights rearranged it computes something else: that is no doing of the graph's optimisation.
    assert classifier.runtime.difference < 1e-6


@pytest.mark.parametrize(("element", "low"), [(TensorProto.INT4, -8), (TensorProto.UINT4, 0)])
def test_four_bits_with_a_scale_for_each_block_are_read_by_dequantising(element: int, low: int, tmp_path: Path) -> None:
    g, m, block = Build(opset=21), 32, 16
    whole = g.random.integers(low, low + 16, (m, C))
    zeros = g.random.integers(low, low + 16, (m // block, C))
    scale = (g.random.random((m // block, C)) * 0.1 + 0.02).astype(np.float32)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(element)
    names = [g.const(whole.astype(dtype)), g.const(scale), g.const(zeros.astype(dtype))]
    weight = g.node("DequantizeLinear", *names, axis=0, block_size=block)
    b = g.weight(C)
    classifier = opened(tmp_path, g.model(g.node("Add", g.node("MatMul", g.features(m), weight), g.const(b))))
    of = np.arange(m) // block
    check(classifier, ((whole - zeros[of]) * scale.astype(np.float64)[of]).T, b)
    assert classifier.head.stored_dtype == "int4"
    rms = np.sqrt((scale.astype(np.float64) ** 2).mean(axis=0))
    np.testing.assert_allclose(classifier.head.quantisation_step, rms, rtol=1e-6)


def drop_by_squeeze(g: Build, y: str) -> str:
    return g.node("Squeeze", y)


def drop_by_reshape(g: Build, y: str) -> str:
    return g.node("Reshape", y, g.const(np.array([-1])))


def drop_by_gather(g: Build, y: str) -> str:
    return g.node("Gather", y, g.const(np.array(0)), axis=0)


@pytest.mark.parametrize("where", ["logits", "features"])
@pytest.mark.parametrize("drop", [drop_by_squeeze, drop_by_reshape, drop_by_gather])
def test_a_graph_for_one_image_may_drop_the_axis_that_counts_images(
    drop: Callable[[Build, str], str], where: str, tmp_path: Path
) -> None:
    g = Build(batch=1)
    w, b = g.weight(M, C), g.weight(C)
    f = drop(g, g.features()) if where == "features" else g.features()
    y = g.node("Add", g.node("MatMul", f, g.const(w)), g.const(b))
    y = drop(g, y) if where == "logits" else y
    classifier = opened(tmp_path, g.model(g.node("Softmax", y, axis=-1)))
    check(classifier, w.T, b)
    images = probe.random_images(classifier.preprocessing, 4, 3)
    features, logits = classifier.forward(images)
    np.testing.assert_allclose(classifier.logits_of(features), logits, atol=1e-5)
    alone = np.concatenate([classifier.forward(images[i : i + 1])[1] for i in range(4)])
    np.testing.assert_array_equal(alone, logits)


def test_dynamically_quantised_results_do_not_depend_on_the_batch(tmp_path: Path) -> None:
    classifier = opened(tmp_path, dynamic(Build())[0])
    images = probe.random_images(classifier.preprocessing, 6, 5)
    _, together = classifier.forward(images)
    alone = np.concatenate([classifier.forward(images[index : index + 1])[1] for index in range(6)])
    np.testing.assert_array_equal(together, alone)


# Choices left to the user


def two_unrelated(g: Build) -> Any:
    f = g.features()
    one, w, b = g.gemm(g.node("Tanh", f))
    two, _, _ = g.gemm(g.node("Sigmoid", f))
    return g.model(one, two), one, w, b


def test_several_outputs_need_a_name(tmp_path: Path) -> None:
    model, name, w, b = two_unrelated(Build())
    with pytest.raises(ModelError, match="2 outputs that could be the logits") as caught:
        opened(tmp_path, model)
    assert f"--logits {name}" in caught.value.hint
    check(opened(tmp_path, model, logits=name), w, b)


def test_named_probabilities_name_the_logits_beneath(tmp_path: Path) -> None:
    g = Build()
    y, w, b = g.gemm(g.features())
    probabilities = g.node("Softmax", y, axis=1)
    classifier = opened(tmp_path, g.model(probabilities), logits=probabilities)
    check(classifier, w, b)
    assert classifier.head.logits == y


def test_named_features_start_the_head_there(tmp_path: Path) -> None:
    model, _, _, _ = stacked(Build())
    last = opened(tmp_path, model, features="t6")
    assert last.head.weight.shape == (C, 3)
    maps = opened(tmp_path, gemm_plain(Build())[0], features="t2")
    assert maps.head.weight.shape == (C, M)


def test_stacked_layers_are_one_head_or_the_last_alone(tmp_path: Path) -> None:
    model, w, b, _ = stacked(Build())
    check(opened(tmp_path, model, stacked="collapsed"), w, b)
    last = opened(tmp_path, model).head
    assert (last.weight.shape, last.kind) == ((C, 3), "Gemm")


def test_the_file_may_name_its_features_and_logits(tmp_path: Path) -> None:
    model, _, _, _ = stacked(Build())
    onnx.helper.set_model_props(model, {"singaudit.features": "t6"})
    assert opened(tmp_path, model).head.weight.shape == (C, 3)
    model, name, w, b = two_unrelated(Build())
    onnx.helper.set_model_props(model, {"singaudit.logits": name})
    check(opened(tmp_path, model), w, b)


def test_named_tensor_that_does_not_exist_names_what_is_close(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="--logits n4: the model computes no tensor") as caught:
        opened(tmp_path, gemm_plain(Build())[0], logits="n4")
    assert "t4" in caught.value.hint
    with pytest.raises(ModelError, match="--features"):
        opened(tmp_path, gemm_plain(Build())[0], features="nowhere")


# Refusals


def refuse_squeezenet(g: Build) -> Any:
    y = g.node("Relu", g.node("Conv", g.maps(), g.const(g.weight(C, M, 1, 1)), g.const(g.weight(C))))
    return g.model(g.node("Flatten", g.node("GlobalAveragePool", y)))


def refuse_labels(g: Build) -> Any:
    y = g.node("ArgMax", g.gemm(g.features())[0], axis=1)
    return g.model(y, types={y: TensorProto.INT64})


def refuse_no_linear(g: Build) -> Any:
    return g.model(g.features())


def refuse_tanh_logits(g: Build) -> Any:
    return g.model(g.node("Tanh", g.gemm(g.features())[0]))


def refuse_two_data_factors(g: Build) -> Any:
    f = g.features()
    row = g.node("Unsqueeze", f, g.const(np.array([1])))
    column = g.node("Reshape", f, g.const(np.array([0, M, 1])))
    return g.model(g.node("Flatten", g.node("MatMul", row, column)))


def refuse_image_dependent_scale(g: Build) -> Any:
    f = g.features()
    y, _, _ = g.gemm(f)
    return g.model(g.node("Mul", y, g.node("ReduceMean", f, axes=[1], keepdims=1)))


def refuse_residual(g: Build) -> Any:
    f = g.features(C)
    y, _, _ = g.gemm(f, m=C)
    return g.model(g.node("Add", y, g.node("Relu", f)))


def refuse_nan(g: Build) -> Any:
    w = g.weight(C, M)
    w[1, 2] = np.nan
    return g.model(g.node("Gemm", g.features(), g.const(w, "head.weight"), g.const(g.weight(C)), transB=1))


def refuse_inf_bias(g: Build) -> Any:
    b = g.weight(C)
    b[0] = np.inf
    return g.model(g.node("Add", g.node("MatMul", g.features(), g.const(g.weight(M, C))), g.const(b, "head.bias")))


def refuse_nan_backbone(g: Build) -> Any:
    f = g.node("Sqrt", g.node("Neg", g.features()))
    return g.model(g.gemm(f)[0])


def refuse_max_of_heads(g: Build) -> Any:
    f = g.features()
    return g.model(g.node("Max", g.gemm(f)[0], g.gemm(f)[0]))


def refuse_grouped_conv(g: Build) -> Any:
    w = g.weight(4, 3, 1, 1)
    y = g.node("Conv", g.node("GlobalAveragePool", g.maps()), g.const(w), group=4)
    return g.model(g.node("Flatten", y))


def refuse_weighted_positions(g: Build) -> Any:
    """A pooled map whose positions count differently is not a function of the mean feature."""
    y = g.node("Conv", g.maps(), g.const(g.weight(C, M, 1, 1)), g.const(g.weight(C)))
    y = g.node("Mul", y, g.const(g.weight(1, 1, 6, 6)))
    return g.model(g.node("Flatten", g.node("GlobalAveragePool", y)))


def refuse_score_maps(g: Build) -> Any:
    return g.model(g.node("Conv", g.maps(), g.const(g.weight(C, M, 1, 1)), g.const(g.weight(C))))


def refuse_linear_in_pixels(g: Build) -> Any:
    y = g.node("Conv", "x", g.const(g.weight(C, 3, 1, 1)))
    return g.model(g.node("Flatten", g.node("GlobalAveragePool", y)))


REFUSALS = [
    (refuse_score_maps, "expected one logit per class"),
    (refuse_linear_in_pixels, "reads the image itself"),
    (refuse_squeezenet, "Relu.*not linear"),
    (refuse_labels, "labels only"),
    (refuse_no_linear, "no final linear layer"),
    (refuse_tanh_logits, "Tanh.*not linear"),
    (refuse_two_data_factors, "both depend on the image"),
    (refuse_image_dependent_scale, "both depend on the image"),
    (refuse_residual, "Relu.*not linear"),
    (refuse_nan, "'head.weight' holds 1 numbers that are NaN"),
    (refuse_inf_bias, "'head.bias' holds 1 numbers that are NaN or infinite"),
    (refuse_nan_backbone, "NaN"),
    (refuse_max_of_heads, "Max.*not linear"),
    (refuse_grouped_conv, "grouped"),
    (refuse_weighted_positions, "could not be proved"),
]


@pytest.mark.parametrize(("build", "reason"), REFUSALS)
def test_what_is_no_linear_head_is_refused_with_the_reason(
    build: Callable[[Build], Any], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=reason) as caught:
        opened(tmp_path, build(Build()))
    assert caught.value.hint
    assert caught.value.exit_code == 2


def test_metadata_names_classes_preprocessing_and_activation(tmp_path: Path) -> None:
    g = Build()
    y, _, _ = g.gemm(g.features())
    meta = {
        "singaudit.classes": json.dumps(["a", "b", "c", "d", "e, f"]),
        "singaudit.preprocess": "size=8,mode=squash,mean=0.5,std=0.25",
        "singaudit.activation": "none",
    }
    classifier = opened(tmp_path, g.model(y, meta=meta))
    assert classifier.class_names == ("a", "b", "c", "d", "e, f")
    assert classifier.preprocessing.mean == (0.5,)
    assert classifier.preprocessing.guessed == ()
    assert (classifier.head.activation, classifier.head.activation_stated) == ("none", True)
