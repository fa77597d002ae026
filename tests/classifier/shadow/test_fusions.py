"""Fused patterns compute what their parts compute, and are taken only where that is so."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from shadow_models import ConvNeXtLike, ShiftedWindows, ViTBlock, build, cosine, export, gradient, images

from singaudit.classifier.shadow import fusions
from singaudit.classifier.shadow.module import shadow_copy


def kinds(copy):
    return [step.label.split(" ")[0] for step in copy.plan.steps]


def unfused(monkeypatch, model, **options):
    """Copy a model with fusions switched off."""
    with monkeypatch.context() as patch:
        patch.setattr(fusions, "fuse", lambda nodes, *_: list(nodes))
        return shadow_copy(model, **options)


def graph(nodes, constants, shapes):
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    tensors = [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants.items()]
    made = helper.make_graph(nodes, "graph", inputs, [helper.make_empty_tensor_value_info("y")], tensors)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def same(monkeypatch, model, expected, **inputs):
    """Check that the expected fused operator appears and changes neither values nor gradients."""
    fused, plain = shadow_copy(model), unfused(monkeypatch, model)
    assert f"singaudit:{expected}" in kinds(fused)
    assert not any(kind.startswith("singaudit:") for kind in kinds(plain))
    leaves = [tensor.clone().requires_grad_() for tensor in inputs.values()]
    results = []
    for copy in (fused, plain):
        y = copy(*leaves)[0]
        results.append((y, *torch.autograd.grad((y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum(), leaves)))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert len(fused.plan.steps) < len(plain.plan.steps)


N = helper.make_node
ERF = [N("Div", ["x", "root"], ["t"]), N("Erf", ["t"], ["e"]), N("Add", ["e", "one"], ["a"])]
GELU_CONSTANTS = {"root": math.sqrt(2), "inverse": math.sqrt(0.5), "one": 1.0, "half": 0.5}


@pytest.mark.parametrize(
    "nodes",
    [
        [*ERF, N("Mul", ["x", "a"], ["m"]), N("Mul", ["m", "half"], ["y"])],
        [*ERF, N("Mul", ["x", "half"], ["h"]), N("Mul", ["h", "a"], ["y"])],
        [*ERF, N("Mul", ["half", "a"], ["h"]), N("Mul", ["h", "x"], ["y"])],
        [N("Mul", ["inverse", "x"], ["t"]), *ERF[1:], N("Mul", ["a", "x"], ["m"]), N("Mul", ["half", "m"], ["y"])],
    ],
)
def test_gelu_in_every_association(monkeypatch, nodes):
    same(monkeypatch, graph(nodes, GELU_CONSTANTS, {"x": [3, 5]}), "Gelu", x=torch.randn(3, 5))


def test_what_only_looks_like_gelu_is_left_alone():
    nodes = [*ERF, N("Mul", ["x", "a"], ["m"]), N("Mul", ["m", "half"], ["y"])]
    for name, value in (("half", 0.6), ("one", 1.2), ("root", 1.5)):
        copy = shadow_copy(graph(nodes, GELU_CONSTANTS | {name: value}, {"x": [3, 5]}))
        assert "singaudit:Gelu" not in kinds(copy)
    other = [*ERF, N("Mul", ["z", "a"], ["m"]), N("Mul", ["m", "half"], ["y"])]
    assert "singaudit:Gelu" not in kinds(shadow_copy(graph(other, GELU_CONSTANTS, {"x": [3, 5], "z": [3, 5]})))


def test_gates(monkeypatch):
    silu = [N("Sigmoid", ["x"], ["g"]), N("Mul", ["x", "g"], ["y"])]
    same(monkeypatch, graph(silu, {}, {"x": [3, 5]}), "Silu", x=torch.randn(3, 5))
    hard = [N("HardSigmoid", ["x"], ["g"], alpha=1 / 6, beta=0.5), N("Mul", ["g", "x"], ["y"])]
    same(monkeypatch, graph(hard, {}, {"x": [3, 5]}), "HardSwish", x=3 * torch.randn(3, 5))
    other = [N("HardSigmoid", ["x"], ["g"]), N("Mul", ["g", "x"], ["y"])]
    assert "singaudit:HardSwish" not in kinds(shadow_copy(graph(other, {}, {"x": [3, 5]})))


def layer_norm(twice):
    last = [N("Sub", ["x", "mean"], ["c2"])] if twice else []
    return [
        N("ReduceMean", ["x"], ["mean"], axes=[-1]),
        N("Sub", ["x", "mean"], ["c"]),
        N("Pow", ["c", "two"], ["p"]),
        N("ReduceMean", ["p"], ["v"], axes=[-1]),
        N("Add", ["v", "eps"], ["s"]),
        N("Sqrt", ["s"], ["r"]),
        *last,
        N("Div", ["c2" if twice else "c", "r"], ["n"]),
        N("Mul", ["n", "scale"], ["m"]),
        N("Add", ["m", "shift"], ["y"]),
    ]


@pytest.mark.parametrize("twice", [False, True])
def test_layer_normalisation(monkeypatch, twice):
    constants = {"two": 2.0, "eps": 1e-3, "scale": np.linspace(1, 2, 6), "shift": np.linspace(-1, 1, 6)}
    model = graph(layer_norm(twice), constants, {"x": [3, 6]})
    same(monkeypatch, model, "LayerNorm", x=torch.randn(3, 6))
    assert kinds(shadow_copy(model)) == ["singaudit:LayerNorm"]


def test_another_axis_is_no_layer_normalisation():
    nodes = layer_norm(False)
    nodes[0] = N("ReduceMean", ["x"], ["mean"], axes=[0])
    constants = {"two": 2.0, "eps": 1e-3, "scale": np.ones(6), "shift": np.ones(6)}
    assert "singaudit:LayerNorm" not in kinds(shadow_copy(graph(nodes, constants, {"x": [3, 6]})))


def test_linear(monkeypatch):
    nodes = [N("MatMul", ["x", "w"], ["p"]), N("Add", ["b", "p"], ["y"])]
    constants = {"w": np.random.default_rng(0).normal(size=(6, 4)), "b": np.arange(4.0)}
    same(monkeypatch, graph(nodes, constants, {"x": [2, 3, 6]}), "Linear", x=torch.randn(2, 3, 6))


HEADS = {"q": [2, 3, 5, 4], "k": [2, 3, 4, 7], "v": [2, 3, 7, 4]}


def attention(*middle):
    return [
        N("MatMul", ["q", "k"], ["s0"]),
        *middle,
        N("Softmax", [f"s{len(middle)}"], ["p"]),
        N("MatMul", ["p", "v"], ["y"]),
    ]


@pytest.mark.parametrize(
    "middle",
    [
        [],
        [N("Mul", ["s0", "c"], ["s1"])],
        [N("Div", ["s0", "c"], ["s1"])],
        [N("Mul", ["c", "s0"], ["s1"]), N("Add", ["s1", "mask"], ["s2"])],
        [N("Add", ["s0", "mask"], ["s1"]), N("Add", ["more", "s1"], ["s2"])],
    ],
)
def test_attention(monkeypatch, middle):
    constants = {"c": 0.3, "mask": np.random.default_rng(1).normal(size=(3, 5, 7)), "more": np.ones((1, 1, 5, 7))}
    values = {name: torch.randn(shape) for name, shape in HEADS.items()}
    same(monkeypatch, graph(attention(*middle), constants, HEADS), "Attention", **values)


def test_attention_with_scaled_sides_and_other_value_width(monkeypatch):
    nodes = [
        N("Mul", ["q", "c"], ["qs"]),
        N("Mul", ["c", "k"], ["ks"]),
        N("MatMul", ["qs", "ks"], ["s0"]),
        *attention()[1:],
    ]
    shapes = HEADS | {"v": [2, 3, 7, 6]}
    values = {name: torch.randn(shape) for name, shape in shapes.items()}
    same(monkeypatch, graph(nodes, {"c": 0.7}, shapes), "Attention", **values)


def test_a_mask_before_the_scale_is_no_attention():
    middle = [N("Add", ["s0", "mask"], ["s1"]), N("Mul", ["s1", "c"], ["s2"])]
    copy = shadow_copy(graph(attention(*middle), {"c": 0.3, "mask": np.ones((5, 7))}, HEADS))
    q, k, v = (torch.randn(shape) for shape in HEADS.values())
    torch.testing.assert_close(copy(q, k, v)[0], torch.softmax((q @ k + 1) * 0.3, -1) @ v)


def test_weights_that_somebody_reads_are_kept():
    model = graph(attention(), {}, HEADS)
    copy = shadow_copy(model, outputs=("p", "y"))
    q, k, v = (torch.randn(shape) for shape in HEADS.values())
    p, y = copy(q, k, v)
    torch.testing.assert_close(p, torch.softmax(q @ k, -1))
    torch.testing.assert_close(y, p @ v)


@pytest.mark.parametrize(
    ("family", "expected"),
    [(ConvNeXtLike, {"Gelu", "Linear"}), (ViTBlock, {"Gelu", "Linear", "Attention"}), (ShiftedWindows, {"Attention"})],
)
@pytest.mark.parametrize("opset", [13, 17])
def test_exported_networks_are_fused_and_unchanged(monkeypatch, family, expected, opset):
    model = export(build(family), opset, dynamic=True)
    fused, plain = shadow_copy(model), unfused(monkeypatch, model)
    assert {f"singaudit:{kind}" for kind in expected} <= set(kinds(fused))
    if opset < 17:
        assert "singaudit:LayerNorm" in kinds(fused)
    (a, a_gradient), (b, b_gradient) = gradient(fused, images()), gradient(plain, images())
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert cosine(a_gradient, b_gradient) > 0.99999
