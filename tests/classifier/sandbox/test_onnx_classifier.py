"""Opening ONNX files: bad and hostile ones end in one message; good ones give the same numbers whatever the batch."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from head_graphs import Build, C, M, endless_loop
from onnx import TensorProto, helper, numpy_helper

from singaudit.classifier.graph import checks
from singaudit.classifier.head import first_run as probe
from singaudit.classifier.options import ModelOptions
from singaudit.classifier.sandbox.onnx_classifier import open_onnx
from singaudit.classifier.sandbox.process import Limits
from singaudit.errors import ConfigError, MachineError, ModelError
from singaudit.pictures.features import feature_copy


def plain(path: Path, **options: Any) -> Path:
    g = Build(**options)
    y, _, _ = g.gemm(g.features())
    return g.save(path, y)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return plain(tmp_path / "model.onnx")


# Files that are no models


def make_missing(path: Path) -> None:
    pass


def make_folder(path: Path) -> None:
    path.mkdir()


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_empty(path: Path) -> None:
    path.write_bytes(b"")


def make_text(path: Path) -> None:
    path.write_text("these are not the bytes of a model\n" * 50)


def make_truncated(path: Path) -> None:
    plain(path)
    path.write_bytes(path.read_bytes()[:-200])


def make_noise(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(4096))


def make_pickle(path: Path) -> None:
    path.write_bytes(b"PK\x03\x04" + bytes(1000))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (make_missing, "no such model file"),
        (make_folder, "is a folder"),
        (make_fifo, "not a regular file"),
        (make_empty, "is empty"),
        (make_text, "not an ONNX model"),
        (make_truncated, "cut short"),
        (make_noise, "not an ONNX model|holds no ONNX graph"),
        (make_pickle, "not an ONNX model|holds no ONNX graph"),
    ],
)
def test_what_is_no_model_is_refused(make: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "it.onnx"
    make(path)
    with pytest.raises(ModelError, match=message) as caught:
        open_onnx(path)
    assert caught.value.hint
    assert "it.onnx" in caught.value.message


def test_a_file_above_two_gibibytes_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.onnx"
    with path.open("wb") as stream:
        stream.truncate((2 << 30) + 1)
    with pytest.raises(ModelError, match="2 GiB"):
        open_onnx(path)


# External data


def external(path: Path) -> Path:
    g = Build()
    y, _, _ = g.gemm(g.features())
    onnx.save_model(
        g.model(y),
        str(path),
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
        convert_attribute=True,
    )
    return path


def test_external_data_is_read_and_hashed(tmp_path: Path) -> None:
    path = external(tmp_path / "m.onnx")
    classifier = open_onnx(path)
    digest = hashlib.sha256(path.read_bytes() + (tmp_path / "weights.bin").read_bytes()).hexdigest()
    assert classifier.sha256 == digest
    (inline := tmp_path / "inline").mkdir()
    other = open_onnx(plain(inline / "m.onnx"))
    np.testing.assert_array_equal(classifier.head.weight, other.head.weight)


def edit_location(path: Path, location: str) -> None:
    proto = onnx.load(str(path), load_external_data=False)
    for tensor in proto.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    path.write_bytes(proto.SerializeToString())


@pytest.mark.parametrize(
    "location", ["../outside.bin", "/etc/hostname", "", "link.bin", "folder/../../outside.bin", "a\0b", "n" * 300]
)
def test_external_data_outside_the_folder_is_refused(location: str, tmp_path: Path) -> None:
    (inner := tmp_path / "inner").mkdir()
    path = external(inner / "m.onnx")
    (tmp_path / "outside.bin").write_bytes((inner / "weights.bin").read_bytes())
    (inner / "link.bin").symlink_to(tmp_path / "outside.bin")
    edit_location(path, location)
    with pytest.raises(ModelError, match="outside its folder or is a link"):
        open_onnx(path)


def cached(tmp_path: Path, inner: str = "") -> Path:
    """A model with external data as the hub's client lays it out: links to ``blobs/``."""
    repository = tmp_path / "models--org--name"
    folder = repository / "snapshots" / ("1" * 40) / inner
    for made in (folder, repository / "blobs", tmp_path / "plain"):
        made.mkdir(parents=True)
    external(tmp_path / "plain" / "model.onnx")
    for name in ("model.onnx", "weights.bin"):
        blob = repository / "blobs" / hashlib.sha256(name.encode()).hexdigest()
        (tmp_path / "plain" / name).rename(blob)
        (folder / name).symlink_to(os.path.relpath(blob, folder))
    return folder / "model.onnx"


@pytest.mark.parametrize("inner", ["", "onnx"])
def test_external_data_in_the_hubs_cache_is_read_and_hashed(inner: str, tmp_path: Path) -> None:
    path = cached(tmp_path, inner)
    classifier = open_onnx(path)
    (tmp_path / "other").mkdir()
    other = open_onnx(external(tmp_path / "other" / "model.onnx"))
    assert classifier.sha256 == other.sha256
    how = classifier.preprocessing
    x = np.random.default_rng(0).random((3, 3, how.height, how.width), np.float32)
    for mine, theirs in zip(classifier.forward(x), other.forward(x), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert classifier.certify(x).status == "passed"
    assert feature_copy(classifier)(torch.from_numpy(x)).shape == (3, classifier.head.weight.shape[1])


def test_links_out_of_the_hubs_cache_are_refused(tmp_path: Path) -> None:
    path = cached(tmp_path)
    data = path.with_name("weights.bin")
    blob = data.resolve()
    elsewhere = [tmp_path / "secret", tmp_path / "models--org--other" / "blobs" / "x", path.parents[2] / "refs" / "x"]
    for target in elsewhere:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(blob.read_bytes())
        data.unlink()
        data.symlink_to(target)
        with pytest.raises(ModelError, match="outside its folder or is a link"):
            open_onnx(path)
    # A blob that is itself a link, or that has a second name, may be any file of this machine.
    data.unlink()
    data.symlink_to(blob)
    blob.unlink()
    blob.symlink_to(tmp_path / "secret")
    with pytest.raises(ModelError, match="outside its folder or is a link"):
        open_onnx(path)
    blob.unlink()
    os.link(tmp_path / "secret", blob)
    with pytest.raises(ModelError, match="second name"):
        open_onnx(path)


def test_external_data_missing_or_short_is_refused(tmp_path: Path) -> None:
    path = external(tmp_path / "m.onnx")
    data = (tmp_path / "weights.bin").read_bytes()
    (tmp_path / "weights.bin").write_bytes(data[:-8])
    with pytest.raises(ModelError, match="cut short"):
        open_onnx(path)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(ModelError, match="missing"):
        open_onnx(path)


@pytest.mark.parametrize(("key", "value"), [("offset", "-4"), ("length", "-1"), ("offset", "many"), ("length", "1e3")])
def test_external_data_at_an_impossible_place_is_refused(key: str, value: str, tmp_path: Path) -> None:
    path = external(tmp_path / "m.onnx")
    proto = onnx.load(str(path), load_external_data=False)
    for tensor in proto.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            (entry,) = [item for item in tensor.external_data if item.key == key] or [tensor.external_data.add()]
            entry.key, entry.value = key, value
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(ModelError, match="no valid offset and length"):
        open_onnx(path)


# Hostile graphs


def test_random_draws_are_refused(tmp_path: Path) -> None:
    g = Build()
    y, _, _ = g.gemm(g.features())
    noise = g.node("RandomNormalLike", y)
    with pytest.raises(ModelError, match="draws random numbers"):
        open_onnx(g.save(tmp_path / "m.onnx", g.node("Add", y, noise)))


def test_dropout_in_training_mode_is_refused(tmp_path: Path) -> None:
    g = Build()
    f = g.node("Dropout", g.features(), g.const(np.float32(0.5)), g.const(np.bool_(True)))
    with pytest.raises(ModelError, match="draws random numbers"):
        open_onnx(g.save(tmp_path / "m.onnx", g.gemm(f)[0]))


def nested_ifs(depth: int, leaf: str = "t") -> onnx.GraphProto:
    node = helper.make_node("Identity", ["f"], ["o"])
    graph = helper.make_graph([node], "leaf", [], [helper.make_tensor_value_info("o", 1, None)])
    for level in range(depth):
        branch = helper.make_node("If", ["c"], ["o"], then_branch=graph, else_branch=graph)
        graph = helper.make_graph([branch], f"g{level}", [], [helper.make_tensor_value_info("o", 1, None)])
    return graph


def test_exploding_functions_are_refused(tmp_path: Path) -> None:
    """Forty functions that each call the one below twice would unfold to 2^40 nodes."""
    proto = onnx.load(str(plain(tmp_path / "m.onnx")))
    proto.opset_import.append(helper.make_opsetid("evil", 1))
    for level in range(40):
        below = ("evil", f"f{level - 1}") if level else ("", "Identity")
        nodes = [helper.make_node(below[1], [name], [out], domain=below[0]) for name, out in (("a", "b"), ("b", "c"))]
        imports = [helper.make_opsetid("", 17), helper.make_opsetid("evil", 1)]
        proto.functions.append(helper.make_function("evil", f"f{level}", ["a"], ["c"], nodes, imports))
    proto.graph.node[0].input[0] = "x2"
    proto.graph.node.insert(0, helper.make_node("f39", ["x"], ["x2"], domain="evil"))
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(ModelError, match="unfold to more than"):
        open_onnx(tmp_path / "m.onnx")


def test_recursive_functions_are_refused(tmp_path: Path) -> None:
    proto = onnx.load(str(plain(tmp_path / "m.onnx")))
    proto.opset_import.append(helper.make_opsetid("evil", 1))
    node = helper.make_node("f", ["a"], ["b"], domain="evil")
    proto.functions.append(helper.make_function("evil", "f", ["a"], ["b"], [node], [helper.make_opsetid("evil", 1)]))
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(ModelError, match="in a circle"):
        open_onnx(tmp_path / "m.onnx")


def test_ordinary_functions_are_inlined(tmp_path: Path) -> None:
    g = Build()
    y, w, _ = g.gemm(g.node("Act", g.features(), domain="mine"))
    proto = g.model(y)
    node = helper.make_node("Tanh", ["a"], ["b"])
    proto.functions.append(helper.make_function("mine", "Act", ["a"], ["b"], [node], [helper.make_opsetid("", 17)]))
    proto.opset_import.append(helper.make_opsetid("mine", 1))
    onnx.save(proto, str(tmp_path / "m.onnx"))
    np.testing.assert_allclose(open_onnx(tmp_path / "m.onnx").head.weight, w)


def test_a_hang_ends_in_a_message(tmp_path: Path) -> None:
    g = Build()
    path = g.save(tmp_path / "slow.onnx", g.gemm(endless_loop(g, g.features()))[0])
    with pytest.raises(ModelError, match=r"slow\.onnx: the model did not open and run one image within 6 s") as caught:
        open_onnx(path, ModelOptions(limits=Limits(seconds=6)))
    assert "--model-seconds" in caught.value.hint


def test_a_loop_of_a_billion_steps_is_refused(tmp_path: Path) -> None:
    g = Build()
    f = endless_loop(g, g.features())
    g.nodes[-1].input[0] = g.const(np.int64(10**9))
    with pytest.raises(ModelError, match="loop of 1,000,000,000 steps"):
        open_onnx(g.save(tmp_path / "m.onnx", g.gemm(f)[0]))


def test_terabytes_end_in_a_message(tmp_path: Path) -> None:
    g = Build()
    huge = g.node("ConstantOfShape", g.const(np.array([1 << 20, 1 << 20])))
    f = g.node("Add", g.features(), g.node("ReduceMean", huge, keepdims=0))
    with pytest.raises(ModelError):
        open_onnx(g.save(tmp_path / "m.onnx", g.gemm(f)[0]))


def test_too_little_memory_for_the_libraries_is_the_limits_fault(model: Path) -> None:
    with pytest.raises(MachineError, match=r"model\.onnx") as caught:
        open_onnx(model, ModelOptions(limits=Limits(memory=0.06)))
    assert "--model-memory" in caught.value.hint


def test_a_cycle_is_refused(tmp_path: Path) -> None:
    proto = onnx.load(str(plain(tmp_path / "m.onnx")))
    proto.graph.node[0].input[0] = proto.graph.node[-1].output[0]
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(ModelError):
        open_onnx(tmp_path / "m.onnx")


def test_unknown_operators_are_refused_with_the_runtimes_reason(tmp_path: Path) -> None:
    g = Build()
    y, _, _ = g.gemm(g.node("Frobnicate", g.features(), domain="custom"))
    proto = g.model(y)
    proto.opset_import.append(helper.make_opsetid("custom", 1))
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(ModelError, match="Frobnicate"):
        open_onnx(tmp_path / "m.onnx")


# Inputs


def test_two_inputs_are_refused(tmp_path: Path) -> None:
    proto = onnx.load(str(plain(tmp_path / "m.onnx")))
    proto.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1]))
    onnx.save(proto, str(tmp_path / "m.onnx"))
    with pytest.raises(ModelError, match="2: 'x', 'mask'"):
        open_onnx(tmp_path / "m.onnx")


def test_an_output_that_is_the_input_is_refused(tmp_path: Path) -> None:
    proto = onnx.load(str(plain(tmp_path / "m.onnx")))
    del proto.graph.output[:]
    proto.graph.output.append(proto.graph.input[0])
    onnx.save(proto, str(tmp_path / "m.onnx"))
    with pytest.raises(ModelError, match="output is its input"):
        open_onnx(tmp_path / "m.onnx")


def test_a_batch_of_a_billion_images_is_refused_unrun(tmp_path: Path) -> None:
    proto = onnx.load(str(plain(tmp_path / "m.onnx")))
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 10**9
    onnx.save(proto, str(tmp_path / "m.onnx"))
    with pytest.raises(ModelError, match="batches of 1,000,000,000 images"):
        open_onnx(tmp_path / "m.onnx")


def test_free_height_and_width_need_a_size(tmp_path: Path) -> None:
    path = plain(tmp_path / "m.onnx", size="side")
    with pytest.raises(ModelError, match="leaves height or width free") as caught:
        open_onnx(path)
    assert "--preprocess size=" in caught.value.hint
    classifier = open_onnx(path, ModelOptions(preprocess="size=20x10"))
    assert classifier.forward(np.zeros((2, 3, 20, 10), np.float32))[1].shape == (2, C)


def test_wrong_options_are_refused(model: Path) -> None:
    with pytest.raises(ConfigError, match="unknown key"):
        open_onnx(model, ModelOptions(preprocess="sice=8"))
    with pytest.raises(ConfigError, match="size=9x9 does not fit"):
        open_onnx(model, ModelOptions(preprocess="size=9"))
    with pytest.raises(ConfigError, match="activation expected"):
        open_onnx(model, ModelOptions(activation="relu"))
    with pytest.raises(ConfigError, match="cannot use NoSuchProvider"):
        open_onnx(model, ModelOptions(providers=("NoSuchProvider",)))


@pytest.mark.parametrize(
    ("options", "shape", "dtype"),
    [
        ({"dtype": np.float16}, (3, 8, 8), np.float16),
        ({"uint8": True}, (3, 8, 8), np.uint8),
        ({"nhwc": True}, (8, 8, 3), np.float32),
        ({"channels": 1}, (1, 8, 8), np.float32),
        ({"nhwc": True, "uint8": True, "channels": 1}, (8, 8, 1), np.uint8),
    ],
)
def test_input_kinds(options: dict[str, Any], shape: tuple[int, ...], dtype: Any, tmp_path: Path) -> None:
    classifier = open_onnx(plain(tmp_path / "m.onnx", **options))
    how = classifier.preprocessing
    images = probe.random_images(how, 5, 1)
    assert images.shape == (5, *shape)
    assert images.dtype == dtype
    assert how.channels == ("gray" if 1 in shape else "rgb")
    features, logits = classifier.forward(images)
    error = np.abs(features @ classifier.head.weight.T + classifier.head.bias - logits).max()
    assert error <= (2e-2 if dtype == np.float16 else 1e-5) * np.abs(logits).max()
    assert features.dtype == logits.dtype == np.float32


# Numbers that do not depend on how they are computed


@pytest.mark.parametrize("batch", ["batch", 1, 4])
def test_batch_size_and_threads_change_nothing(batch: Any, tmp_path: Path) -> None:
    path = plain(tmp_path / "m.onnx", batch=batch)
    one, two = open_onnx(path, ModelOptions(threads=1)), open_onnx(path, ModelOptions(threads=2))
    images = probe.random_images(one.preprocessing, 11, 4)
    features, logits = one.forward(images)
    assert features.shape == (11, M)
    scale = np.abs(features).max()
    for size in (1, 3, 11):
        for classifier in (one, two):
            parts = [classifier.forward(images[start : start + size]) for start in range(0, 11, size)]
            np.testing.assert_allclose(np.vstack([part[0] for part in parts]), features, atol=1e-5 * scale, rtol=0)
            np.testing.assert_allclose(np.vstack([part[1] for part in parts]), logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(one.logits_of(features), logits, rtol=1e-5, atol=1e-5)
    assert one.forward(images[:0])[0].shape == (0, M)
    assert one.logits_of(features[:0]).shape == (0, C)


def test_a_batch_axis_named_free_though_one_image_is_baked_in(tmp_path: Path) -> None:
    g = Build()
    w = g.weight(M, C)
    flat = g.node("Reshape", g.node("GlobalAveragePool", g.maps()), g.const(np.array([1, M])))
    path = g.save(tmp_path / "m.onnx", g.node("MatMul", flat, g.const(w)))
    classifier = open_onnx(path)
    images = probe.random_images(classifier.preprocessing, 3, 1)
    features, logits = classifier.forward(images)
    np.testing.assert_allclose(features @ w, logits, rtol=1e-4, atol=1e-5)


def test_a_single_image_whose_batch_axis_is_squeezed_away(tmp_path: Path) -> None:
    """As TorchScript writes ``pool(x).squeeze()``."""
    g = Build()
    y, w, _ = g.gemm(g.node("Squeeze", g.node("GlobalAveragePool", g.maps())))
    classifier = open_onnx(g.save(tmp_path / "m.onnx", y))
    np.testing.assert_allclose(classifier.head.weight, w)
    images = probe.random_images(classifier.preprocessing, 3, 1)
    together, alone = classifier.forward(images)[1], classifier.forward(images[:1])[1]
    assert alone.shape == (1, C)
    np.testing.assert_allclose(alone, together[:1], rtol=1e-5)


def test_a_batch_folded_into_one_image_is_refused(tmp_path: Path) -> None:
    g = Build(batch=4)
    w = g.weight(C, M, 1, 1)
    y = g.node("Conv", g.node("GlobalAveragePool", g.maps()), g.const(w))
    with pytest.raises(ModelError):
        open_onnx(g.save(tmp_path / "m.onnx", g.node("Reshape", y, g.const(np.array([1, -1])))))


def test_unsorted_nodes_are_read(tmp_path: Path) -> None:
    proto = onnx.load(str(plain(tmp_path / "m.onnx")))
    nodes = list(proto.graph.node)[::-1]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    assert open_onnx(tmp_path / "m.onnx").head.kind == "Gemm"


def test_facts(model: Path) -> None:
    classifier = open_onnx(model)
    assert classifier.name == "model.onnx"
    assert classifier.format == "onnx"
    assert classifier.sha256 == hashlib.sha256(model.read_bytes()).hexdigest()
    assert classifier.description["opset"] == 17
    assert classifier.description["producer"] == "test"
    assert classifier.description["parameters"] == M * 27 + M + C * M + C
    assert classifier.head.features == "t3"
    assert classifier.head.nodes == ("n4",)
    assert classifier.class_names is None


def test_the_file_is_left_as_it_is(model: Path) -> None:
    before = model.read_bytes()
    open_onnx(model)
    assert model.read_bytes() == before
    assert os.listdir(model.parent) == ["model.onnx"]


def test_importing_and_opening_loads_no_torch_and_prints_nothing(model: Path) -> None:
    code = (
        "import sys; from singaudit.classifier.sandbox.onnx_classifier import open_onnx;"
        "assert 'onnxruntime' not in sys.modules and 'onnx' not in sys.modules;"
        f"open_onnx({str(model)!r}); assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_nesting_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    f = helper.make_tensor_value_info("f", 1, [1])
    graph = nested_ifs(12)
    graph.input.append(f)
    graph.initializer.append(numpy_helper.from_array(np.bool_(True), "c"))
    proto = helper.make_model(graph)
    monkeypatch.setattr(checks, "_DEEPEST", 9)
    with pytest.raises(ModelError, match="deeper than 9 levels"):
        checks._check_size(proto)
    monkeypatch.setattr(checks, "_MOST_NODES", 5)
    with pytest.raises(ModelError, match="more than 5 nodes"):
        checks._check_size(proto)


@pytest.mark.parametrize("declared", [-1, 0])
def test_an_axis_declared_as_nothing_is_a_free_batch(declared: int, tmp_path: Path) -> None:
    g = Build()
    y, w, b = g.gemm(g.features())
    model = g.model(y)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = declared
    onnx.save(model, str(tmp_path / "m.onnx"))
    classifier = open_onnx(tmp_path / "m.onnx", ModelOptions(preprocess="mean=0,std=1"))
    images = probe.random_images(classifier.preprocessing, 5, 1)
    features, logits = classifier.forward(images)
    np.testing.assert_allclose(features @ w.T + b, logits, rtol=1e-4, atol=1e-5)
    assert classifier.certify(images).status == "passed"


def test_a_head_of_zeros_is_refused(tmp_path: Path) -> None:
    g = Build()
    y = g.node("Gemm", g.features(), g.const(np.zeros((5, 12), np.float32)), g.const(g.weight(5)), transB=1)
    onnx.save(g.model(y), str(tmp_path / "m.onnx"))
    with pytest.raises(ModelError, match="all zero"):
        open_onnx(tmp_path / "m.onnx")


def test_a_weight_that_stands_twice_is_refused(tmp_path: Path) -> None:
    g = Build()
    y, w, _ = g.gemm(g.features())
    model = g.model(y)
    head = next(item for item in model.graph.initializer if list(item.dims) == [5, 12])
    model.graph.initializer.append(onnx.numpy_helper.from_array(-w, head.name))
    onnx.save(model, str(tmp_path / "m.onnx"))
    with pytest.raises(ModelError, match="more than once"):
        open_onnx(tmp_path / "m.onnx")
