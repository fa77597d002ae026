"""Linear classifiers that scikit-learn's converters keep in one node behind a network's features."""

import numpy as np
import onnx
import onnxruntime
import pytest
from head_graphs import Build, C, M
from onnx import TensorProto, helper

from singaudit.classifier.graph.spelled_out import spell_out
from singaudit.classifier.head.first_run import random_images
from singaudit.classifier.options import ModelOptions
from singaudit.classifier.sandbox.model import open_model
from singaudit.classifier.shadow.certificate import certify
from singaudit.errors import ModelError

ML = "ai.onnx.ml"
NAMES = [f"class {i}" for i in range(C)]


def written(tmp_path, after="SOFTMAX", zipped=True, normalised=True, opset=17, rows=C, **other):
    """(path, W, b, scores before the output's name) as skl2onnx writes a logistic regression behind a network."""
    g = Build(opset=opset)
    weight, bias = g.weight(rows, M), g.weight(rows)
    said = {
        "coefficients": weight.reshape(-1).tolist(), "intercepts": bias.tolist(), "classlabels_strings": NAMES,
        "post_transform": after, "multi_class": 1, **other,
    }  # fmt: skip
    features = g.features()
    label, scores = g.node("LinearClassifier", features, outputs=2, domain=ML, **said)
    if normalised:
        scores = g.node("Normalizer", scores, domain=ML, norm="L1")
    if zipped:
        scores = g.node("ZipMap", scores, domain=ML, classlabels_strings=NAMES)
    model = g.model(label, scores, types={label: TensorProto.STRING})
    model.opset_import.append(helper.make_opsetid(ML, 1))
    if zipped:
        model.graph.output[1].ClearField("type")
    onnx.save(model, tmp_path / "model.onnx")
    return tmp_path / "model.onnx", weight, bias, features


def opened(path):
    """As the process that runs models opens it: from a private copy."""
    (path.parent / "private").mkdir()
    return open_model(path, ModelOptions(), path.parent / "private")


@pytest.mark.parametrize(
    ("after", "zipped", "opset", "activation"),
    [("SOFTMAX", True, 17, "softmax"), ("LOGISTIC", False, 20, "sigmoid"), ("NONE", False, 17, "softmax")],
)
def test_its_numbers_are_the_head_and_its_logits_those_of_the_file(after, zipped, opset, activation, tmp_path):
    path, weight, bias, features = written(tmp_path, after, zipped, normalised=after != "NONE", opset=opset)
    classifier = opened(path)
    np.testing.assert_array_equal(classifier.head.weight, weight.astype(np.float64))
    np.testing.assert_array_equal(classifier.head.bias, bias.astype(np.float64))
    assert classifier.head.activation == activation
    assert classifier.class_names == tuple(NAMES)
    images = random_images(classifier.preprocessing, 4, 1)
    found, logits = classifier.forward(images)
    np.testing.assert_allclose(found @ weight.T + bias, logits, rtol=1e-5, atol=1e-5)
    model = onnx.load(path)
    model.graph.output.append(onnx.ValueInfoProto(name=features))
    labels, scores, theirs = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": images})
    np.testing.assert_allclose(found, theirs, rtol=1e-5, atol=1e-6)
    assert [NAMES[i] for i in logits.argmax(1)] == labels.tolist()
    if not zipped and after == "LOGISTIC":
        own = 1 / (1 + np.exp(-logits.astype(np.float64)))
        np.testing.assert_allclose(own / own.sum(1, keepdims=True), scores, rtol=1e-4, atol=1e-6)


def test_the_hash_is_that_of_the_file_and_its_copy_is_certified_on_the_logits(tmp_path):
    import hashlib

    path, *_ = written(tmp_path)
    classifier = opened(path)
    assert classifier.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    images = random_images(classifier.preprocessing, 2, 1)
    assert certify(str(classifier.path), inputs=images, outputs=classifier.compared, gradients=1).status == "passed"


@pytest.mark.parametrize(
    "other",
    [
        {"after": "PROBIT", "normalised": False},
        {"after": "SOFTMAX_ZERO"},
        {"rows": 1, "classlabels_strings": ["no", "yes"]},  # one row for two classes
        {"classlabels_strings": NAMES[:-1]},
        {"coefficients": [1.0] * (C * M - 1)},
    ],
)
def test_what_is_no_linear_layer_with_a_score_a_class_is_not_written_out(other, tmp_path):
    path, *_ = written(tmp_path, zipped=False, **other)
    before = onnx.load(path)
    after = onnx.ModelProto()
    after.CopyFrom(before)
    spell_out(after)
    assert [n.op_type for n in after.graph.node if n.op_type == "LinearClassifier"] == ["LinearClassifier"]
    with pytest.raises(ModelError):
        opened(path)


def test_names_that_the_graph_uses_already_are_left_alone(tmp_path):
    path, *_ = written(tmp_path, zipped=False)
    model = onnx.load(path)
    scores = next(node.output[1] for node in model.graph.node if node.op_type == "LinearClassifier")
    model.graph.node.append(helper.make_node("Identity", [scores], [f"{scores}:linear:weight"]))
    spell_out(model)
    assert "LinearClassifier" in {node.op_type for node in model.graph.node}
