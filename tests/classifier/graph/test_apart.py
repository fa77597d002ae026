"""A large model is read and run with its weights in a file beside its graph, and says what it says in one file."""

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from shadow_models import FAMILIES, build, export

from singaudit.classifier.graph import apart, checks
from singaudit.classifier.graph.apart import set_apart, split
from singaudit.classifier.graph.session import make_session
from singaudit.classifier.options import ModelOptions
from singaudit.classifier.sandbox.model import open_model
from singaudit.classifier.shadow.certificate import certify
from singaudit.errors import ModelError


def wide(tmp_path):
    """A file of a network two of whose weights are set apart, the head among them."""
    torch.manual_seed(0)
    layers = torch.nn.Conv2d(3, 200, 3, 2), torch.nn.ReLU(), torch.nn.Conv2d(200, 128, 1), torch.nn.AdaptiveAvgPool2d(1)
    network = torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(128, 300)).eval()
    onnx.save(export(network, dynamic=True), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def test_the_graph_and_its_weights_are_the_models(tmp_path):
    path = wide(tmp_path)
    found = set_apart(path, tmp_path / "apart")
    small, whole = onnx.load(found, load_external_data=False), onnx.load(path)
    external = [item for item in small.graph.initializer if item.data_location == 1]
    assert len(external) == 2
    assert not any(item.raw_data for item in external)
    assert all(
        int(entry.value) % (1 << 16) == 0 for i in external for entry in i.external_data if entry.key == "offset"
    )
    assert found.stat().st_size < path.stat().st_size / 5
    # With the weights back in their places both are the same message.
    again = onnx.load(found)
    for ours, theirs in zip(again.graph.initializer, whole.graph.initializer, strict=True):
        np.testing.assert_array_equal(numpy_helper.to_array(ours), numpy_helper.to_array(theirs))
    for model in (again, whole):
        del model.graph.initializer[:]
    assert again == whole


def test_split_copies_nothing_and_names_every_weight(tmp_path):
    path = wide(tmp_path)
    data = path.read_bytes()
    graph, weights = split(data)
    assert len(graph) < len(data) / 5
    assert len(weights) == 2
    small, whole = onnx.load_model_from_string(graph), onnx.load(path)
    for ours, theirs in zip(small.graph.initializer, whole.graph.initializer, strict=True):
        if ours.data_location == 1:
            where = {entry.key: entry.value for entry in ours.external_data}
            assert (where["offset"], int(where["length"])) == ("0", len(weights[where["location"]]))
            assert weights[where["location"]].obj is data
            assert bytes(weights[where["location"]]) == theirs.raw_data
    assert split(graph) is None, "what names files already is left alone"


def test_it_is_opened_and_certified_with_the_same_numbers(tmp_path, monkeypatch):
    path = wide(tmp_path)
    (one := tmp_path / "one").mkdir()
    (two := tmp_path / "two").mkdir()
    plain = open_model(path, ModelOptions(threads=1), one)
    monkeypatch.setattr(checks, "LARGE", 0)
    large = open_model(path, ModelOptions(threads=1), two)
    assert (plain.path, large.path) == (one / "model.onnx", two / "apart" / "model.onnx")
    assert (two / "model.onnx").read_bytes() == path.read_bytes()
    assert plain.facts() == large.facts()
    np.testing.assert_array_equal(plain.head.weight, large.head.weight)
    inputs = np.random.default_rng(0).standard_normal((4, 3, 32, 32)).astype(np.float32)
    for ours, theirs in zip(plain.forward(inputs), large.forward(inputs), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert certify(plain.path, inputs=inputs) == certify(large.path, inputs=inputs)


@pytest.mark.parametrize("family", FAMILIES)
def test_sessions_of_both_give_the_same_bits(family, tmp_path, monkeypatch):
    monkeypatch.setattr(apart, "SMALLEST", 16)
    path = tmp_path / "model.onnx"
    onnx.save(export(build(family), dynamic=True), path)
    found = set_apart(path, tmp_path / "apart")
    x = {"image": np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32)}
    for mode in ("optimised", "unoptimised"):
        whole = make_session(path.read_bytes(), None, threads=1, mode=mode).run(None, x)
        small = make_session(found.read_bytes(), found.parent, threads=1, mode=mode).run(None, x)
        np.testing.assert_array_equal(whole[0], small[0])


def other_graph(data):
    return data + onnx.ModelProto(graph=onnx.GraphProto(name="more")).SerializeToString()


def apart_already(data):
    model = onnx.load_from_string(data)
    model.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    return model.SerializeToString()


def without_weights(data):
    model = onnx.load_from_string(data)
    del model.graph.initializer[:]
    return model.SerializeToString()


@pytest.mark.parametrize(
    "change",
    [
        other_graph,
        apart_already,
        without_weights,
        lambda data: data[:-3],
        lambda data: data + b"\x0b",
        lambda data: b"\xff" * 99,
    ],
)
def test_what_no_exporter_writes_is_left_alone(change, tmp_path):
    path = wide(tmp_path)
    path.write_bytes(change(path.read_bytes()))
    assert set_apart(path, tmp_path / "apart") is None


def test_a_large_file_that_is_cut_short_is_refused_by_its_own_name(tmp_path, monkeypatch):
    path = wide(tmp_path)
    path.write_bytes(path.read_bytes()[:-1000])
    monkeypatch.setattr(checks, "LARGE", 0)
    (private := tmp_path / "private").mkdir()
    with pytest.raises(ModelError, match=rf"{path} is not an ONNX model or is cut short"):
        checks.take_model(path, private)


def test_a_large_linear_classifier_is_written_out_in_one_file(tmp_path, monkeypatch):
    """What writing it out changes is changed in the copy that repairs start from as well."""
    from onnx import TensorProto

    coefficients = np.random.default_rng(0).standard_normal(3 * 4).astype(np.float32)
    said = {"coefficients": coefficients.tolist(), "intercepts": [0.0] * 3, "classlabels_ints": [0, 1, 2]}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["f"]),
        helper.make_node("LinearClassifier", ["f"], ["label", "scores"], domain="ai.onnx.ml", **said),
    ]
    weight = numpy_helper.from_array(np.ones((9000, 4), np.float32), "w")
    outputs = [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 3])]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 9000])]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(
        helper.make_graph(nodes, "g", inputs, outputs, [weight]), opset_imports=opsets, ir_version=8
    )
    onnx.save(model, tmp_path / "model.onnx")
    monkeypatch.setattr(checks, "LARGE", 0)
    (private := tmp_path / "private").mkdir()
    path, _, (read, _, _) = checks.take_model(tmp_path / "model.onnx", private)
    assert path == private / "model.onnx"
    for found in (read, onnx.load(path)):
        assert "LinearClassifier" not in {node.op_type for node in found.graph.node}
