"""singaudit image as people run it."""

import json

import PIL.Image
import pytest
from click.testing import CliRunner

from singaudit.cli.main import main
from singaudit.dataset.sources.table import open_source

VLM = ("--vlm", "builtin:shapes", "--progress", "none", "--isolated")


def run(*arguments):
    return CliRunner().invoke(main, ["image", *map(str, arguments), *VLM])


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photo")
    PIL.Image.fromarray(open_source("shapes:1:99").load(0).pixels).save(folder / "pink.png")
    return folder / "pink.png"


def test_an_image_of_a_leaky_classifier_loses_its_colour(photo, tmp_path, monkeypatch):
    monkeypatch.setenv("SINGAUDIT_CACHE", str(tmp_path / "cache"))
    asked = ("builtin:leaky", photo, "--images", "shapes:1200", "-o", tmp_path / "out", "--format", "json")
    found = run(*asked)
    assert found.exit_code == 0, found.output
    result = json.loads(found.stdout)
    assert result["predicted"] == "square"
    assert result["lost"][0]["name"] == "pink"
    assert result["lost"][0]["change_deg"]["high"] < result["lost"][0]["control_deg"]
    assert (result["decomposition"]["atoms"][0]["name"], result["decomposition"]["atoms"][0]["change"]) == (
        "pink",
        "lost",
    )
    assert result["logit_change"] < 1e-9
    assert len(result["near_original"]) == 4
    page = (tmp_path / "out" / "image.html").read_text()
    assert "pink" in page
    assert "<script" in page
    # The second time nothing is fitted, and everything is the same.
    monkeypatch.setattr("singaudit.pipeline.photo.fit_for_keeping", lambda *a, **k: pytest.fail("fitted again"))
    again = run(*asked)
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout) == result


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("builtin:leaky", "PHOTO"), "--images"),
        (("builtin:leaky", "none.png", "--images", "shapes:60"), "none.png"),
        (("builtin:leaky", __file__, "--images", "shapes:60"), "no image"),
    ],
)
def test_what_cannot_be_described_exits_2_and_writes_nothing(photo, tmp_path, arguments, match):
    found = run(*(str(photo) if a == "PHOTO" else a for a in arguments), "-o", tmp_path / "out")
    assert found.exit_code == 2
    assert match in found.output
    assert not (tmp_path / "out").exists()
