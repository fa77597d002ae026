from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from singaudit.dataset.generated.drawing import render, silhouettes
from singaudit.dataset.generated.scenes import ATTRIBUTES, captions, draw_scenes, phrase
from singaudit.dataset.generated.source import MAX_IMAGES, ShapesSource, parse_shapes
from singaudit.errors import DatasetError

PIXELS_OF_THE_FIRST_64 = "df8d4e15489e8b887d08d3b232032b57365cd08bcf14bc54ac50cf521e6f6f27"


def test_a_smaller_world_is_the_beginning_of_a_larger_one():
    small, large = ShapesSource(100), ShapesSource(1000)
    assert small.labels == large.labels[:100]
    assert [small.load(i).sha256 for i in range(100)] == [large.load(i).sha256 for i in range(100)]


def test_images_do_not_depend_on_the_batch_they_are_drawn_in():
    rows = np.asarray([3, 170, 171, 4_999_999])
    together = render(draw_scenes(rows, seed=5))
    alone = np.concatenate([render(draw_scenes(rows[k : k + 1], seed=5)) for k in range(len(rows))])
    assert np.array_equal(together, alone)
    source = ShapesSource(5_000_000, 5)
    assert all(np.array_equal(source.load(int(i)).pixels, image) for i, image in zip(rows, together, strict=True))


def test_pixels_stay_what_they_were():
    pixels = render(draw_scenes(np.arange(64), seed=0))
    assert pixels.shape == (64, 64, 64, 3)
    assert pixels.dtype == np.uint8
    assert hashlib.sha256(pixels.tobytes()).hexdigest() == PIXELS_OF_THE_FIRST_64


def test_another_seed_is_another_world():
    hashes = {ShapesSource(50, seed).load(i).sha256 for seed in (0, 1, 2) for i in range(50)}
    assert len(hashes) == 150


def test_attributes_are_uniform_and_independent():
    scenes = draw_scenes(np.arange(40_000), seed=0)
    columns = {name: getattr(scenes, name) for name in ATTRIBUTES}
    for name, values in ATTRIBUTES.items():
        shares = np.bincount(columns[name], minlength=len(values)) / 40_000
        assert np.abs(shares - 1 / len(values)).max() < 0.01, name
        for other, others in ATTRIBUTES.items():
            if other != name:
                table = np.zeros((len(values), len(others)))
                np.add.at(table, (columns[name], columns[other]), 1)
                expected = 40_000 / table.size
                chi2 = float(((table - expected) ** 2 / expected).sum())
                freedom = (len(values) - 1) * (len(others) - 1)
                # Six standard deviations of a chi-squared variable.
                assert chi2 < freedom + 6 * np.sqrt(2 * freedom), (name, other)


def test_image_states_what_it_shows():
    source = ShapesSource(200, 9)
    scenes = draw_scenes(np.arange(200), seed=9)
    for index in (0, 63, 64, 199):
        image = source.load(index)
        assert image.name == f"shapes/{index:06d}"
        assert dict(image.attributes) == scenes.words(index)
        assert dict(image.attributes)["shape"] == source.labels[index]
        assert image.pixels.shape == (64, 64, 3)
    assert len({source.load(i).sha256 for i in range(200)}) == 200


def test_another_colour_changes_nothing_outside_the_shape():
    scenes = draw_scenes(np.arange(64), seed=1)
    recoloured = scenes.with_values(colour=(scenes.colour + 3) % len(ATTRIBUTES["colour"]))
    before, after, covered = render(scenes), render(recoloured), silhouettes(scenes)
    changed = (before != after).any(-1)
    assert not changed[covered == 0].any()
    assert changed[covered > 0.9].mean() > 0.99
    assert np.array_equal(silhouettes(recoloured), covered)


def test_another_background_changes_nothing_inside_the_shape():
    scenes = draw_scenes(np.arange(64), seed=1)
    moved = scenes.with_values(background_colour=(scenes.background_colour + 1) % len(ATTRIBUTES["background_colour"]))
    changed = (render(scenes) != render(moved)).any(-1)
    assert not changed[silhouettes(scenes) == 1].any()
    assert changed[silhouettes(scenes) == 0].mean() > 0.9


def test_every_shape_stays_inside_and_is_visible():
    covered = silhouettes(draw_scenes(np.arange(2000), seed=2))
    border = np.concatenate([covered[:, [0, -1]].reshape(2000, -1), covered[:, :, [0, -1]].reshape(2000, -1)], axis=1)
    assert border.max() == 0
    assert covered.sum((1, 2)).min() > 80


def test_large_shapes_are_larger():
    scenes = draw_scenes(np.arange(200), seed=3)
    small, large = (silhouettes(scenes.with_values(size=np.full(200, k))).sum((1, 2)) for k in (0, 1))
    assert (large > 1.5 * small).all()


def test_counterfactuals_know_their_attributes():
    with pytest.raises(ValueError, match="color"):
        draw_scenes(np.arange(2), seed=0).with_values(color=np.zeros(2, dtype=np.int64))


def test_captions_name_every_attribute():
    scenes = draw_scenes(np.arange(20), seed=0)
    for row, text in enumerate(captions(scenes)):
        assert all(word in text.split() for word in scenes.words(row).values())


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ({}, "a shape"),
        ({"colour": "orange"}, "an orange shape"),
        ({"shape": "star", "background_pattern": "plain"}, "a star on a plain background"),
        ({"size": "small", "colour": "red", "background_colour": "navy"}, "a small red shape on a navy background"),
    ],
)
def test_phrases_read_like_english(words, text):
    assert phrase(words) == text


def test_no_word_serves_two_attributes():
    words = [value for values in ATTRIBUTES.values() for value in values]
    assert len(words) == len(set(words))


def test_threads_read_the_same_images():
    expected = [ShapesSource(300, 4).load(i).sha256 for i in range(300)]
    source = ShapesSource(300, 4)
    with ThreadPoolExecutor(8) as pool:
        assert [image.sha256 for image in pool.map(source.load, range(300))] == expected


def test_pixels_of_one_reader_are_not_another_readers():
    source = ShapesSource(10)
    with pytest.raises(ValueError, match="read-only"):
        source.load(0).pixels[:] = 0


def test_index_outside_the_world():
    with pytest.raises(IndexError, match="shapes:10 has no image 10"):
        ShapesSource(10).load(10)


@pytest.mark.parametrize(("spec", "parsed"), [("shapes:10", (10, 0)), ("shapes:2000:7", (2000, 7))])
def test_spec_is_read(spec, parsed):
    assert parse_shapes(spec) == parsed
    assert ShapesSource(*parsed).name == spec


@pytest.mark.parametrize(
    "spec",
    ["shapes", "shapes:", "shapes:0", "shapes:-3", "shapes:1.5", "shapes:ten", "shapes:\u00b2", "shapes:5:",
     "shapes:5:-1", "shapes:5:1:2", f"shapes:{MAX_IMAGES + 1}", "shapes:" + "9" * 5000,
     "shapes:5:" + "9" * 40, "shapes: 5"],
)  # fmt: skip
def test_bad_spec_says_what_was_expected_what_arrived_and_what_to_try(spec):
    with pytest.raises(DatasetError, match="expected shapes:N or shapes:N:SEED") as caught:
        parse_shapes(spec)
    assert "Try shapes:2000" in caught.value.hint
    assert len(caught.value.message) < 300
