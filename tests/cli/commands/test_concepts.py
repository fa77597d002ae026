"""singaudit concepts check: what can be read, before an audit."""

import json

import PIL.Image
import pytest
from click.testing import CliRunner

from singaudit.cli.main import main
from singaudit.dataset.generated.source import ShapesSource

GROUPS = """
[colour]
values = ["red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink"]
template = "a {} shape"
[size]
values = ["small", "large", "enormous beyond words"]
template = "a {} shape"
"""


def run(*arguments):
    return CliRunner().invoke(
        main, ["concepts", "check", *map(str, arguments), "--vlm", "builtin:shapes", "--isolated", "--progress", "none"]
    )


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "concepts.toml"
    path.write_text(GROUPS)
    return path


def test_every_group_is_said_with_its_values_and_how_it_was_read(file):
    found = run(file, "--images", "shapes:300", "--format", "json")
    assert found.exit_code == 0, found.output
    facts = json.loads(found.stdout)
    colour, size = facts["groups"]
    assert facts["images"] == 300
    assert colour["readable"]
    assert colour["score"]["low"] > 0.5
    assert sum(value["images"] for value in colour["values"]) == 300
    assert [value["judged"] for value in size["values"]] == [True, True, False]
    text = run(file, "--images", "shapes:300").output
    assert "✓ colour" in text
    assert "enormous beyond words" in text


def test_values_that_labels_state_are_read_against_them(file, tmp_path):
    source, folder = ShapesSource(160), tmp_path / "images"
    folder.mkdir()
    colours = []
    for i in range(len(source)):
        image = source.load(i)
        PIL.Image.fromarray(image.pixels).save(folder / f"{i:03}.png")
        colours.append(dict(image.attributes)["colour"])
    for name, stated in (("right", colours), ("wrong", colours[7:] + colours[:7])):
        rows = "".join(f"{i:03}.png,{colour}\n" for i, colour in enumerate(stated))
        (tmp_path / f"{name}.csv").write_text("path,colour\n" + rows)
    read = {}
    for name in ("right", "wrong"):
        found = run(file, "--images", folder, "--labels", tmp_path / f"{name}.csv", "--format", "json")
        assert found.exit_code == 0, found.output
        read[name] = json.loads(found.stdout)["groups"][0]
        assert read[name]["basis"] == "labels"
    assert read["right"]["readable"]
    assert not read["wrong"]["readable"]
    assert "must exceed" in read["wrong"]["reason"]


def test_images_and_a_file_are_needed(file, tmp_path):
    assert run(file).exit_code == 2
    assert run(tmp_path / "none.toml", "--images", "shapes:10").exit_code == 2
