"""singaudit refit and trim as people run them: files, exit codes, words."""

import json
import shutil
import tomllib
from importlib import resources
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from PIL import Image

import singaudit
from singaudit.classifier.sandbox.onnx_classifier import open_onnx
from singaudit.cli.main import main
from singaudit.geometry.null_space import null_space

pytestmark = pytest.mark.usefixtures("kept")


def run(*arguments):
    return CliRunner().invoke(main, [*map(str, arguments), "--progress", "none"])


@pytest.fixture(scope="module")
def refitted(tmp_path_factory):
    """The embedded model that goes by colour, fitted anew."""
    folder = tmp_path_factory.mktemp("refit")
    found = run(
        "refit", "builtin:spurious", "--images", "shapes:1500", "--balance", "class,colour", "-o", folder / "new.onnx"
    )
    assert found.exit_code == 0, found.output
    return folder, found.output


def test_refit_mends_the_shortcut_and_says_by_how_much(refitted):
    folder, output = refitted
    result = json.loads((folder / "new.json").read_text())
    assert result["written"]
    assert not result["reasons"]
    assert result["accuracy"]["before"]["value"] < 0.55
    assert result["accuracy"]["change"]["low"] > 0.2
    assert result["worst_before"] < 0.05 < result["worst_after"] or result["worst_after"] is not None
    assert result["calibration_after"]["value"] < result["calibration_before"]["value"]
    assert result["certificate"]["logit_difference"] < 1e-5
    assert result["certificate"]["feature_difference"] == 0
    assert {item["group"] for item in result["group_changes"]} == {"colour"}
    assert all(item["accuracy"]["change"]["high"] >= -0.05 for item in result["group_changes"])
    guard = result["guard"]
    assert guard["raised"] > 0
    assert guard["lost"] < guard["lost_alike"]
    assert "groups count more in the fit, so that none loses more than 5 points" in " ".join(output.split())
    assert "worst group" in output
    assert "Wrote" in output
    assert "findings not evaluated: no language model" in output
    page = (folder / "new.html").read_text()
    assert "singaudit refit builtin:spurious" in page
    assert sorted(item.name for item in folder.iterdir()) == ["new.html", "new.json", "new.onnx"]


def test_the_new_file_is_the_old_one_with_another_head(refitted, models):
    folder, _ = refitted
    old, new = onnx.load(str(models / "spurious.onnx")), onnx.load(str(folder / "new.onnx"))
    changed = {item["tensor"] for item in json.loads((folder / "new.json").read_text())["changed"]}
    assert len(changed) == 2
    for one, other in zip(old.graph.initializer, new.graph.initializer, strict=True):
        assert (one == other) is (one.name not in changed)
        one.raw_data, other.raw_data = b"", b""
    assert old == new


@pytest.mark.parametrize("model", ["clean", "leaky"])
def test_a_model_without_the_flaw_is_left_alone(model, tmp_path):
    found = run("refit", f"builtin:{model}", "--images", "shapes:600", "-o", tmp_path / "new.onnx", "--format", "json")
    assert found.exit_code == 4
    result = json.loads(found.stdout)
    assert abs(result["accuracy"]["change"]["value"]) < 0.01
    assert "nothing is gained" in result["reasons"][0]
    assert not list(tmp_path.iterdir())


def test_force_writes_it_all_the_same_and_says_so(tmp_path):
    found = run("refit", "builtin:clean", "--images", "shapes:600", "-o", tmp_path / "new.onnx", "--force")
    assert found.exit_code == 0, found.output
    assert json.loads((tmp_path / "new.json").read_text())["forced"]
    assert "Written though something speaks against it" in (tmp_path / "new.html").read_text()


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Generated images as files, in a subfolder per class, with their colours in a label file."""
    from singaudit.dataset.generated.source import ShapesSource

    folder = tmp_path_factory.mktemp("photos")
    source = ShapesSource(480)
    colours = source.attributes["colour"]
    rows = []
    for index in range(len(source)):
        image = source.load(index)
        name = f"{source.labels[index]}/{index:04d}.png"
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(image.pixels).save(folder / name)
        rows.append(f"{name},{source.labels[index]},{colours[index]}")
    return folder, rows


def test_shuffled_labels_write_nothing(photos, tmp_path):
    folder, rows = photos
    cells = [row.split(",") for row in rows]
    labels = np.random.default_rng(0).permutation([label for _, label, _ in cells])
    file = tmp_path / "labels.csv"
    file.write_text("path,label\n" + "\n".join(f"{c[0]},{label}" for c, label in zip(cells, labels, strict=True)))
    found = run("refit", "builtin:clean", "--images", folder, "--labels", file, "-o", tmp_path / "new.onnx")
    assert found.exit_code == 4, found.output
    assert "the labels do not fit these images" in " ".join(found.output.split())
    assert not (tmp_path / "new.onnx").exists()


def test_columns_of_the_label_file_balance(photos, tmp_path):
    folder, rows = photos
    file = tmp_path / "labels.csv"
    file.write_text("path,label,colour\n" + "\n".join(rows))
    arguments = ["refit", "builtin:spurious", "--images", folder, "--labels", file]
    wanted = ["--balance", "class,colour", "--format", "json", "--most-lost", "100", "-o", tmp_path / "new.onnx"]
    found = run(*arguments, *wanted)
    result = json.loads(found.stdout)
    assert [group["source"] for group in result["balanced"]] == ["the label file", "the label file"]
    found = run(*arguments, "--balance", "class,texture", "-o", tmp_path / "other.onnx")
    assert found.exit_code == 2
    assert "nothing states 'texture'" in found.output
    assert "colour" in found.output


def test_too_few_images_a_class_are_refused_with_their_number(tmp_path):
    found = run("refit", "builtin:clean", "--images", "shapes:120", "-o", tmp_path / "new.onnx")
    assert found.exit_code == 2
    assert "at least 20 images of each class to fit on" in found.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["refit", "builtin:clean", "-o", "new.onnx"], "expected labelled images"),
        (["refit", "builtin:clean", "--images", "shapes:500", "-o", "new.txt"], "ends in .onnx"),
        (["refit", "builtin:clean", "--images", "shapes:500", "-o", "nowhere/new.onnx"], "no nowhere"),
        (["trim", "builtin:clean", "--erase", "colour", "-o", "new.onnx"], "expected images to fit the erasure on"),
        (["trim", "missing.onnx", "-o", "new.onnx"], "missing.onnx"),
    ],
)
def test_wrong_input_is_one_message_and_exit_2(arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = run(*arguments)
    assert found.exit_code == 2
    assert said in found.output
    assert "Traceback" not in found.output
    assert not list(tmp_path.iterdir())


def test_nothing_is_ever_written_over(models, tmp_path):
    shutil.copy(models / "clean.onnx", tmp_path / "model.onnx")
    before = (tmp_path / "model.onnx").read_bytes()
    for command in ("refit", "trim"):
        found = run(
            command, tmp_path / "model.onnx", "--images", "shapes:500", "-o", tmp_path / "model.onnx", "--force"
        )
        assert found.exit_code == 2
        assert "exists already" in found.output
    assert (tmp_path / "model.onnx").read_bytes() == before


def test_trim_adds_the_seen_part_and_says_what_it_tells(tmp_path):
    found = run("trim", "builtin:leaky", "--images", "shapes:500", "-o", tmp_path / "seen.onnx")
    assert found.exit_code == 0, found.output
    result = json.loads((tmp_path / "seen.json").read_text())
    assert (result["rank"], result["feature_dim"], result["output_name"]) == (8, 64, "features_seen")
    assert all(mode["identical"] for mode in result["modes"] if mode["mode"] == "unoptimised")
    colour = next(part for part in result["readable"] if part["group"] == "colour")
    assert colour["features"]["low"] > 0.95
    assert colour["chance"] + 0.2 < colour["seen"]["value"] < colour["features"]["low"] - 0.2
    assert "it is not private" in " ".join(found.output.split())
    assert open_onnx(tmp_path / "seen.onnx").head.weight.shape == (8, 64)


def test_trim_without_images_says_that_it_was_proved_on_noise(tmp_path):
    found = run("trim", "builtin:leaky", "--keep", "projected", "-o", tmp_path / "small.onnx")
    assert found.exit_code == 0, found.output
    assert "noise" in found.output
    small = open_onnx(tmp_path / "small.onnx").head
    assert small.weight.shape == (8, 8)
    assert null_space(small).null_dim == 0
    again = run("trim", tmp_path / "small.onnx", "-o", tmp_path / "smaller.onnx")
    assert again.exit_code == 4
    assert "ignores nothing" in again.output
    assert not (tmp_path / "smaller.onnx").exists()


def test_trim_erases_a_group_and_says_that_logits_change(tmp_path):
    found = run(
        "trim", "builtin:leaky", "--keep", "projected", "--erase", "colour", "--images", "shapes:900",
        "-o", tmp_path / "erased.onnx",
    )  # fmt: skip
    assert found.exit_code == 0, found.output
    result = json.loads((tmp_path / "erased.json").read_text())
    erased, colour = result["erased"], next(part for part in result["readable"] if part["group"] == "colour")
    assert erased["dimensions"] == 7
    assert 0.01 < erased["logit_change"] < 1
    assert erased["accuracy"]["after"]["value"] > 0.95
    assert colour["erased"]["value"] < 0.35 < colour["seen"]["low"]
    assert "logits change" in found.output


def test_the_functions_do_what_the_commands_do(tmp_path):
    config = singaudit.AuditConfig(model="builtin:leaky", cache="none")
    result = singaudit.trim(config, singaudit.TrimOptions(str(tmp_path / "seen.onnx")))
    assert result.written
    with pytest.raises(singaudit.SingauditError, match="labelled images"):
        singaudit.refit(config, singaudit.RefitOptions(str(tmp_path / "new.onnx")))
    assert {path.name for path in Path(tmp_path).iterdir()} == {"seen.onnx", "seen.html", "seen.json"}


def test_a_link_is_never_followed(models, tmp_path):
    (tmp_path / "new.onnx").symlink_to(tmp_path / "elsewhere.onnx")
    found = run("trim", "builtin:leaky", "-o", tmp_path / "new.onnx", "--force")
    assert found.exit_code == 2
    assert not (tmp_path / "elsewhere.onnx").exists()


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    found = run("trim", "builtin:leaky", "-o", tmp_path / "new.onnx")
    assert found.exit_code == 3
    assert "No space left" in found.output
    assert not list(tmp_path.iterdir())


def test_groups_that_nothing_states_are_read_and_the_report_says_so(photos, tmp_path):
    folder, _ = photos
    arguments = [
        "refit",
        "builtin:spurious",
        "--images",
        folder,
        "--balance",
        "class,colour",
        "-o",
        tmp_path / "n.onnx",
    ]
    found = run(*arguments)
    assert found.exit_code == 2
    assert "nothing states 'colour'" in found.output
    whole = tomllib.loads((resources.files("singaudit") / "demo" / "concepts.toml").read_text())["colour"]
    concepts = tmp_path / "colours.toml"
    concepts.write_text(f"[colour]\nvalues = {json.dumps(whole['values'])}\ntemplate = {json.dumps(whole['template'])}")
    reading = ["--vlm", "builtin:shapes", "--concepts", concepts]
    found = run(*arguments, *reading, "--format", "json", "--most-lost", "100")
    result = json.loads(found.stdout)
    assert [item["group"] for item in result["findings"]] == ["class", "colour"]
    assert result["findings_note"].startswith("held-out images as builtin:shapes reads them")
    assert result["balanced"][1]["source"] == "read zero-shot by builtin:shapes"
    assert len(result["balanced"][1]["values"]) == 8
    assert result["accuracy"]["change"]["low"] > 0


def test_names_are_inert_text_on_the_page(photos, tmp_path):
    folder, rows = photos
    file = tmp_path / "labels.csv"
    evil = "<script>alert(1)</script>"
    lines = [f"{row.rsplit(',', 1)[0]},{evil if i % 2 else 'x'}" for i, row in enumerate(rows)]
    file.write_text("path,label,<b>mark</b>\n" + "\n".join(lines))
    found = run(
        "refit", "builtin:spurious", "--images", folder, "--labels", file, "--balance", "class,<b>mark</b>",
        "-o", tmp_path / "new.onnx", "--force",
    )  # fmt: skip
    assert found.exit_code == 0, found.output
    page = (tmp_path / "new.html").read_text()
    assert "alert(1)" in page
    assert evil not in page
    assert "<b>mark</b>" not in page
