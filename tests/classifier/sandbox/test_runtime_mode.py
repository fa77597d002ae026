"""The mode of ONNX Runtime that computes what the graph says is the one that is audited."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper

from singaudit.classifier.fingerprint import forward_identity
from singaudit.classifier.graph.session import make_session, run
from singaudit.classifier.graph.tolerances import TOLERANCES, largest_share, precision_of
from singaudit.classifier.interface import Runtime
from singaudit.classifier.options import ModelOptions
from singaudit.classifier.sandbox.onnx_classifier import open_onnx
from singaudit.classifier.sandbox.runtime_mode import choose, in_its_mode
from singaudit.cli.main import main
from singaudit.errors import ModelError


@pytest.mark.parametrize(
    ("optimised", "plain", "mode"),
    [
        (1e-6, 1e-6, "optimised"),
        # Rounding of other orders of summation: what is deployed is within tolerance.
        (9e-5, 1e-7, "optimised"),
        (5e-2, 4e-6, "unoptimised"),
        (float("inf"), 4e-6, "unoptimised"),
        # Neither computes the graph: the certificate says so, and what is deployed is run.
        (5e-2, 1e-2, "optimised"),
        (5e-2, float("inf"), "optimised"),
        (1e-6, 5e-2, "optimised"),
    ],
)
def test_the_unoptimised_mode_is_taken_only_where_it_alone_computes_the_graph(optimised, plain, mode):
    found = choose(0.05, {"optimised": optimised, "unoptimised": plain}, 1e-4)
    assert (found.mode, found.difference) == (mode, 0.05)
    assert bool(found.reason) == (mode == "unoptimised")
    if found.reason:
        assert "0.05 of its range" in found.reason
        assert "other logits" in found.reason


def test_the_largest_share_is_that_of_any_tensor_by_its_own_range():
    a, b = np.array([0.0, 10.0], np.float32), np.array([[1e-3, 2e-3]], np.float32)
    assert largest_share([a, b], [a, b]) == 0
    assert largest_share([a + 0.1, b], [a, b]) == pytest.approx(0.01, rel=1e-4)
    assert largest_share([a, b + 5e-4], [a, b]) == pytest.approx(0.5, rel=1e-4)
    assert largest_share([a[:1], b], [a, b]) == np.inf
    assert largest_share([np.array([0, np.nan]), b], [a, b]) == np.inf
    # Constant outputs have no range: their size stands in for it.
    assert largest_share([np.full(3, 2.2)], [np.full(3, 2.0)]) == pytest.approx(0.1)


def test_what_modes_may_differ_by_follows_from_the_graphs_precision():
    assert precision_of(["Conv", "Gemm"], [1, 7]) == "fp32"
    assert precision_of(["Conv", "Gemm"], [1, 10]) == "fp16"
    assert precision_of(["Conv", "QLinearConv"], [1, 10]) == "int8"
    assert precision_of(["DynamicQuantizeLinear"], []) == "int8"


def test_a_model_that_the_optimiser_cannot_open_is_run_without_it(tmp_path):
    def make(mode):
        if mode == "optimised":
            raise ModelError("ONNX Runtime cannot open the model: fused to death")
        return mode

    session, runtime, given = in_its_mode(make, tmp_path / "m.onnx", [], "x", np.zeros(1), [], 1e-4)
    assert (session, given) == ("unoptimised", None)
    assert (runtime.mode, runtime.difference) == ("unoptimised", None)
    assert "fused to death" in runtime.reason
    with pytest.raises(ModelError, match="fused to death"):
        in_its_mode(make, tmp_path / "m.onnx", [], "x", np.zeros(1), None, 1e-4)


def padded(path: Path, sign: float) -> Path:
    """Zeros padded before a max pooling, which ONNX Runtime's optimiser lets the pooling do without zeros.

    With ``sign`` -1 what is pooled is negative, so that the zeros win; with 1 it is positive and they do not matter.
    """
    rng = np.random.default_rng(0)

    def weight(name, values):
        return numpy_helper.from_array(np.asarray(values, np.float32), name)

    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["c"]),
        helper.make_node("Pad", ["c", "pads", "zero"], ["p"], mode="constant"),
        helper.make_node("MaxPool", ["p"], ["q"], kernel_shape=[3, 3], strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["q"], ["g"]),
        helper.make_node("Flatten", ["g"], ["features"]),
        helper.make_node("Gemm", ["features", "w", "b"], ["logits"], transB=1),
    ]
    stored = [
        weight("kernel", sign * np.abs(rng.normal(size=(8, 3, 3, 3)))),
        weight("zero", 0.0),
        numpy_helper.from_array(np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64), "pads"),
        weight("w", rng.normal(size=(3, 8))),
        weight("b", np.zeros(3)),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 16, 16])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3])
    graph = helper.make_graph(nodes, "padded", [image], [logits], stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    path = padded(tmp_path_factory.mktemp("padded") / "padded.onnx", -1)
    images = np.random.default_rng(1).random((2, 3, 16, 16), dtype=np.float32)
    ways = [
        run(make_session(str(path), None, mode=mode), ["logits"], {"image": images})
        for mode in ("optimised", "unoptimised")
    ]
    if largest_share(*ways) <= TOLERANCES["fp32"]:
        pytest.skip("this version of ONNX Runtime pads as the graph says")
    return path


PREPROCESS = "size=16,mean=0,std=1,scale=1/255,mode=squash,channels=rgb,interpolation=bilinear"


def test_a_graph_that_the_optimiser_breaks_is_run_as_it_says(broken):
    classifier = open_onnx(broken, ModelOptions(preprocess=PREPROCESS))
    assert classifier.runtime.mode == "unoptimised"
    assert classifier.runtime.difference > 0.01
    images = np.random.default_rng(2).random((3, 3, 16, 16), dtype=np.float32)
    features, logits = classifier.forward(images)
    session = make_session(str(broken), None, mode="unoptimised")
    np.testing.assert_allclose(logits, run(session, ["logits"], {"image": images})[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(classifier.logits_of(features), logits, rtol=1e-5, atol=1e-5)
    assert classifier.certify(images).status == "passed"


def test_the_mode_is_part_of_what_identifies_features(broken):
    classifier = open_onnx(broken, ModelOptions(preprocess=PREPROCESS))
    one = forward_identity(classifier, "CPUExecutionProvider")
    other = replace(classifier, runtime=Runtime("optimised", 0.0))
    assert forward_identity(other, "CPUExecutionProvider") != one


def test_inspect_says_which_mode_and_why(broken):
    words = ["inspect", str(broken), "--preprocess", PREPROCESS, "--progress", "none"]
    found = CliRunner().invoke(main, [*words, "--format", "json"])
    assert found.exit_code == 0, found.output
    facts = json.loads(found.stdout)
    assert facts["runtime"]["mode"] == "unoptimised"
    assert "deployed with the runtime's defaults" in facts["runtime"]["reason"]
    assert facts["certificate"]["difference_optimised"] > 0.01 > 1e-4 > facts["certificate"]["difference_unoptimised"]
    assert "unoptimised" in CliRunner().invoke(main, words).output


def test_an_audit_warns_that_the_deployed_runtime_computes_something_else(broken, tmp_path):
    words = [
        "run", str(broken), "--preprocess", PREPROCESS, "--images", "shapes:40", "--classes", "a,b,c",
        "--vlm", "builtin:shapes", "--report", "json", "--generate", "0", "--labels", "none", "-o",
        str(tmp_path / "out"), "--progress", "none", "--isolated",
    ]  # fmt: skip
    found = CliRunner().invoke(main, words)
    assert found.exit_code in (0, 4), found.output
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["model"]["runtime"]["mode"] == "unoptimised"
    assert result["model"]["runtime"]["reason"] in result["warnings"]


def test_a_graph_that_both_modes_compute_is_run_as_it_is_deployed(tmp_path):
    classifier = open_onnx(padded(tmp_path / "padded.onnx", 1), ModelOptions(preprocess=PREPROCESS))
    assert classifier.runtime.mode == "optimised"
    assert classifier.runtime.reason == ""
    assert classifier.runtime.difference <= TOLERANCES["fp32"]
