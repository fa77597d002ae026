"""Equivalent images of the embedded world: colour changes, logits stay, only the leaky model's null component moves."""

import io

import numpy as np
import PIL.Image
import pytest

from singaudit.classifier.preprocessing.resolve import prepare
from singaudit.dataset.generated.scenes import ATTRIBUTES
from singaudit.pictures.equivalent_images import equivalents_of, make_equivalents
from singaudit.pictures.targets import Aim, read, wished_values
from singaudit.pictures.units import LOGIT_BOUND

ROWS = tuple(range(0, 320, 10))


@pytest.fixture(scope="module")
def made(audited, aim, copy):
    return {
        name: make_equivalents(audited(name), aim("colour"), ROWS, copy(audited(name))) for name in ("leaky", "clean")
    }


def of(made, name):
    return [e for e in made[name] if e.difference is not None]


def test_colour_changes_with_logits_kept_and_the_leaky_null_component_moves_the_clean_one_does_not(made):
    move = {}
    for name, found in made.items():
        assert len(found) == len(ROWS)
        assert np.mean([e.success for e in found]) >= 0.9
        assert all(e.difference.logit[0] <= LOGIT_BOUND for e in found if e.success)
        move[name] = np.median([e.difference.null_move[0] for e in of(made, name)])
    assert move["leaky"] >= 0.8
    assert move["clean"] <= 0.3


def test_what_is_reported_is_what_the_saved_files_show(made, audited):
    for name in made:
        world = audited(name)
        for e in of(made, name)[:8]:
            pixels = [np.asarray(PIL.Image.open(io.BytesIO(data))) for data in (e.original, e.picture)]
            inputs = np.stack([prepare(p, world.classifier.preprocessing) for p in pixels])
            features, logits = world.classifier.forward(inputs)
            difference = np.abs(logits[0].astype(np.float64) - logits[1]) / world.units.spread
            assert e.difference.logit[0] == pytest.approx(difference.max(), abs=1e-5)
            null = world.subject.space.null_part(features.astype(np.float64))
            move = np.linalg.norm(null[0] - null[1]) / world.units.typical_null
            assert e.difference.null_move[0] == pytest.approx(move, abs=1e-4)
            assert e.pixel_distance == pytest.approx(np.sqrt(np.mean((pixels[0] - pixels[1].astype(float)) ** 2)))
            np.testing.assert_array_equal(pixels[0], world.source.load(e.row).pixels)


def test_the_start_shows_the_wished_colour_and_the_residual_is_small(made, audited, aim):
    values = aim("colour").values
    assert values == ATTRIBUTES["colour"]
    for name in made:
        for e in of(made, name):
            start, own = audited(name).source.load(e.start), audited(name).source.load(e.row)
            assert dict(start.attributes)["colour"] == values[e.value] != dict(own.attributes)["colour"]
            picture = np.asarray(PIL.Image.open(io.BytesIO(e.picture))).astype(int)
            assert np.abs(picture - start.pixels).max() <= 12
            assert e.residual < 12
            assert e.shows == (e.success or "read" not in e.reason)


def test_the_control_is_as_far_in_pixels_and_keeps_nothing(made):
    for name in made:
        found = of(made, name)
        for e in found:
            original, control = (
                np.asarray(PIL.Image.open(io.BytesIO(d))).astype(float) for d in (e.original, e.control)
            )
            distance = np.sqrt(np.mean((original - control) ** 2))
            assert distance == pytest.approx(e.pixel_distance, abs=0.6) or distance < e.pixel_distance
        kept = np.median([e.difference.logit[0] for e in found])
        assert np.median([e.control_difference.logit[0] for e in found]) > 10 * kept


def test_the_same_call_gives_the_same_bytes(made, audited, aim, copy):
    again = make_equivalents(audited("leaky"), aim("colour"), ROWS, copy(audited("leaky")))
    assert [(e.picture, e.control, e.reason) for e in again] == [
        (e.picture, e.control, e.reason) for e in made["leaky"]
    ]


def test_a_free_text_leads_every_image_that_does_not_show_it(audited, copy):
    world = audited("leaky")
    text = "a photo of a blue shape"
    aim = Aim("", (text,), world.encoder.encode_texts([text]))
    found = make_equivalents(world, aim, ROWS[:8], copy(world))
    blue = [dict(world.source.load(e.start).attributes)["colour"] == "blue" for e in found]
    assert np.mean(blue) >= 0.9
    assert np.mean([e.success for e in found]) >= 0.8
    assert all(e.difference.attribute_score_deg[0] > 0 for e in found if e.success)


def test_stopping_keeps_what_is_finished_and_nothing_else(audited, aim, copy):
    world, seen = audited("leaky"), []

    def progress(done, step, worst):
        seen.append((done, step, worst))

    found = make_equivalents(
        world, aim("colour"), ROWS, copy(world), progress=progress, stop=lambda: bool(seen) and seen[-1][0] >= 10
    )
    assert 10 <= len(found) < len(ROWS)
    assert all(e.picture is not None for e in found)
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
    assert make_equivalents(world, aim("colour"), ROWS, copy(world), stop=lambda: True) == []


def test_where_bounds_leave_no_room_no_picture_is_made_and_the_reason_is_said(audited, aim, copy, monkeypatch):
    from singaudit.pictures import equivalent_images
    from singaudit.pictures.reach import Bounds

    world = audited("leaky")
    monkeypatch.setattr(
        equivalent_images,
        "observed_bounds",
        lambda *f: Bounds(world.subject.features[:2].min(axis=0).astype(float), world.subject.features[:2].max(axis=0)),
    )
    found = make_equivalents(world, aim("colour"), (0, 1), copy(world))
    assert len(found) == 2
    for e in found:
        assert e.picture is None
        assert not e.success
        assert e.reason.startswith("no equivalent found: the features' observed bounds allow")


def free_text(world, text="a photo of a blue shape"):
    return Aim("", (text,), world.encoder.encode_texts([text]).astype(np.float64))


def colour(world, row):
    return dict(world.source.load(row).attributes)["colour"]


def test_images_that_show_a_free_text_are_those_that_truly_do(audited):
    world = audited("leaky")
    readings = read(world.subject.embeddings, free_text(world))
    blue = np.array([colour(world, row) == "blue" for row in range(len(readings.value))])
    assert blue[readings.value == 0].all()
    assert np.mean(readings.already == blue) >= 0.99
    assert (wished_values(readings, range(len(blue))) == np.where(readings.already, -1, 0)).all()


def test_one_image_gets_equivalents_from_as_many_real_images(audited, copy, aim):
    world = audited("leaky")
    row = next(row for row in range(100) if colour(world, row) == "red")
    found = equivalents_of(world, free_text(world), row, copy(world), count=5)
    assert [e.row for e in found] == [row] * 5
    assert len({e.start for e in found}) == 5
    assert {colour(world, e.start) for e in found} == {"blue"}
    assert sum(e.success for e in found) >= 4
    for e in found:
        assert e.difference.null_move[0] >= 0.8 or not e.success
    turns = equivalents_of(world, aim("colour"), row, copy(world), count=9)
    assert len(turns) == 9
    values = [aim("colour").values[e.value] for e in turns]
    assert set(values) == set(ATTRIBUTES["colour"]) - {"red"}, "every other value has its turn"


def test_one_image_that_shows_the_text_already_gets_none(audited, copy):
    world = audited("leaky")
    row = next(row for row in range(100) if colour(world, row) == "blue")
    assert equivalents_of(world, free_text(world), row, copy(world), count=3) == []
