"""The certificate passes right copies, and fails those that compute something else or have wrong gradients."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from shadow_models import (
    FAMILIES,
    Gates,
    InvertedResidual,
    ShiftedWindows,
    ViTBlock,
    build,
    export,
    gradient,
    images,
    quantised,
)

from singaudit.classifier.shadow import carriers, module
from singaudit.classifier.shadow.certificate import certify
from singaudit.classifier.shadow.module import ShadowCopy, shadow_copy
from singaudit.errors import ModelError


@pytest.mark.parametrize("family", FAMILIES)
def test_right_copies_pass_on_noise_and_on_images(family):
    model = export(build(family), dynamic=True)
    certificate = certify(model)
    assert certificate.status == "passed", certificate.reason
    assert certificate.ran_on == "noise"
    assert certificate.precision == "fp32"
    assert certificate.max_logit_difference <= 1e-5
    assert certificate.max_logit_difference == min(certificate.difference_unoptimised, certificate.difference_optimised)
    assert certificate.top1_agreement == 1.0
    assert certificate.gradient_cosine > 0.99
    again = certify(model, shadow_copy(model), images(11).numpy(), seed=3)
    assert (again.status, again.ran_on) == ("passed", "11 probe images")


def test_the_same_seed_gives_the_same_certificate():
    model = export(build(InvertedResidual))
    assert certify(model, seed=5) == certify(model, seed=5)


@pytest.mark.parametrize("form", ["QDQ", "QOperator", "dynamic"])
def test_int8_models_pass_with_their_own_tolerances(form, tmp_path):
    model = quantised(export(build(Gates)), form, tmp_path)
    for gradients in (None, 1):
        certificate = certify(model, gradients=gradients)
        assert certificate.precision == "int8"
        assert certificate.status == "passed", certificate.reason


def test_an_int8_graph_that_says_something_else_without_its_rounding_fails(tmp_path):
    """Its gradient is right for a function that does not follow the model, so that it must not pass."""
    model = quantised(export(build(Gates)), "QDQ", tmp_path)

    class Unfaithful(Tampered):
        def forward(self, *inputs):
            smooth = carriers.round_straight_through(torch.tensor(0.5)) == 0.5
            return tuple(value.flip(1) if smooth else value for value in ShadowCopy.forward(self, *inputs))

    certificate = certify(model, Unfaithful(shadow_copy(model).plan))
    assert certificate.status == "failed"
    assert "without its rounding vary otherwise" in certificate.reason


def test_a_certificate_of_few_images_follows_shapes_once_and_keeps_to_its_passes(monkeypatch):
    """One image at a time, of one shape: 2 of the copy, the first of which the gradient is of, and 3 to 9 in float64,
    whose shapes are known by then."""
    model = export(build(InvertedResidual), dynamic=True)
    followed, passed = [], []
    follow, run = module.shape_values, ShadowCopy._run

    def running(copy, values):
        passed.append((values[0].dtype, len(values[0])))
        return run(copy, values)

    monkeypatch.setattr(module, "shape_values", lambda *asked: followed.append(1) or follow(*asked))
    monkeypatch.setattr(ShadowCopy, "_run", running)
    assert certify(model, inputs=images(2).numpy(), gradients=1).status == "passed"
    assert (len(followed), passed.count((torch.float32, 1))) == (1, 2)
    assert 3 <= passed.count((torch.float64, 1)) == len(passed) - 2 <= 9


@pytest.mark.parametrize("following", [True, False])
def test_a_copy_that_is_wrong_in_one_of_its_two_passes_fails(following):
    """Of few images one is passed with a gradient to follow, the others without: both are compared."""
    model = export(build(InvertedResidual), dynamic=True)
    wrong = tampered(model, lambda y: y * 1.01 if y.requires_grad == following else y)
    certificate = certify(model, wrong, inputs=images(2).numpy(), gradients=1)
    assert certificate.status == "failed"
    assert "outputs differ" in certificate.reason


def test_a_certificate_imports_no_compiler_of_its_own(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(export(build(Gates)), path)
    code = f"""
import sys
from singaudit.classifier.shadow.certificate import certify
assert certify({str(path)!r}).status == "passed"
sys.exit(any(name in sys.modules for name in ("torch._dynamo", "sympy")))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class Tampered(ShadowCopy):
    """A copy whose values or gradients are wrong."""

    tamper = staticmethod(lambda value: value)

    def forward(self, *inputs):
        return tuple(self.tamper(value) for value in super().forward(*inputs))


def tampered(model, tamper):
    copy = Tampered(shadow_copy(model).plan)
    copy.tamper = tamper
    return copy


@pytest.mark.parametrize("gradients", [None, 1])
def test_wrong_values_fail(gradients):
    model = export(build(InvertedResidual))
    certificate = certify(model, tampered(model, lambda y: y * 1.01), gradients=gradients)
    assert certificate.status == "failed"
    assert "outputs differ" in certificate.reason
    # Both modes of the runtime are far from what the copy says in float64, the copy is not: it means what it says.
    found = re.search(r"in float64: (\S+) \(copy\), (\S+) \(unoptimised\), (\S+) \(optimised\)", certificate.reason)
    copied, plain, optimised = (float(share) for share in found.groups())
    assert copied < 1e-6 < 1e-3 < min(plain, optimised)


def test_wrong_classes_fail():
    model = export(build(InvertedResidual))
    certificate = certify(model, tampered(model, lambda y: y.flip(1)))
    assert certificate.top1_agreement < 0.99
    assert "top classes" in certificate.reason


@pytest.mark.parametrize("gradients", [None, 1])
@pytest.mark.parametrize("factor", [-1.0, 0.0])
def test_right_values_with_wrong_gradients_fail(factor, gradients):
    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return factor * gradient

    model = export(build(ViTBlock))
    certificate = certify(model, tampered(model, Wrong.apply), gradients=gradients)
    assert certificate.status == "failed"
    assert certificate.max_logit_difference <= 1e-5
    assert "gradients agree" in certificate.reason


class _Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient / 2


@pytest.mark.parametrize("family", [InvertedResidual, ShiftedWindows])
def test_an_operator_whose_backward_pass_is_halved_is_found(family):
    """In every operator in turn; the certificate must fail wherever that changes the gradient by 15 % or more."""
    model, x = export(build(family)), images(2)
    expected = gradient(shadow_copy(model), x)[1]
    found = 0
    for index in range(len(shadow_copy(model)._fixed.program.instructions)):
        copy = shadow_copy(model)
        instructions = copy._fixed.program.instructions
        kernel = instructions[index].kernel

        def halved(*arguments, kernel=kernel):
            value = kernel(*arguments)
            return _Scaled.apply(value) if isinstance(value, torch.Tensor) and value.requires_grad else value

        instructions[index] = instructions[index]._replace(kernel=halved)
        wrong = gradient(copy, x)[1]
        certificate = certify(model, copy, x.numpy())
        error = float((wrong - expected).norm() / expected.norm())
        if error > 0.15:
            found += 1
            assert certificate.status == "failed", (instructions[index].label, error)
            assert "gradients" in certificate.reason
        elif error == 0:
            assert certificate.status == "passed", certificate.reason
    assert found >= 5


def test_outputs_that_hardly_depend_on_the_image_have_a_gradient_that_passes():
    """Their variation drowns in float32, in which no step of a difference could show the slope."""
    network = build(InvertedResidual)
    with torch.no_grad():
        list(network.modules())[-1].weight.mul_(1e-7)
        list(network.modules())[-1].bias.copy_(torch.linspace(-1, 1, 5))
    certificate = certify(export(network))
    assert certificate.status == "passed", certificate.reason
    assert certificate.gradient_cosine > 0.99
    copy = shadow_copy(export(network))
    wrong = certify(export(network), tampered(export(network), lambda y: y.detach() + 0 * y))
    assert (wrong.status, copy.batch) == ("failed", 2)


def test_outputs_that_vary_otherwise_between_images_fail_however_close_they_are():
    network = build(InvertedResidual)
    with torch.no_grad():
        list(network.modules())[-1].weight.mul_(0.1)
        list(network.modules())[-1].bias.copy_(torch.linspace(-100, 100, 5))
    certificate = certify(export(network), tampered(export(network), lambda y: y.mean(0, keepdim=True).expand_as(y)))
    assert certificate.max_logit_difference <= 1e-4
    assert "vary otherwise between images" in certificate.reason


def test_gradients_of_half_the_image_fail():
    model = export(build(ViTBlock))
    right = shadow_copy(model)

    class Half(Tampered):
        def forward(self, x):
            blocked = torch.cat([x[..., :16].detach(), x[..., 16:]], -1)
            return right(blocked)

    assert "gradients agree" in certify(model, Half(right.plan)).reason


def one_node(node, shape=(1, 4), element=TensorProto.FLOAT, constants=()):
    graph = helper.make_graph(
        [node],
        "graph",
        [helper.make_tensor_value_info("x", element, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_unsupported_graphs_say_what_they_hold():
    certificate = certify(one_node(helper.make_node("RandomNormalLike", ["x"], ["y"])))
    assert certificate.status == "unsupported"
    assert certificate.unsupported == ("RandomNormalLike: draws random numbers, so no result could be repeated",)


def test_noise_needs_a_size():
    model = one_node(helper.make_node("Relu", ["x"], ["y"]), ("n", 3, "h", "w"))
    with pytest.raises(ModelError, match="no fixed size"):
        certify(model)
    assert certify(model, inputs=np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype("f")).status == "passed"


def test_integer_inputs_that_are_no_pixels_are_compared_without_gradients():
    node = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)
    certificate = certify(one_node(node, ("n", 4), TensorProto.INT32))
    assert (certificate.status, certificate.gradient_cosine) == ("passed", None)


def taking_pixels(model):
    """The same network with 8-bit pixels, last axis the channels, as its input."""
    old = model.graph.input[0].name
    before = [
        helper.make_node("Transpose", ["pixels"], ["turned"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["turned"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "by"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "one"], [old]),
    ]
    nodes, shape = [*before, *model.graph.node], model.graph.input[0].type.tensor_type.shape.dim
    n, c, h, w = (d.dim_value or d.dim_param for d in shape)
    del model.graph.node[:], model.graph.input[:]
    model.graph.node.extend(nodes)
    model.graph.input.append(helper.make_tensor_value_info("pixels", TensorProto.UINT8, [n, h, w, c]))
    numbers = (("by", 1 / 127.5), ("one", 1.0))
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(v, np.float32), k) for k, v in numbers)
    return model


@pytest.mark.parametrize("family", [InvertedResidual, ViTBlock, Gates])
def test_gradients_of_8_bit_pixels_are_checked_by_whole_levels(family):
    model = taking_pixels(export(build(family)))
    certificate = certify(model)
    assert certificate.status == "passed", certificate.reason
    assert certificate.gradient_cosine > 0.99
    right = shadow_copy(model)

    class Half(Tampered):
        def forward(self, x):
            if not x.is_floating_point():
                return right(x)
            return right(torch.cat([x[:, :, :16].detach(), x[:, :, 16:]], 2))

    wrong = certify(model, Half(right.plan))
    assert "gradients agree" in wrong.reason
    assert wrong.max_logit_difference <= 1e-5


def test_gradients_of_quantised_models_that_take_8_bit_pixels_are_checked(tmp_path):
    certificate = certify(taking_pixels(onnx.load(quantised(export(build(Gates)), "QDQ", tmp_path))))
    assert (certificate.status, certificate.precision) == ("passed", "int8"), certificate.reason
    assert certificate.gradient_cosine > 0.9


def test_intermediate_outputs_can_be_certified(tmp_path):
    model = export(build(InvertedResidual))
    features = model.graph.node[-1].input[0]
    before = model.SerializeToString()
    assert certify(model, shadow_copy(model, outputs=(features, "logits"))).status == "passed"
    assert model.SerializeToString() == before
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert certify(path, shadow_copy(path, outputs=(features,))).status == "passed"
