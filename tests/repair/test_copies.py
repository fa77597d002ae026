"""Every pattern of head is written anew or refused; nothing else in the file changes."""

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import pytest
from head_graphs import Build, C, M
from onnx import TensorProto, helper, numpy_helper

from singaudit.classifier.head.first_run import random_images
from singaudit.classifier.options import ModelOptions
from singaudit.classifier.sandbox.model import open_model
from singaudit.classifier.sandbox.onnx_classifier import open_onnx
from singaudit.errors import ModelError
from singaudit.geometry.null_space import null_space
from singaudit.repair.process import Copies
from singaudit.repair.seen import seen_part
from singaudit.repair.worker import RepairWorker

_SPEC = importlib.util.spec_from_file_location(
    "head_patterns", Path(__file__).parents[1] / "classifier" / "head" / "test_heads.py"
)
patterns = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(patterns)

REFUSED = {
    "weight_normalised_in_the_graph": "computed in the graph",
    "heads_concatenated_of_two_features": "do not all see the same features",
    "gathered_classes": "copies of one another",
    "low_rank_branch": "several linear layers",
    "low_rank_branches_alone": "several linear layers",
}
"""Float heads that have no room for any weight, and why."""


def names_of(items):
    return [(item.id, item.values[0]) if hasattr(item, "values") else (item.__name__, item) for item in items]


PATTERNS = names_of(patterns.FLOAT_HEADS)


def worker_of(path, **options):
    worker = RepairWorker()
    head = open_model(path, ModelOptions(threads=1, **options)).head
    worker.open_graph({}, str(path), head.logits, options.get("features"), None)
    return worker, head


def saved(tmp_path, model, name="model.onnx"):
    path = tmp_path / name
    onnx.save(model, str(path))
    return path


def written(tmp_path, arrays, name="new.onnx"):
    path = tmp_path / name
    path.write_bytes(arrays["data"].tobytes())
    return path


def another(head, free, seed=5):
    random = np.random.default_rng(seed)
    weight = head.weight + random.standard_normal(head.weight.shape)
    return weight, head.bias + np.where(free, random.standard_normal(len(free)), 0.0)


def without(model, names):
    """The model less the numbers of the tensors ``names``."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    tensors = list(copy.graph.initializer)
    tensors += [a.t for n in copy.graph.node if n.op_type == "Constant" for a in n.attribute if n.output[0] in names]
    for tensor in tensors:
        if tensor.name in names or not tensor.name:
            for field in ("raw_data", "float_data", "int32_data", "double_data", "external_data", "data_location"):
                tensor.ClearField(field)
    return copy


@pytest.mark.parametrize("batch", ["batch", 4])
@pytest.mark.parametrize(("name", "build"), PATTERNS, ids=[name for name, _ in PATTERNS])
def test_a_new_head_is_written_or_refused_with_the_reason(name, build, batch, tmp_path):
    model = build(Build(batch=batch))[0]
    worker, head = worker_of(saved(tmp_path, model))
    if name in REFUSED:
        with pytest.raises(ModelError, match=REFUSED[name]):
            worker.find({})
        return
    free = worker.find({})[1]["free"]
    weight, bias = another(head, free)
    facts, arrays = worker.write_head({"weight": weight, "bias": bias}, "new.onnx")
    new = open_model(written(tmp_path, arrays), ModelOptions(threads=1))
    half = head.stored_dtype == "float16"
    np.testing.assert_allclose(new.head.weight, weight, atol=4e-3 if half else 4e-6)
    np.testing.assert_allclose(new.head.bias, bias, atol=4e-3 if half else 4e-6)
    images = random_images(new.preprocessing, 5, 9)
    features, logits = new.forward(images)
    np.testing.assert_allclose(logits, features @ weight.T + bias, atol=(3e-2 if half else 2e-5) * np.abs(logits).max())
    changed = {item["tensor"] for item in facts["changed"]}
    old_file, new_file = onnx.load(str(tmp_path / "model.onnx")), onnx.load(str(tmp_path / "new.onnx"))
    assert without(old_file, changed) == without(new_file, changed)
    assert old_file != new_file


@pytest.mark.parametrize(("name", "build"), PATTERNS, ids=[name for name, _ in PATTERNS])
def test_every_pattern_is_trimmed_with_the_same_logits(name, build, tmp_path):
    worker, head = worker_of(saved(tmp_path, build(Build())[0]))
    space = null_space(head)
    seen = seen_part(head.weight, head.bias, space.rank)
    zero = np.zeros(space.rank)
    images = random_images(open_model(tmp_path / "model.onnx", ModelOptions(threads=1)).preprocessing, 6, 3)
    half = name == "casts_around"
    facts, arrays = worker.add_seen({"matrix": seen.basis, "offset": zero}, "seen.onnx")
    path = written(tmp_path, arrays, "seen.onnx")
    found = worker.compare({"inputs": images}, str(path), 0)[0]
    assert found["unoptimised"]["identical"] or half
    assert found["optimised"]["difference"] <= (2e-2 if half else 1e-6)
    both = open_model(path, ModelOptions(threads=1))
    np.testing.assert_allclose(both.head.weight, head.weight, atol=1e-9)
    coordinates = run(path, images, facts["output"])
    np.testing.assert_allclose(
        coordinates @ seen.weight.T + seen.bias, both.forward(images)[1], atol=3e-2 if half else 2e-5 * 40
    )
    _, arrays = worker.project(
        {"matrix": seen.basis, "offset": zero, "head": seen.weight.T.copy(), "bias": seen.bias}, "new.onnx"
    )
    path = written(tmp_path, arrays)
    found = worker.compare({"inputs": images}, str(path), 0)[0]
    for mode in ("unoptimised", "optimised"):
        assert found[mode]["difference"] <= (2e-2 if half else 1e-5)
        assert found[mode]["top1_agreement"] in (1.0, None)
    small = open_model(path, ModelOptions(threads=1))
    assert small.head.weight.shape == (len(head.weight), space.rank)
    assert null_space(small.head).null_dim == 0


def run(path, images, output):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    parts = [session.run([output], {session.get_inputs()[0].name: images[i : i + 1]})[0] for i in range(len(images))]
    return np.concatenate(parts)


def test_linear_layers_before_the_features_become_narrower(tmp_path):
    g = Build()
    path = saved(tmp_path, patterns.stacked_three(g)[0])
    worker, head = worker_of(path)
    space = null_space(head)
    seen = seen_part(head.weight, head.bias, space.rank)
    facts, arrays = worker.project(
        {"matrix": seen.basis, "offset": np.zeros(space.rank), "head": seen.weight.T.copy(), "bias": seen.bias}, "n"
    )
    assert facts["folded"]
    assert len(arrays["data"]) < path.stat().st_size
    shapes = {tuple(item.dims) for item in onnx.load_from_string(arrays["data"].tobytes()).graph.initializer}
    assert (M, C) in shapes
    assert (9, M) not in shapes


def test_a_tied_weight_changes_in_the_head_alone(tmp_path):
    g = Build()
    f = g.node("Tanh", g.features())
    w = g.const(g.weight(M, M), "tied")
    f = g.node("Sigmoid", g.node("MatMul", f, w))
    y = g.node("MatMul", f, w)
    worker, head = worker_of(saved(tmp_path, g.model(y)))
    free = worker.find({})[1]["free"]
    weight, bias = another(head, free)
    facts, arrays = worker.write_head({"weight": weight, "bias": bias}, "new.onnx")
    assert facts["changed"] == [{"tensor": "tied_refit", "shape": [M, M], "replaced": False, "instead_of": "tied"}]
    new = open_model(written(tmp_path, arrays), ModelOptions(threads=1))
    np.testing.assert_allclose(new.head.weight, weight, atol=1e-6)
    old = open_model(tmp_path / "model.onnx", ModelOptions(threads=1))
    images = random_images(new.preprocessing, 4, 1)
    np.testing.assert_array_equal(new.forward(images)[0], old.forward(images)[0])


def test_a_tied_bias_changes_in_the_head_alone(tmp_path):
    g = Build()
    b = g.const(g.weight(M), "shared")
    f = g.node("Tanh", g.node("Gemm", g.features(), g.const(g.weight(M, M)), b))
    y = g.node("Gemm", f, g.const(g.weight(M, M), "last"), b)
    worker, head = worker_of(saved(tmp_path, g.model(y)))
    weight, bias = another(head, worker.find({})[1]["free"])
    facts, arrays = worker.write_head({"weight": weight, "bias": bias}, "new.onnx")
    assert {item["tensor"] for item in facts["changed"]} == {"last", "shared_refit"}
    new = open_model(written(tmp_path, arrays), ModelOptions(threads=1))
    np.testing.assert_allclose(new.head.bias, bias, atol=1e-6)
    images = random_images(new.preprocessing, 4, 1)
    old = open_model(tmp_path / "model.onnx", ModelOptions(threads=1))
    np.testing.assert_array_equal(new.forward(images)[0], old.forward(images)[0])


@pytest.mark.parametrize("opset", range(9, 25))
def test_opsets(opset, tmp_path):
    import onnxruntime

    g = Build(opset=opset)
    y, _, _ = g.gemm(g.features())
    model = g.model(y)
    model.ir_version = 4 if opset < 10 else 8 if opset < 20 else 10
    path = saved(tmp_path, model)
    try:
        onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception:
        pytest.skip(f"this ONNX Runtime does not know opset {opset}")
    worker, head = worker_of(path)
    weight, bias = another(head, worker.find({})[1]["free"])
    arrays = worker.write_head({"weight": weight, "bias": bias}, "n")[1]
    np.testing.assert_allclose(open_model(written(tmp_path, arrays), ModelOptions()).head.weight, weight, atol=1e-6)
    seen = seen_part(head.weight, head.bias, C)
    fields = {"matrix": seen.basis, "offset": np.zeros(C), "head": seen.weight.T.copy(), "bias": seen.bias}
    images = random_images(open_model(path, ModelOptions()).preprocessing, 4, 1)
    for arrays in (worker.add_seen(fields, "n")[1], worker.project(fields, "n")[1]):
        found = worker.compare({"inputs": images}, str(written(tmp_path, arrays)), 0)[0]
        assert found["optimised"]["difference"] < 1e-6


def test_pooled_maps_are_averaged_in_every_opset(tmp_path):
    for opset in (13, 18):
        model = patterns.conv_then_pool("GlobalAveragePool")(Build(opset=opset))[0]
        worker, head = worker_of(saved(tmp_path, model))
        seen = seen_part(head.weight, head.bias, C)
        facts, arrays = worker.add_seen({"matrix": seen.basis, "offset": np.zeros(C)}, "n")
        path = written(tmp_path, arrays)
        opened = open_model(path, ModelOptions())
        images = random_images(opened.preprocessing, 3, 1)
        np.testing.assert_allclose(
            run(path, images, facts["output"]), opened.forward(images)[0] @ seen.basis, atol=1e-5
        )


def test_half_precision_models_keep_their_types(tmp_path):
    g = Build(dtype=np.float16)
    y, _, _ = g.gemm(g.features())
    worker, head = worker_of(saved(tmp_path, g.model(y)))
    weight, bias = another(head, worker.find({})[1]["free"])
    arrays = worker.write_head({"weight": weight, "bias": bias}, "n")[1]
    new = open_model(written(tmp_path, arrays), ModelOptions(threads=1))
    assert new.head.stored_dtype == "float16"
    np.testing.assert_allclose(new.head.weight, weight, atol=4e-3)
    with pytest.raises(ModelError, match="do not fit float16"):
        worker.write_head({"weight": weight * 1e6, "bias": bias}, "n")
    seen = seen_part(head.weight, head.bias, C)
    fields = {"matrix": seen.basis, "offset": np.zeros(C), "head": seen.weight.T.copy(), "bias": seen.bias}
    images = random_images(new.preprocessing, 4, 1)
    found = worker.compare({"inputs": images}, str(written(tmp_path, worker.project(fields, "n")[1])), 0)[0]
    assert found["precision"] == "fp16"
    assert found["optimised"]["difference"] < 2e-2


def test_external_data_goes_along_under_the_new_name(tmp_path):
    g = Build()
    y, _, _ = g.gemm(g.features())
    path = tmp_path / "old" / "model.onnx"
    path.parent.mkdir()
    onnx.save_model(g.model(y), str(path), save_as_external_data=True, location="weights.bin", size_threshold=0)
    classifier = open_onnx(path)
    copies = Copies(classifier, ModelOptions())
    weight, bias = another(classifier.head, copies.free_biases())
    made = copies.with_head(weight, bias, "new.onnx")
    assert {name: file.name for name, file in made.beside.items()} == {"new.onnx.data": "weights.bin"}
    before = (path.parent / "weights.bin").read_bytes()
    target = tmp_path / "new.onnx"
    target.write_bytes(made.data)
    (tmp_path / "new.onnx.data").write_bytes(before)
    np.testing.assert_allclose(open_onnx(target).head.weight, weight, atol=1e-6)
    assert (path.parent / "weights.bin").read_bytes() == before


QUANTISED = [patterns.qdq_gemm, patterns.qgemm, patterns.qlinear_matmul, patterns.dynamic, patterns.weight_only]


@pytest.mark.parametrize("build", QUANTISED)
def test_quantised_heads_are_refused(build, tmp_path):
    path = saved(tmp_path, build(Build())[0])
    classifier = open_onnx(path)
    with pytest.raises(ModelError, match="quantised"):
        Copies(classifier, ModelOptions())


def test_names_that_are_taken_are_not_taken_again(tmp_path):
    g = Build()
    f = g.features()
    y, _, _ = g.gemm(f)
    model = g.model(y)
    model.graph.node.append(helper.make_node("Identity", [f], ["features_seen"]))
    model.graph.output.append(helper.make_tensor_value_info("features_seen", TensorProto.FLOAT, None))
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float32), "seen_weight"))
    path = saved(tmp_path, model)
    worker, head = worker_of(path, logits=y)
    seen = seen_part(head.weight, head.bias, C)
    facts, arrays = worker.add_seen({"matrix": seen.basis, "offset": np.zeros(C)}, "n")
    assert facts["output"] == "features_seen_2"
    open_model(written(tmp_path, arrays), ModelOptions())
