"""Layers inside a network whose weights are packed into few bits: the copy computes what ONNX Runtime does."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from head_graphs import Build

from singaudit.classifier.shadow.module import shadow_copy

MS = "com.microsoft"


def packed_layer(g, data, m, n, bits, block, zeros):
    blocks = -(-m // block)
    whole = g.random.integers(0, 256, (n, blocks, block * bits // 8)).astype(np.uint8)
    scale = (g.random.random((n, blocks)) * 0.02 + 0.01).astype(np.float32)
    zero = g.const(g.random.integers(0, 256, (n, -(-blocks * bits // 8))).astype(np.uint8)) if zeros else ""
    inputs = [data, g.const(whole), g.const(scale), zero, "", g.const(g.weight(n))]
    return g.node("MatMulNBits", *inputs, domain=MS, K=m, N=n, bits=bits, block_size=block)


def block_layer(g, data, m, n, element):
    low = -8 if element == onnx.TensorProto.INT4 else 0
    dtype = onnx.helper.tensor_dtype_to_np_dtype(element)
    names = [
        g.const(g.random.integers(low, low + 16, (m, n)).astype(dtype)),
        g.const((g.random.random((m // 16, n)) * 0.02 + 0.01).astype(np.float32)),
        g.const(g.random.integers(low, low + 16, (m // 16, n)).astype(dtype)),
    ]
    return g.node("MatMul", data, g.node("DequantizeLinear", *names, axis=0, block_size=16))


LAYERS = {
    **{
        f"MatMulNBits {bits} {zeros}": (lambda b, z: lambda g, f: packed_layer(g, f, 40, 24, b, 16, z))(bits, zeros)
        for bits in (2, 4, 8)
        for zeros in (True, False)
    },
    "int4": lambda g, f: block_layer(g, f, 32, 24, onnx.TensorProto.INT4),
    "uint4": lambda g, f: block_layer(g, f, 32, 24, onnx.TensorProto.UINT4),
}


def run(model, feeds):
    """By ONNX Runtime without its optimiser, which lets products with 4-bit weights round what they multiply."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, feeds)[0]


@pytest.mark.parametrize("kind", LAYERS)
def test_values_are_onnx_runtimes_and_the_gradient_is_the_weights(kind):
    g, m = Build(opset=21), 40 if kind.startswith("MatMulNBits") else 32
    features = g.features(m)
    y = LAYERS[kind](g, features)
    model = g.model(y, features)
    model.ir_version = 10
    images = g.random.standard_normal((3, 3, 8, 8)).astype(np.float32)
    expected = run(model, {"x": images})
    found = shadow_copy(model)(torch.from_numpy(images))[0].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    # Linear in the features: the gradient is what a whole step in one of them moves.
    tail = onnx.utils.Extractor(model).extract_model([features], [y])
    rows = g.random.standard_normal((3, m)).astype(np.float32)
    moved = run(tail, {features: rows + np.eye(m, dtype=np.float32)[5]}) - run(tail, {features: rows})
    leaf = torch.from_numpy(rows).requires_grad_()
    shadow_copy(tail)(leaf)[0][:, 3].sum().backward()
    np.testing.assert_allclose(leaf.grad[:, 5].numpy(), moved[:, 3], atol=1e-5 * np.abs(expected).max())
