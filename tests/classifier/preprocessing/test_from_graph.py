"""What a graph says of its own input: the channels' axis, the range it normalises, the names of its classes."""

import json

import numpy as np
import onnx
import pytest
from head_graphs import Build
from onnx import TensorProto, helper

from singaudit.classifier.options import ModelOptions
from singaudit.classifier.sandbox.model import open_model

NAMES = ("apple", "banana", "cherry", "date", "elder")


def opened(tmp_path, model, **options):
    onnx.save(model, str(tmp_path / "m.onnx"))
    return open_model(tmp_path / "m.onnx", ModelOptions(threads=1, **options))


def free(model, names=("n", "c", "h", "w")):
    for axis, name in zip(model.graph.input[0].type.tensor_type.shape.dim, names, strict=True):
        axis.dim_param = name
    return model


PROCESSOR = {
    "image_processor_type": "ViTImageProcessor",
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5] * 3,
    "image_std": [0.5] * 3,
    "resample": 2,
    "rescale_factor": 1 / 255,
    "size": {"height": 8, "width": 8},
}


def test_four_free_axes_beside_a_processor_leave_nothing_to_guess(tmp_path):
    g = Build()
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    found = opened(tmp_path, free(g.model(g.gemm(g.features())[0]))).preprocessing
    assert (found.layout, found.height, found.guessed) == ("nchw", 8, ())


def test_a_transpose_before_the_first_convolution_means_channels_come_last(tmp_path):
    g = Build(nhwc=True)
    model = free(g.model(g.gemm(g.features())[0]))
    found = opened(tmp_path, model, preprocess="size=8,mean=0,std=1").preprocessing
    assert (found.layout, found.guessed) == ("nhwc", ())


def normalised(g, steps):
    """A classifier whose first operators are ``steps``: (operator, constant)."""
    x = "x"
    for operator, value in steps:
        x = g.node(operator, x, g.const(np.asarray(value, np.float32).reshape(1, -1, 1, 1)))
    y = g.node("Relu", g.node("Conv", x, g.const(g.weight(12, 3, 3, 3))))
    logits, w, b = g.gemm(g.node("Flatten", g.node("GlobalAveragePool", y)))
    return g.model(logits), w, b


@pytest.mark.parametrize(
    ("steps", "scale"),
    [
        ([("Div", 255.0), ("Sub", (0.485, 0.456, 0.406)), ("Div", (0.229, 0.224, 0.225))], 1.0),
        ([("Sub", (123.7, 116.3, 103.5)), ("Mul", (0.017, 0.018, 0.017))], 1.0),
        ([("Mul", 1 / 127.5), ("Add", -1.0)], 1.0),
        ([("Sub", (123.7, 116.3, 103.5))], 1.0),
        ([("Sub", (0.485, 0.456, 0.406)), ("Div", (0.229, 0.224, 0.225))], 1 / 255),
        ([("Mul", 2.0), ("Sub", 1.0)], 1 / 255),
    ],
)
def test_a_normalisation_inside_the_graph_says_which_pixels_go_in(steps, scale, tmp_path):
    found = opened(tmp_path, normalised(Build(), steps)[0]).preprocessing
    assert (found.scale, found.mean, found.std) == (scale, (0.0,), (1.0,))
    assert {"scale", "mean", "std"}.isdisjoint(found.guessed)
    assert {"crop", "interpolation"} <= set(found.guessed)
    assert found.source == "the graph's own normalisation"


@pytest.mark.parametrize("last", [False, True])
def test_the_mean_of_whole_images_taken_off_says_the_range_too(last, tmp_path):
    g = Build(nhwc=last)
    mean = np.random.default_rng(0).uniform(90, 140, (1, 8, 8, 3) if last else (1, 3, 8, 8)).astype(np.float32)
    x = g.node("Sub", "x", g.const(mean))
    x = g.node("Transpose", x, perm=[0, 3, 1, 2]) if last else x
    y = g.node("Relu", g.node("Conv", x, g.const(g.weight(12, 3, 3, 3))))
    logits, _, _ = g.gemm(g.node("Flatten", g.node("GlobalAveragePool", y)))
    found = opened(tmp_path, g.model(logits)).preprocessing
    assert (found.scale, found.mean, found.std) == (1.0, (0.0,), (1.0,))
    assert {"scale", "mean", "std"}.isdisjoint(found.guessed)


def test_what_states_the_arithmetic_comes_before_the_graph(tmp_path):
    model = normalised(Build(), [("Mul", 2.0), ("Sub", 1.0)])[0]
    found = opened(tmp_path, model, preprocess="mean=0.5,std=0.25").preprocessing
    assert (found.mean, found.std, found.guessed) == ((0.5,), (0.25,), ())


@pytest.mark.parametrize("steps", [[("Mul", 0.9)], [("Div", 3.0), ("Sub", 2.0)], [("Mul", -1 / 255)]])
def test_arithmetic_that_fits_no_range_of_pixels_is_no_statement(steps, tmp_path):
    assert "scale" in opened(tmp_path, normalised(Build(), steps)[0]).preprocessing.guessed


def with_metadata(model, **properties):
    for key, value in properties.items():
        model.metadata_props.add(key=key.replace("__", "."), value=value)
    return model


def test_ultralytics_metadata_settle_everything(tmp_path):
    g = Build()
    model = g.model(g.node("Softmax", g.gemm(g.features(), c=3)[0], axis=1))
    with_metadata(
        model,
        author="Ultralytics",
        task="classify",
        imgsz="[8, 8]",
        names="{0: 'cat', 1: 'dog', 2: 'bird'}",
    )
    found = opened(tmp_path, model)
    how = found.preprocessing
    assert (how.mode, how.crop, how.interpolation, how.scale, how.mean, how.std) == (
        "crop",
        1.0,
        "bilinear",
        1 / 255,
        (0.0,),
        (1.0,),
    )
    assert (how.guessed, found.class_names) == ((), ("cat", "dog", "bird"))


def test_windows_mls_metadata_settle_range_and_order(tmp_path):
    g = Build()
    model = with_metadata(
        g.model(g.gemm(g.features())[0]), Image__NominalPixelRange="NominalRange_0_255", Image__BitmapPixelFormat="Bgr8"
    )
    how = opened(tmp_path, model).preprocessing
    assert (how.channels, how.scale, how.mean, how.std) == ("bgr", 1.0, (0.0,), (1.0,))
    assert set(how.guessed) == {"mode", "crop", "interpolation"}


def test_scores_by_class_name_are_opened_unasked_with_their_names(tmp_path):
    g = Build()
    y, w, _ = g.gemm(g.features())
    p = g.node("Softmax", y, axis=1)
    texts = g.const(np.array([name.encode() for name in NAMES], object))
    g.node("ArrayFeatureExtractor", texts, g.node("ArgMax", p, axis=1, keepdims=0), domain="ai.onnx.ml")
    label = g.nodes[-1].output[0]
    g.node("ZipMap", p, domain="ai.onnx.ml", classlabels_strings=NAMES)
    scores = g.nodes[-1].output[0]
    model = g.model(y)
    del model.graph.output[:]
    kind = helper.make_sequence_type_proto(
        helper.make_map_type_proto(TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    )
    model.graph.output.append(helper.make_tensor_value_info(label, TensorProto.STRING, None))
    model.graph.output.append(helper.make_value_info(scores, kind))
    for item in [item for item in model.opset_import if item.domain not in ("", "ai.onnx.ml")]:
        model.opset_import.remove(item)
    if not any(item.domain == "ai.onnx.ml" for item in model.opset_import):
        model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))
    found = opened(tmp_path, model)
    assert found.class_names == NAMES
    assert found.class_names_source == "ZipMap in the graph"
    np.testing.assert_allclose(found.head.weight, w)
    assert found.head.activation == "softmax"
