"""Shapes are followed without computing: what a dry run takes for an operator's result has its shape and its type."""

import subprocess
import sys

import backend_suite
import onnx
import pytest
import torch
from onnx import numpy_helper
from shadow_models import FAMILIES, Gates, build, export, images, quantised

from singaudit.classifier.shadow import tracing
from singaudit.classifier.shadow.module import shadow_copy
from singaudit.classifier.shadow.operators import registry
from singaudit.classifier.shadow.program import depends_on_shapes, to_host


def several(value):
    return value if isinstance(value, tuple) else (value,)


def followed(model, *inputs):
    """How many steps of a copy were compared, each called on what the ones before really gave."""
    plan = shadow_copy(model).plan
    apart = depends_on_shapes(plan.steps, plan.constants, plan.input_values)
    values = {**plan.constants, **dict(zip(plan.input_values, inputs, strict=True))}
    compared = 0
    for position, step in enumerate(plan.steps):
        real = [
            None if not name else to_host(values[name]) if index in step.host else values[name]
            for index, name in enumerate(step.inputs)
        ]
        expected = several(step.kernel(*real))
        if position not in apart:
            meta = [tracing._like(v, v.dtype) if isinstance(v, torch.Tensor) else v for v in real]
            for ours, theirs in zip(several(tracing._on_meta_called(step, meta)), expected, strict=True):
                assert (ours.shape, ours.dtype, ours.device.type) == (theirs.shape, theirs.dtype, "meta"), step.label
                compared += 1
        values.update(zip(step.outputs, expected, strict=False))
    return compared


@pytest.mark.parametrize("family", FAMILIES)
def test_every_step_of_a_network_has_the_shape_that_is_followed(family):
    assert followed(export(build(family), dynamic=True), images()) > 5


def test_every_step_of_a_quantised_network_has_the_shape_that_is_followed(tmp_path):
    assert followed(quantised(export(build(Gates)), "QDQ", tmp_path), images()) > 5


def test_operators_that_are_said_to_keep_a_shape_do():
    """On the official tests of those operators, and of convolutions, whose shapes are computed here."""
    kept = {kind for (_, kind), entries in registry._TABLE.items() for entry in entries if entry.keeps}
    compared = set()
    for case in backend_suite.cases():
        kinds = {node.op_type for node in case.model.graph.node}
        if len(case.model.graph.node) > 1 or not kinds <= {*kept, "Conv"} or case.name.endswith("_expanded"):
            continue
        inputs = case.data_sets[0][0]
        arrays = [numpy_helper.to_array(v) if isinstance(v, onnx.TensorProto) else v for v in inputs]
        try:
            followed(case.model, *(torch.from_numpy(array.copy()) for array in arrays))
        except (NotImplementedError, TypeError):  # unsupported, or of a type that torch has none for
            continue
        compared |= kinds
    assert compared >= {
        "Conv",
        "Clip",
        "Relu",
        "Sigmoid",
        "Softmax",
        "LayerNormalization",
        "BatchNormalization",
        "Gelu",
    }


def test_a_certificate_does_without_what_torch_computes_of_shapes_in_python(tmp_path):
    """Of networks of usual operators; what needs it brings it."""
    transposed = torch.nn.Sequential(torch.nn.ConvTranspose2d(3, 3, 1), build(FAMILIES[0])).eval()
    paths = []
    for network in (*map(build, FAMILIES[:3]), transposed):
        paths.append(str(tmp_path / f"{len(paths)}.onnx"))
        onnx.save(export(network, dynamic=True), paths[-1])
    code = f"""
import sys
from singaudit.without_compiler import import_torch
import_torch()
from singaudit.classifier.shadow.certificate import certify
for path in {paths}:
    print(certify(path, gradients=1).status, "torch._meta_registrations" in sys.modules)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.stdout.split("\n") == ["passed False"] * 3 + ["passed True", ""], found.stderr
