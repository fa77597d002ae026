"""Graphs changed at random: what the copy computes is what ONNX Runtime computes, or it refuses."""

from __future__ import annotations

import copy
import random

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import AttributeProto, helper, numpy_helper
from shadow_models import FAMILIES, build, export, images

from singaudit.classifier.shadow.module import shadow_copy
from singaudit.errors import SingauditError

pytestmark = pytest.mark.faults

ROUNDS = 150
INTEGERS = (0, 1, 2, 3, -1, 9)
TEXTS = (
    b"SAME_UPPER",
    b"SAME_LOWER",
    b"VALID",
    b"NOTSET",
    b"linear",
    b"cubic",
    b"nearest",
    b"reflect",
    b"edge",
    b"tanh",
)
OTHERS = {
    "Relu": ("Elu", "Selu", "Softplus", "HardSwish", "Mish", "Sigmoid", "Erf", "Abs", "Gelu"),
    "Add": ("Sub", "Mul", "Div", "Max", "Min", "Pow"),
    "Mul": ("Add", "Sub", "Div", "Max"),
    "Sub": ("Add", "Max"),
    "MaxPool": ("AveragePool", "LpPool"),
    "GlobalAveragePool": ("GlobalMaxPool", "GlobalLpPool"),
    "ReduceMean": ("ReduceSum", "ReduceMax", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSumExp"),
    "Softmax": ("LogSoftmax", "Hardmax"),
    "Sigmoid": ("Tanh", "HardSigmoid"),
    "HardSwish": ("Mish",),
    "Erf": ("Tanh",),
}
MORE = {"ceil_mode": 1, "count_include_pad": 1, "dilations": [2, 2], "auto_pad": "SAME_UPPER", "axis": 1, "alpha": 0.3,
        "keepdims": 0, "transA": 1, "p": 3, "exclude_outside": 1, "axes": [1]}  # fmt: skip


def change_attribute(attribute, chance):
    if attribute.type == AttributeProto.INT:
        attribute.i = chance.choice((*INTEGERS, attribute.i + 1, -attribute.i))
    elif attribute.type == AttributeProto.FLOAT:
        attribute.f = chance.choice((0.0, 1.0, -1.0, attribute.f * 2))
    elif attribute.type == AttributeProto.STRING:
        attribute.s = chance.choice(TEXTS)
    elif attribute.type == AttributeProto.INTS and attribute.ints:
        place = chance.randrange(len(attribute.ints))
        changed = list(attribute.ints)
        chance.choice(
            (
                lambda: changed.__setitem__(place, chance.choice(INTEGERS)),
                lambda: chance.shuffle(changed),
                lambda: changed.append(1),
                lambda: changed.pop(place),
            )
        )()
        attribute.ints[:] = changed


def change(model, chance):
    """One to three changes to attributes, constants, operators and edges."""
    graph = model.graph
    for _ in range(chance.choice((1, 1, 2, 3))):
        node = chance.choice(graph.node)
        what = chance.randrange(7)
        if what <= 2 and node.attribute:
            change_attribute(chance.choice(node.attribute), chance)
        elif what == 3:
            node.op_type = chance.choice(OTHERS.get(node.op_type, (node.op_type,)))
        elif what == 4:
            name = chance.choice(list(MORE))
            node.attribute.append(helper.make_attribute(name, MORE[name]))
        elif what == 5 and node.input:
            names = [name for other in graph.node for name in other.output] + [item.name for item in graph.initializer]
            node.input[chance.randrange(len(node.input))] = chance.choice(names)
        elif what == 6 and graph.initializer:
            tensor = chance.choice(graph.initializer)
            array = numpy_helper.to_array(tensor).copy()
            if array.dtype == np.int64 and array.size:
                array.flat[chance.randrange(array.size)] = chance.choice(INTEGERS)
            elif array.ndim > 1:
                array = np.ascontiguousarray(array.swapaxes(0, 1))
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return model


def deployed(model, x):
    """What ONNX Runtime computes without its optimisation; None where it refuses."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    quiet = onnxruntime.RunOptions()
    quiet.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return session.run(None, {session.get_inputs()[0].name: x.numpy()}, quiet)[0]
    except Exception:
        return None


def same(ours, theirs):
    if ours.shape != theirs.shape:
        return False
    finite = np.isfinite(ours) & np.isfinite(theirs)
    if not finite.any():
        return True
    scale = max(float(np.ptp(theirs[finite])), 1e-3 * float(np.abs(theirs[finite]).max()), 1e-6)
    return float(np.abs(ours[finite].astype(np.float64) - theirs[finite]).max()) < 1e-2 * scale


@pytest.mark.parametrize("family", FAMILIES)
def test_a_changed_graph_gives_the_runtimes_numbers_or_is_refused(family, tmp_path):
    onnxruntime.set_default_logger_severity(4)
    bases = [export(build(family)), export(build(family), 13, fold=True), export(build(family), dynamic=True)]
    chance, x = random.Random(family.__name__), images(2)
    compared = refused = 0
    for _ in range(ROUNDS):
        model = change(copy.deepcopy(chance.choice(bases)), chance)
        try:
            with torch.no_grad():
                ours = shadow_copy(model)(x)[0].numpy()
        except SingauditError:
            refused += 1
            continue
        theirs = deployed(model, x)
        if theirs is not None:
            compared += 1
            if not same(ours, theirs):
                onnx.save(model, tmp_path / "wrong.onnx")
                pytest.fail(f"the copy computes something else than ONNX Runtime: {tmp_path / 'wrong.onnx'}")
    assert compared > ROUNDS / 6
    assert refused > ROUNDS / 12
