"""singaudit refit and trim on models of other kinds, one logit, sigmoids, half precision, and on scenes of images."""

import io
import json

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from singaudit.classifier.sandbox.onnx_classifier import open_onnx
from singaudit.cli.main import main
from singaudit.dataset.generated.source import ShapesSource

pytestmark = pytest.mark.usefixtures("kept")

COUNT = 240
ROUND = ("circle", "ring", "heart", "crescent")


def run(*arguments):
    return CliRunner().invoke(main, [*map(str, arguments), "--progress", "none"])


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Generated images as files, and a table of whether they are round, and of scenes of three images."""
    folder = tmp_path_factory.mktemp("photos")
    source = ShapesSource(COUNT)
    rows = ["path,label,scene"]
    for index in range(COUNT):
        Image.fromarray(source.load(index).pixels).save(folder / f"{index:04d}.png")
        rows.append(f"{index:04d}.png,{'round' if source.labels[index] in ROUND else 'angular'},{index // 3}")
    table = tmp_path_factory.mktemp("labels") / "labels.csv"
    table.write_text("\n".join(rows))
    return ["--images", folder, "--labels", table]


def with_head(models, rows, element=TensorProto.FLOAT, activation=None):
    """The embedded model that goes by colour, its head replaced by sums of its rows (c, 8) in another precision."""
    model = onnx.load(str(models / "spurious.onnx"))
    tensors = {item.name: item for item in model.graph.initializer}
    gemm = model.graph.node.pop()
    dtype = helper.tensor_dtype_to_np_dtype(element)
    for name in gemm.input[1:]:
        old = numpy_helper.to_array(tensors[name]).astype(np.float64)
        tensors[name].CopyFrom(numpy_helper.from_array((rows @ old).astype(dtype), name))
    features = gemm.input[0]
    nodes = [
        helper.make_node("Cast", [features], ["narrow"], to=element),
        helper.make_node("Gemm", ["narrow", *gemm.input[1:]], ["scores"], transB=1),
        helper.make_node("Cast", ["scores"], ["logits"], to=TensorProto.FLOAT),
    ]
    if activation is not None:
        nodes.append(helper.make_node(activation, ["logits"], ["shares"]))
        model.graph.output[0].name = "shares"
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = len(rows)
    model.graph.node.extend(nodes)
    kept = [item for item in model.metadata_props if item.key not in ("singaudit.classes", "singaudit.activation")]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    return model


CLASSES = ("circle", "square", "triangle", "star", "cross", "ring", "heart", "crescent")
SIDES = np.array([[name not in ROUND for name in CLASSES], [name in ROUND for name in CLASSES]], float) / 4


def test_one_logit_is_fitted_anew_and_its_findings_are_told(models, photos, tmp_path):
    onnx.save(with_head(models, SIDES[:1] - SIDES[1:]), str(tmp_path / "one.onnx"))
    (tmp_path / "concepts.toml").write_text('[colour]\nvalues = ["red", "green", "blue", "yellow"]')
    found = run(
        "refit", tmp_path / "one.onnx", "--classes", "angular,round", *photos, "--vlm", "builtin:shapes",
        "--concepts", tmp_path / "concepts.toml", "-o", tmp_path / "new.onnx", "--format", "json",
    )  # fmt: skip
    assert found.exit_code == 0, found.output
    result = json.loads(found.stdout)
    assert result["classes"] == 1
    assert result["accuracy"]["before"]["value"] < 0.5 < result["accuracy"]["after"]["low"]
    assert open_onnx(tmp_path / "new.onnx").head.weight.shape == (1, 64)
    told = {item["group"]: (item["before"], item["after"]) for item in result["findings"]}
    assert set(told) == {"class", "colour"}
    assert "as builtin:shapes reads them" in result["findings_note"]
    page = (tmp_path / "new.html").read_text()
    assert f"<td>{told['colour'][0]}" in page
    assert f"<td>{told['colour'][1]}" in page


def test_sigmoids_in_half_precision_beside_the_file(models, photos, tmp_path):
    folder = tmp_path / "old"
    folder.mkdir()
    onnx.save_model(
        with_head(models, SIDES[::-1], TensorProto.FLOAT16, "Sigmoid"),
        str(folder / "two.onnx"),
        save_as_external_data=True,
        location="two.bin",
        size_threshold=0,
    )
    before = {item.name: item.read_bytes() for item in folder.iterdir()}
    new = tmp_path / "new.onnx"
    found = run("refit", folder / "two.onnx", "--classes", "angular,round", *photos, "-o", new, "--format", "json")
    assert found.exit_code == 0, found.output
    result = json.loads(found.stdout)
    assert (result["activation"], result["classes"]) == ("sigmoid", 2)
    assert result["accuracy"]["change"]["low"] > 0
    assert any("a sigmoid of its own" in warning for warning in result["warnings"])
    names = {"new.onnx", "new.onnx.data", "new.html", "new.json", "old"}
    assert {item.name for item in tmp_path.iterdir()} == names
    assert {item.name: item.read_bytes() for item in folder.iterdir()} == before
    assert result["output"]["bytes"] == new.stat().st_size + (tmp_path / "new.onnx.data").stat().st_size
    head = open_onnx(new).head
    assert (head.stored_dtype, head.weight.shape, head.activation) == ("float16", (2, 64), "sigmoid")
    small = ["--keep", "projected", "-o", tmp_path / "small.onnx", "--format", "json"]
    seen = run("trim", new, "--classes", "angular,round", *photos, *small)
    assert seen.exit_code == 0, seen.output
    assert json.loads(seen.stdout)["precision"] == "fp16"
    assert open_onnx(tmp_path / "small.onnx").head.weight.shape == (2, 2)


def in_half_precision(path):
    """The embedded model that goes by colour, every weight and operator in float16, images and logits in float32."""
    model = onnx.load(str(path))
    for item in model.graph.initializer:
        if item.data_type == TensorProto.FLOAT:
            item.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(item).astype(np.float16), item.name))
    given, answer = model.graph.input[0].name, model.graph.output[0].name
    for node in model.graph.node:
        assert not any(attribute.HasField("t") for attribute in node.attribute)
        node.input[:] = ["half_images" if name == given else name for name in node.input]
        node.output[:] = ["half_logits" if name == answer else name for name in node.output]
    model.graph.node.insert(0, helper.make_node("Cast", [given], ["half_images"], to=TensorProto.FLOAT16))
    model.graph.node.append(helper.make_node("Cast", ["half_logits"], [answer], to=TensorProto.FLOAT))
    del model.graph.value_info[:]
    return model


def test_a_model_that_is_half_precision_throughout_is_mended_and_trimmed(models, tmp_path):
    onnx.save(in_half_precision(models / "spurious.onnx"), str(tmp_path / "half.onnx"))
    new, small = tmp_path / "new.onnx", tmp_path / "small.onnx"
    found = run("refit", tmp_path / "half.onnx", "--images", "shapes:600", "-o", new, "--format", "json")
    assert found.exit_code == 0, found.output
    result = json.loads(found.stdout)
    assert result["accuracy"]["change"]["low"] > 0.1
    assert result["certificate"]["logit_difference"] <= result["certificate"]["tolerance"]
    old, mended = (onnx.load(str(path)).graph.initializer for path in (tmp_path / "half.onnx", new))
    assert [item.data_type for item in mended] == [item.data_type for item in old]
    assert sum(one != other for one, other in zip(old, mended, strict=True)) == len(result["changed"]) == 2
    found = run("trim", new, "--keep", "projected", "-o", small, "--format", "json")
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["precision"] == "fp16"
    assert open_onnx(small).head.weight.shape == (8, 8)
    found = run("trim", new, "-o", tmp_path / "seen.onnx", "--format", "json")
    assert found.exit_code == 0, found.output
    assert all(mode["identical"] for mode in json.loads(found.stdout)["modes"] if mode["mode"] == "unoptimised")


def test_images_of_one_scene_stand_on_one_side_and_count_once(models, photos, tmp_path):
    def refit(units):
        words = ["--units", units, "--holdout", "0.4", "--format", "json", "--classes", "angular,round", "--force"]
        return run("refit", tmp_path / "two.onnx", *photos, *words, "-o", tmp_path / f"{units}.onnx")

    def told(units):
        found = refit(units)
        assert found.exit_code == 0, found.output
        return json.loads(found.stdout)

    onnx.save(with_head(models, SIDES), str(tmp_path / "two.onnx"))
    alone, scenes = told("none"), told("scene")
    assert (alone["units"]["how"], alone["units"]["count"]) == ("none", COUNT)
    assert (scenes["units"]["how"], scenes["units"]["count"]) == ("column", COUNT // 3)
    assert alone["fitted_on"] + alone["held_out"] == COUNT
    # Of a scene at most one image of each class judges.
    assert scenes["fitted_on"] % 3 == 0
    assert scenes["held_out"] < (COUNT - scenes["fitted_on"]) * 0.8
    assert "--units scene" in scenes["command"]
    missing = refit("missing")
    assert (missing.exit_code, "--units" in missing.output) == (2, True)


def test_copies_of_an_image_are_found_by_their_pixels(photos, tmp_path, models):
    copies = tmp_path / "copies"
    copies.mkdir()
    rows = (photos[3]).read_text().splitlines()
    table = ["path,label"]
    for row in rows[1:]:
        name, label, _ = row.split(",")
        picture = Image.open(photos[1] / name)
        picture.save(copies / name)
        buffer = io.BytesIO()
        picture.resize((128, 128)).save(buffer, "JPEG", quality=90)
        (copies / f"copy-{name}.jpg").write_bytes(buffer.getvalue())
        table += [f"{name},{label}", f"copy-{name}.jpg,{label}"]
    (tmp_path / "labels.csv").write_text("\n".join(table))
    onnx.save(with_head(models, SIDES), str(tmp_path / "two.onnx"))
    found = run(
        "refit", tmp_path / "two.onnx", "--images", copies, "--labels", tmp_path / "labels.csv",
        "--classes", "angular,round", "-o", tmp_path / "new.onnx", "--force",
    )  # fmt: skip
    assert found.exit_code == 0, found.output
    result = json.loads((tmp_path / "new.json").read_text())
    joined = [set(unit) for unit in result["units"]["joined"]]
    assert result["units"]["joined_units"] > 0.8 * COUNT
    assert {f"{rows[1].split(',')[0]}", f"copy-{rows[1].split(',')[0]}.jpg"} in joined or len(joined) == 50
    assert result["held_out"] < 0.25 * 2 * COUNT
    assert "those of one scene stay on one side" in found.output


def test_a_wide_linear_layer_before_the_head_is_folded_and_what_that_saves_is_measured(models, tmp_path):
    model = onnx.load(str(models / "clean.onnx"))
    tensors = {item.name: item for item in model.graph.initializer}
    gemm = model.graph.node.pop()
    weight, bias = (numpy_helper.to_array(tensors[name]).astype(np.float64) for name in gemm.input[1:])
    wide = np.random.default_rng(0).standard_normal((2048, 64))
    named = {"wide": wide, "narrow": weight @ np.linalg.pinv(wide), "none": np.zeros(2048), "bias": bias}
    model.graph.initializer.extend(numpy_helper.from_array(v.astype(np.float32), k) for k, v in named.items())
    model.graph.node.append(helper.make_node("Gemm", [gemm.input[0], "wide", "none"], ["embedding"], transB=1))
    model.graph.node.append(helper.make_node("Gemm", ["embedding", "narrow", "bias"], list(gemm.output), transB=1))
    for name in gemm.input[1:]:
        model.graph.initializer.remove(tensors[name])
    onnx.save(model, str(tmp_path / "wide.onnx"))
    new = tmp_path / "new.onnx"
    found = run("trim", tmp_path / "wide.onnx", "--keep", "projected", "-o", new)
    assert found.exit_code == 0, found.output
    result = json.loads((tmp_path / "new.json").read_text())
    assert result["folded"]
    assert (result["feature_dim"], result["rank"]) == (2048, 8)
    assert result["output"]["bytes"] == new.stat().st_size < result["model"]["bytes"] - 2000 * 64 * 4
    assert result["time"]["seconds_after"] > 0
    assert result["time"]["ratio"]["low"] <= result["time"]["ratio"]["value"] <= result["time"]["ratio"]["high"]
    assert "became narrower" in found.output
    assert result["time"]["ratio"]["n"] >= 6
    assert result["time"]["ratio"]["high"] - result["time"]["ratio"]["low"] < 0.2
    assert "ms before" in " ".join(found.output.split())
    assert all(mode["difference"] <= 1e-5 for mode in result["modes"])


def test_an_audit_of_the_trimmed_model_says_not_applicable_and_its_gate_is_geometry(tmp_path):
    found = run("trim", "builtin:leaky", "--keep", "projected", "-o", tmp_path / "small.onnx")
    assert found.exit_code == 0, found.output
    (tmp_path / "concepts.toml").write_text('[colour]\nvalues = ["red", "green", "blue"]')
    found = run(
        "run", tmp_path / "small.onnx", "--images", "shapes:50", "--vlm", "builtin:shapes", "--report", "json",
        "--concepts", tmp_path / "concepts.toml", "--gate", "geometry.null_dim < 1", "-o", tmp_path / "audit",
    )  # fmt: skip
    result = json.loads((tmp_path / "audit" / "result.json").read_text())
    found_of = {item["group"]: item["finding"] for item in result["findings"]}
    assert found_of == {"class": "not applicable", "colour": "not applicable"}
    assert [gate["status"] for gate in result["gates"]] == ["pass"]
    assert (found.exit_code, result["verdict"]["status"]) == (0, "pass")
