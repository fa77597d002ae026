"""Copies of exported networks compute what the networks compute, forward and backward."""

from __future__ import annotations

import os
from copy import deepcopy
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper
from shadow_models import (
    FAMILIES,
    ConvNeXtLike,
    Grouped,
    InvertedResidual,
    ViTBlock,
    build,
    cosine,
    export,
    gradient,
    images,
    quantised,
    range_share,
)

from singaudit.classifier.graph.apart import set_apart
from singaudit.classifier.graph.session import make_session
from singaudit.classifier.shadow import carriers
from singaudit.classifier.shadow.certificate import certify
from singaudit.classifier.shadow.module import shadow_copy
from singaudit.classifier.shadow.operators.convolution import convolve
from singaudit.classifier.shadow.operators.registry import Site
from singaudit.errors import ModelError


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("opset", "dynamic", "fold"), [(13, False, True), (17, True, True), (17, False, False)])
def test_values_and_gradients_are_those_of_the_native_module(family, opset, dynamic, fold):
    network = build(family)
    copy = shadow_copy(export(network, opset, dynamic, fold))
    for count in (2, 3) if dynamic else (2,):
        x = images(count)
        (expected, expected_gradient), (value, grad) = gradient(network, x), gradient(copy, x)
        assert range_share(value, expected) < 1e-4
        assert cosine(grad, expected_gradient) > 0.9999


@pytest.mark.parametrize("family", FAMILIES)
def test_the_callers_model_is_left_untouched(family):
    model = export(build(family))
    before = model.SerializeToString(deterministic=True)
    shadow_copy(model)(images())
    assert model.SerializeToString(deterministic=True) == before


def test_weights_take_no_gradient_and_the_state_moves_with_the_module():
    copy = shadow_copy(export(build(InvertedResidual)))
    assert not list(copy.parameters())
    assert all(not buffer.requires_grad for buffer in copy.buffers())
    assert copy.to("cpu")(images())[0].shape == (2, 5)


def test_a_copy_made_in_inference_mode_still_has_gradients_later():
    network = build(ViTBlock)
    with torch.inference_mode():
        copy = shadow_copy(export(network, dynamic=True))
        copy(images())
    assert cosine(gradient(copy, images())[1], gradient(network, images())[1]) > 0.9999


def test_intermediate_tensors_can_be_read():
    model = export(build(InvertedResidual))
    features = model.graph.node[-1].input[0]
    copy = shadow_copy(model, outputs=(features, "logits"))
    read, logits = copy(images())
    head = [onnx.numpy_helper.to_array(t) for t in model.graph.initializer if t.name.startswith("head")]
    weight, bias = sorted(head, key=lambda array: -array.ndim)
    np.testing.assert_allclose(read.numpy() @ weight.T + bias, logits.numpy(), atol=1e-5)
    assert copy.output_names == (features, "logits")


def test_an_unknown_tensor_is_named():
    with pytest.raises(ModelError, match="no tensor named nowhere"):
        shadow_copy(export(build(InvertedResidual)), outputs=("nowhere",))


def test_inputs_that_do_not_fit_are_refused():
    copy = shadow_copy(export(build(InvertedResidual)))
    with pytest.raises(ModelError, match="2x3x32x32"):
        copy(torch.zeros(2, 3, 16, 16))
    with pytest.raises(ModelError, match=r"arrived as torch\.int64"):
        copy(torch.zeros(2, 3, 32, 32, dtype=torch.int64))
    with pytest.raises(ModelError, match="takes 1 inputs"):
        copy()


def test_external_data_is_found_beside_the_file(tmp_path):
    network = build(ViTBlock)
    path = tmp_path / "model.onnx"
    onnx.save(export(network), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert range_share(shadow_copy(path)(images())[0], network(images())) < 1e-5
    with pytest.raises(ModelError, match="another file"):
        shadow_copy(onnx.load(path, load_external_data=False))
    os.remove(tmp_path / "weights.bin")
    with pytest.raises(ModelError, match="is missing"):
        shadow_copy(path)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="what is mapped can be seen on Linux alone")
def test_mapped_weights_stay_in_their_file_which_nobody_changes(tmp_path):
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(images()[0].numel(), 64))
    onnx.save(export(network), tmp_path / "model.onnx")
    path = set_apart(tmp_path / "model.onnx", tmp_path / "apart")
    weights = path.parent / "weights"
    before = weights.read_bytes()
    read = shadow_copy(path)
    assert str(weights) not in Path("/proc/self/maps").read_text()
    mapped = shadow_copy(path, mapped=True)
    assert str(weights) in Path("/proc/self/maps").read_text()
    assert torch.equal(mapped(images())[0], read(images())[0])
    for buffer in mapped.buffers():
        buffer.zero_()
    assert not mapped(images())[0].any()
    assert weights.read_bytes() == before


def test_nodes_in_any_order_are_sorted():
    model = export(build(ViTBlock))
    expected = shadow_copy(model)(images())[0]
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    assert torch.equal(shadow_copy(model)(images())[0], expected)


@pytest.mark.parametrize("family", [InvertedResidual, ViTBlock])
@pytest.mark.parametrize("keep_io", [True, False])
def test_half_precision_graphs_run_in_float32(family, keep_io):
    from onnxruntime.transformers.float16 import convert_float_to_float16

    network = build(family)
    model = convert_float_to_float16(export(network), keep_io_types=keep_io)
    copy = shadow_copy(model)
    value, grad = gradient(copy, images())
    expected, expected_gradient = gradient(network, images())
    assert value.dtype == torch.float32
    assert range_share(value, expected) < 2e-2
    assert cosine(grad, expected_gradient) > 0.99
    assert copy(images().half())[0].dtype == torch.float32
    certificate = certify(model, copy)
    assert (certificate.status, certificate.precision) == ("passed", "fp16"), certificate


def exact_session(path):
    """ONNX Runtime without overflow on any processor; not optimised where its exact products lack kernels."""
    try:
        return make_session(str(path), None)
    except ModelError:
        return make_session(str(path), None, mode="unoptimised")


@pytest.mark.parametrize("form", ["QDQ", "QOperator", "dynamic"])
@pytest.mark.parametrize("family", [InvertedResidual, ViTBlock])
def test_int8_graphs_have_straight_through_gradients(family, form, tmp_path):
    network = build(family)
    path = quantised(export(network), form, tmp_path)
    copy = shadow_copy(path)
    value, grad = gradient(copy, images())
    session = exact_session(path)
    expected = torch.from_numpy(session.run(None, {"image": images().numpy()})[0])
    assert range_share(value, expected) < 6e-2
    assert cosine(grad, gradient(network, images())[1]) > 0.9


@pytest.mark.parametrize("form", ["QDQ", "QOperator", "dynamic"])
def test_int8_gradients_are_those_of_the_graph_without_its_rounding(form, tmp_path):
    copy = shadow_copy(quantised(export(build(InvertedResidual)), form, tmp_path))
    value, grad = gradient(copy, images())
    with carriers.without_rounding():
        smooth, expected = gradient(copy, images())
    assert torch.equal(value, copy(images())[0])
    assert not torch.equal(value, smooth)
    torch.testing.assert_close(grad, expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_files_that_onnx_runtime_optimised_are_copied(family, tmp_path):
    network = build(family)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(export(network).SerializeToString(), options, providers=["CPUExecutionProvider"])
    value, grad = gradient(shadow_copy(tmp_path / "optimised.onnx"), images())
    expected, expected_gradient = gradient(network, images())
    assert range_share(value, expected) < 1e-4
    assert cosine(grad, expected_gradient) > 0.999


@pytest.mark.parametrize("family", FAMILIES)
def test_copies_compute_in_float64_when_they_are_told_to(family):
    network = build(family)
    copy = shadow_copy(export(network, dynamic=True))
    narrow = copy(images())[0]
    wide, (expected, expected_gradient) = copy.in_float64(), gradient(deepcopy(network).double(), images().double())
    assert [b.data_ptr() for b in wide.buffers()] == [b.data_ptr() for b in copy.buffers()]  # widened as they are read
    value, grad = gradient(wide, images().double())
    assert value.dtype == grad.dtype == torch.float64
    # Exporters fold batch normalisation into weights in float32.
    assert range_share(value, expected) < 1e-7
    assert cosine(grad, expected_gradient) > 1 - 1e-10
    assert torch.equal(copy(images())[0], narrow)
    assert torch.equal(copy.double()(images())[0], wide(images())[0])
    assert torch.equal(copy.float()(images())[0], narrow)
    with pytest.raises(ModelError, match="float32 or float64"):
        copy.half()


def test_dynamic_quantisation_has_the_gradient_of_the_identity():
    """At the ends of its range as well, where a rounded zero point clips: of 12 values two are ends."""
    graph = helper.make_graph(
        [
            helper.make_node("DynamicQuantizeLinear", ["x"], ["whole", "scale", "zero"]),
            helper.make_node("DequantizeLinear", ["whole", "scale", "zero"], ["y"]),
        ],
        "graph",
        [helper.make_tensor_value_info("x", 1, (1, 12))],
        [helper.make_tensor_value_info("y", 1, (1, 12))],
    )
    copy = shadow_copy(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    for seed in range(5):
        leaf = torch.randn(1, 12, generator=torch.Generator().manual_seed(seed)).requires_grad_()
        value = copy(leaf)[0]
        value.sum().backward()
        assert not torch.equal(value, leaf)
        torch.testing.assert_close(leaf.grad, torch.ones(1, 12))


@pytest.mark.parametrize(("family", "form"), [(InvertedResidual, ""), (Grouped, ""), (ConvNeXtLike, "QDQ")])
def test_static_graphs_compile_as_one(family, form, tmp_path):
    """Arithmetic on shapes (Grouped) and quantisation (QDQ) included."""
    torch.compiler.reset()
    model = export(build(family))
    copy = shadow_copy(quantised(model, form, tmp_path) if form else model)
    compiled = torch.compile(copy, backend="aot_eager", fullgraph=True)
    (value, grad), (expected, expected_gradient) = gradient(compiled, images()), gradient(copy, images())
    assert range_share(value, expected) < 1e-6
    assert cosine(grad, expected_gradient) > 0.9999


def test_sizes_that_a_quantiser_rounded_stay_rounded_whatever_is_left_out_first():
    """Quantisers also quantise arithmetic on shapes; sizes are kept per input shape, from its first sight on."""
    nodes = [
        helper.make_node("Shape", ["x"], ["size"], start=1),
        helper.make_node("Cast", ["size"], ["width"], to=1),
        helper.make_node("QuantizeLinear", ["width", "step", "zero"], ["whole"]),
        helper.make_node("DequantizeLinear", ["whole", "step", "zero"], ["near"]),
        helper.make_node("Cast", ["near"], ["end"], to=7),
        helper.make_node("Slice", ["x", "start", "end", "axis"], ["y"]),
    ]
    constants = {"step": np.float32(4), "zero": np.uint8(0), "start": np.int64([0]), "axis": np.int64([1])}
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", 1, ("n", "w"))],
        [helper.make_tensor_value_info("y", 1, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    copy, x = shadow_copy(model), torch.randn(2, 10)
    with carriers.without_rounding():
        assert copy(x)[0].shape == (2, 8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert copy(x)[0].shape == session.run(None, {"x": x.numpy()})[0].shape == (2, 8)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("kernel", "stride", "pads", "dilation"),
    [((3, 3), (1, 1), (1, 1), (1, 1)), ((5, 5), (2, 2), (2, 2), (1, 1)), ((1, 7), (1, 2), (0, 3), (1, 2))],
)
def test_depthwise_convolutions_in_float64_are_those_of_torch(kernel, stride, pads, dilation, bias):
    torch.manual_seed(0)
    network = torch.nn.Conv2d(200, 200, kernel, stride, pads, dilation, groups=200, bias=bias).double()
    x = torch.randn(2, 200, 41, 38, dtype=torch.float64)
    stated = {"group": 200, "strides": [*stride], "pads": [*pads, *pads], "dilations": [*dilation]}
    kernel = convolve(Site("Conv", 17, stated, (1, 1, 1), (1,), (True,)))
    with torch.no_grad():
        found = kernel(x, *(parameter.detach() for parameter in network.parameters()))
        torch.testing.assert_close(found, network(x), rtol=1e-13, atol=1e-13)
