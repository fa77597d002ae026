"""Graphs that are malformed, hostile or beyond scope are refused quickly, by name, before anything runs."""

from __future__ import annotations

import time

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from singaudit.classifier.shadow.module import shadow_copy
from singaudit.errors import ModelError, SingauditError, UnsupportedModelError


def info(name, shape=(1, 4), element=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, element, shape)


def model(nodes, initializers=(), inputs=None, outputs=("y",), functions=(), opset=17, extra=()):
    graph = helper.make_graph(
        list(nodes),
        "graph",
        inputs or [info("x")],
        [helper.make_empty_tensor_value_info(n) for n in outputs],
        list(initializers),
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in extra)]
    return helper.make_model(graph, opset_imports=opsets, functions=list(functions), ir_version=10)


def constant(name, values, dtype=np.int64):
    return numpy_helper.from_array(np.array(values, dtype), name)


@pytest.fixture(autouse=True)
def _quickly():
    start = time.process_time()  # on a busy machine a second of work may take ten
    yield
    assert time.process_time() - start < 10


def test_everything_unsupported_is_listed_at_once():
    nodes = [
        helper.make_node("GRU", ["x", "x", "x"], ["a"], hidden_size=3),
        helper.make_node("Relu", ["a"], ["b"], surprise=1),
        helper.make_node("Wonder", ["b"], ["c"], domain="example"),
        helper.make_node("RandomNormalLike", ["c"], ["d"]),
        helper.make_node("Conv", ["d", "x"], ["y"], auto_pad="SOMEHOW"),
    ]
    with pytest.raises(NotImplementedError) as caught:
        shadow_copy(model(nodes, extra=("example",)))
    assert isinstance(caught.value, SingauditError)
    text = str(caught.value)
    for part in (
        "GRU: operator not supported",
        "Relu: unknown attribute surprise",
        "example:Wonder",
        "random numbers",
        "SOMEHOW",
    ):
        assert part in text


@pytest.mark.parametrize("kind", ["RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial"])
def test_random_numbers_are_refused(kind):
    with pytest.raises(UnsupportedModelError, match="could be repeated"):
        shadow_copy(model([helper.make_node(kind, ["x"], ["y"])]))


def test_dropout_in_training_mode_is_refused_and_the_identity_otherwise():
    switch = [constant("ratio", 0.5, np.float32), constant("on", True, bool), constant("off", False, bool)]
    node = helper.make_node("Dropout", ["x", "ratio", "on"], ["y"])
    with pytest.raises(UnsupportedModelError, match="random numbers"):
        shadow_copy(model([node], switch))
    x = torch.randn(1, 4)
    node = helper.make_node("Dropout", ["x", "ratio", "off"], ["y"])
    assert torch.equal(shadow_copy(model([node], switch))(x)[0], x)


def test_what_nobody_reads_need_not_be_supported():
    nodes = [helper.make_node("GRU", ["x", "x", "x"], ["dead"], hidden_size=3), helper.make_node("Relu", ["x"], ["y"])]
    shadow_copy(model(nodes))


def test_an_opset_from_the_future_is_refused():
    with pytest.raises(UnsupportedModelError, match="opset 99"):
        shadow_copy(model([helper.make_node("Relu", ["x"], ["y"])], opset=99))


@pytest.mark.parametrize(
    "nodes",
    [
        [helper.make_node("ConstantOfShape", ["huge"], ["y"])],
        [helper.make_node("Expand", ["x", "tall"], ["y"])],
        [helper.make_node("Tile", ["x", "huge"], ["y"])],
        [helper.make_node("Pad", ["x", "pads"], ["y"])],
    ],
)
def test_terabyte_tensors_are_refused(nodes):
    huge = [constant("huge", [10**6, 10**6]), constant("tall", [10**10, 4]), constant("pads", [0, 0, 10**6, 10**7])]
    with pytest.raises(ModelError, match="limit"):
        shadow_copy(model(nodes, huge))(torch.zeros(1, 4))


def test_a_product_that_explodes_is_refused_before_it_is_computed():
    nodes = [helper.make_node("MatMul", ["column", "row"], ["big"]), helper.make_node("Add", ["big", "x"], ["y"])]
    inputs = [info("x", (1, 1)), info("column", (300_000, 1)), info("row", (1, 300_000))]
    copy = shadow_copy(model(nodes, inputs=inputs))
    with pytest.raises(ModelError, match="limit"):
        copy(torch.zeros(1, 1), torch.zeros(300_000, 1), torch.zeros(1, 300_000))


def test_huge_declared_sizes_are_refused():
    with pytest.raises(ModelError, match="limit"):
        shadow_copy(model([helper.make_node("Relu", ["x"], ["y"])], inputs=[info("x", (1, 10**13))]))
    hollow = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[10**7, 10**7])
    with pytest.raises(ModelError, match="limit"):
        shadow_copy(model([helper.make_node("Add", ["x", "w"], ["y"])], [hollow]))
    hollow = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1000])
    with pytest.raises(ModelError, match="cannot be read"):
        shadow_copy(model([helper.make_node("Add", ["x", "w"], ["y"])], [hollow]))


def function(name, nodes):
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    return helper.make_function("local", name, ["a"], ["b"], nodes, opsets)


def test_functions_that_call_themselves_are_refused():
    loop = function("F", [helper.make_node("F", ["a"], ["b"], domain="local")])
    with pytest.raises(ModelError, match="nested deeper"):
        shadow_copy(model([helper.make_node("F", ["x"], ["y"], domain="local")], functions=[loop], extra=("local",)))


def test_functions_that_multiply_are_refused():
    functions = [function("F0", [helper.make_node("Relu", ["a"], ["b"])])]
    for level in range(1, 30):
        calls = [helper.make_node(f"F{level - 1}", ["a"], ["t"], domain="local")]
        calls.append(helper.make_node(f"F{level - 1}", ["t"], ["b"], domain="local"))
        functions.append(function(f"F{level}", calls))
    with pytest.raises(ModelError, match="more than"):
        shadow_copy(
            model([helper.make_node("F29", ["x"], ["y"], domain="local")], functions=functions, extra=("local",))
        )


def test_nested_functions_are_inlined():
    functions = [
        function("Inner", [helper.make_node("Relu", ["a"], ["t"]), helper.make_node("Neg", ["t"], ["b"])]),
        function(
            "Outer", [helper.make_node("Inner", ["a"], ["t"], domain="local"), helper.make_node("Exp", ["t"], ["b"])]
        ),
    ]
    copy = shadow_copy(
        model([helper.make_node("Outer", ["x"], ["y"], domain="local")], functions=functions, extra=("local",))
    )
    x = torch.randn(1, 4)
    torch.testing.assert_close(copy(x)[0], torch.exp(-torch.relu(x)))


def loop_model(trips, constant_trips=True):
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Sin", ["state"], ["next"]),
        ],
        "body",
        [info("step", (), TensorProto.INT64), info("go", (), TensorProto.BOOL), info("state", (1, 4))],
        [info("go_on", (), TensorProto.BOOL), info("next", (1, 4))],
    )
    node = helper.make_node("Loop", ["trips", "", "x"], ["y"], body=body)
    inputs = None if constant_trips else [info("x"), info("trips", (), TensorProto.INT64)]
    return model([node], [constant("trips", trips)] if constant_trips else (), inputs)


def test_a_loop_runs_its_steps():
    x = torch.randn(1, 4)
    torch.testing.assert_close(shadow_copy(loop_model(3))(x)[0], torch.sin(torch.sin(torch.sin(x))))


def test_endless_loops_are_refused():
    with pytest.raises(UnsupportedModelError, match="loop of"):
        shadow_copy(loop_model(10**12))
    copy = shadow_copy(loop_model(0, constant_trips=False))
    with pytest.raises(ModelError, match="Loops executed more"):
        copy(torch.zeros(1, 4), torch.tensor(10**12))
    assert copy(torch.zeros(1, 4), torch.tensor(2))[0].shape == (1, 4)


def nested_if(depth):
    if not depth:
        return helper.make_graph([helper.make_node("Relu", ["x"], ["out0"])], "leaf", [], [info("out0")])
    node = helper.make_node("If", ["c"], [f"out{depth}"], then_branch=nested_if(depth - 1), else_branch=nested_if(0))
    return helper.make_graph([node], f"level{depth}", [], [info(f"out{depth}")])


def test_subgraphs_see_the_values_around_them():
    nodes = list(nested_if(3).node)
    nodes[0].output[0] = "y"
    copy = shadow_copy(model(nodes, inputs=[info("x"), info("c", (), TensorProto.BOOL)]))
    x = torch.randn(1, 4, requires_grad=True)
    y = copy(x, torch.tensor(True))[0]
    assert torch.equal(y, torch.relu(x))
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(gradient, (x > 0).float())


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Relu", ["a"], ["b"])], "circle"),
        ([helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Exp", ["x"], ["y"])], "Two nodes produce y"),
        ([helper.make_node("Relu", ["ghost"], ["y"])], "reads ghost"),
        ([helper.make_node("Relu", ["x"], ["z"])], "produced by no node"),
    ],
)
def test_malformed_graphs_are_explained(nodes, message):
    with pytest.raises(ModelError, match=message):
        shadow_copy(model(nodes))


def test_a_file_that_is_no_model_is_refused(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(ModelError, match=r"model\.onnx"):
        shadow_copy(path)
    with pytest.raises(ModelError):
        shadow_copy(tmp_path / "missing.onnx")


def test_a_wide_graph_is_planned_in_linear_time():
    nodes = [helper.make_node("Relu", [f"t{i}" if i else "x"], [f"t{i + 1}"]) for i in range(20_000)]
    nodes.append(helper.make_node("Identity", ["t20000"], ["y"]))
    shadow_copy(model(nodes[::-1]))


def test_text_is_unsupported_not_a_crash():
    inputs = [helper.make_tensor_value_info("x", onnx.TensorProto.STRING, (2,))]
    with pytest.raises(UnsupportedModelError, match="STRING"):
        shadow_copy(model([helper.make_node("Identity", ["x"], ["y"])], inputs=inputs))


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 2}),
        ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": -1}),
        ("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 3}),
        ("ReduceMax", {"axes": [2], "keepdims": -1}),
        ("ArgMax", {"axis": 1, "select_last_index": 7}),
    ],
)
def test_a_flag_that_is_neither_0_nor_1_is_refused(kind, attributes):
    """Runtimes make of such a number what they like: ONNX Runtime takes keepdims -1 for 0 and ceil_mode 2 for 0."""
    node = helper.make_node(kind, ["x"], ["y"], **attributes)
    with pytest.raises(NotImplementedError, match="neither 0 nor 1"):
        shadow_copy(model([node], inputs=[info("x", (1, 3, 4, 5))], opset=13))


@pytest.mark.parametrize(
    ("kind", "attributes", "inputs"),
    [
        ("ReduceMax", {"axes": [2, -2]}, 1),
        ("ReduceMax", {"axes": [9]}, 1),
        ("Transpose", {"perm": [0, 0, 1, 2]}, 1),
        ("Concat", {"axis": 8}, 2),
        ("MatMul", {}, 2),
        ("MaxPool", {"kernel_shape": [3, 3], "strides": [0, 2]}, 1),
        ("MaxPool", {"kernel_shape": [3, 3], "strides": [1, 1, 1]}, 1),
        ("MaxPool", {"kernel_shape": [3, 3], "pads": [1, 1, 1]}, 1),
        ("LpNormalization", {"axis": -5}, 1),
    ],
)
def test_a_graph_that_contradicts_itself_is_a_model_error(kind, attributes, inputs):
    node = helper.make_node(kind, ["x"] * inputs, ["y"], **attributes)
    with pytest.raises(ModelError):
        shadow_copy(model([node], inputs=[info("x", (1, 3, 4, 5))], opset=13))(torch.ones(1, 3, 4, 5))


@pytest.mark.parametrize("attributes", [{"strides": [1, 1, 1]}, {"pads": [1, 1, 1, 1, 1]}, {"dilations": [1]}])
def test_a_convolution_of_other_axes_than_its_weights_is_a_model_error(attributes):
    node = helper.make_node("Conv", ["x", "w"], ["y"], **attributes)
    weights = constant("w", np.ones((2, 3, 3, 3)), np.float32)
    with pytest.raises(ModelError):
        shadow_copy(model([node], [weights], [info("x", (1, 3, 4, 5))]))(torch.ones(1, 3, 4, 5))


def test_an_attribute_that_is_stated_twice_is_a_model_error():
    node = helper.make_node("Softmax", ["x"], ["y"], axis=1)
    node.attribute.append(helper.make_attribute("axis", 0))
    with pytest.raises(ModelError, match="twice"):
        shadow_copy(model([node]))
