"""singaudit image --toward as people run it: equivalents of one photo, checked by the deployed model."""

import hashlib
import json

import PIL.Image
import pytest
from click.testing import CliRunner

from singaudit.cli.main import main
from singaudit.dataset.sources.table import open_source
from singaudit.pipeline.certificate import certified

BLUE = "a photo of a blue shape"
IMAGES = "shapes:600"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A pink square, a blue shape, and a cache that all tests here share."""
    folder = tmp_path_factory.mktemp("home")
    PIL.Image.fromarray(open_source("shapes:1:99").load(0).pixels).save(folder / "pink.png")
    return folder


@pytest.fixture
def run(home, monkeypatch):
    monkeypatch.setenv("SINGAUDIT_CACHE", str(home / "cache"))

    def run(model, photo, *arguments):
        words = ["image", model, str(photo), "--vlm", "builtin:shapes", "--progress", "none", "--isolated", *arguments]
        return CliRunner().invoke(main, [str(w) for w in words])

    return run


def toward_blue(run, model, photo, out, *more):
    return run(model, photo, "--images", IMAGES, "--toward", BLUE, "-o", out, "--format", "json", *more)


def test_a_leaky_head_lets_a_pink_photo_turn_blue(run, home, tmp_path):
    found = toward_blue(run, "builtin:leaky", home / "pink.png", tmp_path / "out", "--generate", "3")
    assert found.exit_code == 0, found.output
    result = json.loads(found.stdout)
    generation = result["generation"]
    assert generation["success"]["value"] == 1
    assert generation["success"]["n"] == 3
    assert generation["null_move"]["value"] > 0.8
    assert "carried by what the head ignores" in generation["sentence"]
    assert result["certificate"]["status"] == "passed"
    refined = [p for p in result["pictures"] if p["kind"] == "refined"]
    assert len(refined) == 3
    assert len({p["partner"] for p in refined}) == 3
    for p in refined:
        assert p["image"] == "pink.png"
        assert p["logit_difference"] <= 0.05
        assert p["top1_kept"]
        # The vision-language model sees the text in the saved file, the classifier no change.
        assert p["attribute_score_deg"] > 15
        assert PIL.Image.open(tmp_path / "out" / p["file"]).size == PIL.Image.open(home / "pink.png").size
    assert {p["kind"] for p in result["pictures"]} >= {"neighbour", "natural pair", "refined"}
    page = (tmp_path / "out" / "image.html").read_text()
    assert "Equivalents toward" in page
    assert generation["sentence"] in page


def test_the_same_command_gives_the_same_pictures_and_another_one_removes_them(run, home, tmp_path):
    def files():
        return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in (tmp_path / "image-pictures").iterdir()}

    (tmp_path / "mine.txt").write_text("not singaudit's")
    words = ("builtin:leaky", home / "pink.png", tmp_path, "--generate")
    assert toward_blue(run, *words, "2").exit_code == 2
    (tmp_path / "mine.txt").unlink()
    first = toward_blue(run, *words, "2")
    assert first.exit_code == 0, first.output
    before = files()
    assert sorted(before) == [f"00{i}-{part}.png" for i in (1, 2) for part in ("control", "original", "refined")]
    second = toward_blue(run, *words, "2")
    assert (second.stdout, files()) == (first.stdout, before)
    assert toward_blue(run, *words, "1").exit_code == 0
    assert sorted(files()) == ["001-control.png", "001-original.png", "001-refined.png"]
    assert run("builtin:leaky", home / "pink.png", "--images", IMAGES, "-o", tmp_path).exit_code == 0
    assert not (tmp_path / "image-pictures").exists()


def test_a_clean_head_keeps_null_components_where_they_are(run, home, tmp_path):
    found = toward_blue(run, "builtin:clean", home / "pink.png", tmp_path / "out", "--generate", "3")
    assert found.exit_code == 0, found.output
    generation = json.loads(found.stdout)["generation"]
    assert generation["null_move"]["value"] < 0.3
    assert "hardly at all" in generation["sentence"]


def test_a_photo_that_shows_the_text_is_led_nowhere(run, home, tmp_path):
    source = open_source("shapes:600")
    blue = next(i for i in range(600) if is_blue(source.load(i).pixels))
    PIL.Image.fromarray(source.load(blue).pixels).save(home / "blue.png")
    found = toward_blue(run, "builtin:leaky", home / "blue.png", tmp_path / "out")
    assert found.exit_code == 0, found.output
    result = json.loads(found.stdout)
    assert result["generation"]["shown_already"]
    assert "already shows" in result["generation"]["sentence"]
    assert not [p for p in result["pictures"] if p["kind"] == "refined"]
    assert not (tmp_path / "out" / "image-pictures").exists()


def is_blue(pixels):
    drawn = pixels[pixels.min(axis=2) < 100].reshape(-1, 3).astype(int)
    return len(drawn) > 50 and (drawn[:, 2] - drawn[:, :2].max(axis=1)).mean() > 100


def test_a_photo_among_the_references_is_not_its_own_neighbour(run, home, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    source = open_source("shapes:80")
    for i in range(80):
        PIL.Image.fromarray(source.load(i).pixels).save(folder / f"{i:03d}.png")
    found = run(
        "builtin:leaky", folder / "007.png", "--images", folder, "--toward", "a photo of a green shape",
        "--generate", "1", "-o", tmp_path / "out", "--format", "json",
    )  # fmt: skip
    assert found.exit_code in (0, 4), found.output
    partners = [p["partner"] for p in json.loads(found.stdout)["pictures"] if p["kind"] != "refined"]
    assert partners
    assert not [name for name in partners if name.endswith("007.png")]


def test_without_images_to_start_from_nothing_is_asked_of_the_model(run, home, tmp_path):
    found = run("builtin:leaky", home / "pink.png", "--translator", "x.safetensors", "--toward", BLUE, "-o", tmp_path)
    assert found.exit_code == 2
    assert "--images" in found.output


def test_no_equivalent_without_a_trusted_certificate_and_the_answer_is_undecided(run, home, tmp_path, monkeypatch):
    def failed(*arguments):
        return certified(*arguments).model_copy(update={"status": "failed", "reason": "logits differ by 0.1"})

    monkeypatch.setattr("singaudit.pipeline.photo.certified", failed)
    found = toward_blue(run, "builtin:leaky", home / "pink.png", tmp_path / "out", "--generate", "2")
    assert found.exit_code == 4, found.output
    result = json.loads(found.stdout)
    assert "no trusted certificate: logits differ by 0.1" in result["generation"]["sentence"]
    assert not [p for p in result["pictures"] if p["kind"] == "refined"]
    assert "no trusted certificate" in (tmp_path / "out" / "image.html").read_text()
