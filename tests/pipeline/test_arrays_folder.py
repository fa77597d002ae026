"""A folder of arrays: audited like anything else, and hostile until checked."""

import json
import os
import runpy
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from singaudit import AuditConfig, SingauditError, audit
from singaudit.cli.main import main
from singaudit.pipeline.arrays.folder import open_folder

EXAMPLE = Path(__file__).parents[2] / "examples" / "write_arrays.py"
GATE = "finding[colour] not in (strong, partial)"


@pytest.fixture(scope="module")
def example():
    return runpy.run_path(str(EXAMPLE))


@pytest.fixture(scope="module")
def written(example, tmp_path_factory):
    folder = tmp_path_factory.mktemp("arrays")
    example["write"](folder, *example["made_up"](images=1200))
    return folder


@pytest.fixture
def small(example, tmp_path):
    example["write"](tmp_path, *example["made_up"](images=60))
    return tmp_path


@pytest.fixture(scope="module")
def reported(written, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "audit"
    given = [
        "--arrays",
        str(written),
        "--gate",
        GATE,
        "--gate",
        "default",
        "-o",
        str(out),
        "--report",
        "html,json,csv,md,junit,sarif",
    ]
    return CliRunner().invoke(main, ["run", *given, "--quiet"]), out


def test_the_planted_answer_comes_back_and_the_gate_fails(reported):
    done, out = reported
    assert done.exit_code == 1, done.output
    result = json.loads((out / "result.json").read_text())
    assert {f["group"]: f["finding"] for f in result["findings"]} == {
        "class": "not detected",
        "colour": "strong",
        "size": "not detected",
    }
    assert result["data"]["accuracy"]["value"] > 0.9
    # The ready policy is decided without the model that arrays do not hold.
    assert {g["status"] for g in result["gates"] if g["rule"] != GATE} == {"pass"}
    assert result["reproduce"]["command"].startswith("singaudit run --arrays ")
    assert not result["pictures"]
    assert not result["gallery"]


def test_every_kind_of_report_is_written_and_offers_no_command_that_arrays_cannot_follow(reported):
    out = reported[1]
    page = (out / "report.html").read_text()
    assert {"report.html", "result.json", "scores.csv", "summary.md"} <= set(os.listdir(out))
    assert "--probe" not in page
    assert "singaudit refit" not in page
    assert "ONNX Runtime," not in page
    assert "row 7" in (out / "scores.csv").read_text()


def test_arrays_are_mapped_and_not_copied(written):
    found = open_folder(str(written))
    assert all(isinstance(a, np.memmap) and not a.flags.writeable for a in found.arrays.values())


def test_a_policy_and_the_names_of_images_hold_for_arrays(example, tmp_path):
    arrays, names = example["made_up"](images=300)
    example["write"](tmp_path, arrays, {**names, "images": [f"frame {i}" for i in range(300)], "model": "mine"})
    said = []
    found = audit(AuditConfig(arrays=str(tmp_path), policy={"*": ("colour",)}), warn=said.append)
    assert found.result.model.name == "mine"
    assert found.per_image["image"][5] == "frame 5"
    assert [g.status for g in found.result.gates] == ["inconclusive"]
    assert "probe_features.npy" in said[0]
    assert found.exit_code == 4


def pickled(folder):
    np.save(folder / "labels.colour.npy", np.array([{}] * 60, dtype=object), allow_pickle=True)


def longer_than_it_is(folder):
    file = folder / "features.npy"
    file.write_bytes(file.read_bytes()[:-100])


def link(folder):
    (folder / "units.npy").symlink_to(folder / "class_labels.npy")


def pipe(folder):
    os.mkfifo(folder / "units.npy")


def renamed(folder):
    (folder / "class_labels.npy").rename(folder / "class_label.npy")


def another_group(folder):
    (folder / "labels.colour.npy").rename(folder / "labels.color.npy")


def structured(folder):
    np.save(folder / "units.npy", np.zeros(60, [("a", "i4")]))


def archive(folder):
    np.savez(folder / "units.npz", np.zeros(60))
    (folder / "units.npz").rename(folder / "units.npy")


def no_array(folder):
    (folder / "weight.npy").write_bytes(b"\x93NUMPY\x01\x00\xff\xff{'descr': __import__('os').system('true')}")


def missing(folder):
    (folder / "bias.npy").unlink()


def too_many_names(folder):
    names = json.loads((folder / "names.json").read_text())
    (folder / "names.json").write_text(json.dumps({**names, "classes": [*names["classes"], "more"]}))


def deep(folder):
    (folder / "names.json").write_text("[" * 200_000)


def unknown_key(folder):
    (folder / "names.json").write_text('{"classes": ["a"], "labels": {}}')


def nan(folder):
    features = np.load(folder / "features.npy")
    features[3, 3] = np.nan
    np.save(folder / "features.npy", features)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (pickled, "labels.colour.npy"), (longer_than_it_is, "features.npy"), (link, "a link"), (pipe, "no file"),
        (renamed, "class_label.npy"), (another_group, "labels.color.npy"), (structured, "units.npy"),
        (archive, "units.npy"), (no_array, "weight.npy"), (missing, "bias.npy"), (too_many_names, "names of classes"),
        (deep, "names.json"), (unknown_key, "labels"), (nan, "NaN"),
    ],
)  # fmt: skip
def test_a_hostile_or_mistaken_folder_is_refused_in_words(small, spoil, said):
    spoil(small)
    with pytest.raises(SingauditError) as raised:
        audit(AuditConfig(arrays=str(small)))
    assert said in raised.value.message
    assert raised.value.hint
    assert raised.value.exit_code == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["m.onnx", "--arrays", "a"], "both"),
        ([], "neither"),
        (["--arrays", "nowhere"], "no folder"),
        (["--arrays", "a", "--images", "photos"], "--images"),
    ],
)
def test_arrays_stand_in_the_place_of_model_and_images(tmp_path, words, said):
    done = CliRunner().invoke(main, ["run", *words, "-o", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert said in done.output
    assert not (tmp_path / "out").exists()
