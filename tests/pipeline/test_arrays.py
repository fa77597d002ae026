"""Arrays in, findings out: planted answers come back, and what does not fit together is said in words."""

import tracemalloc

import numpy as np
import pytest

from singaudit import SingauditError, audit_arrays
from singaudit.demo.calibration.rows import BASE, ROWS
from singaudit.demo.calibration.settings import rows_table, summarise
from singaudit.demo.calibration.worlds import plant
from singaudit.pipeline.arrays.audit import check_arrays


def row(words):
    return next(r for r in ROWS if r.name.startswith(words) or r.name.endswith(words))


def parts_of(words):
    world = plant(row(words), 5, 0)
    return {f.group: f for f in audit_arrays(**world.arrays).findings}


def found_in(words):
    return {group: part.finding for group, part in parts_of(words).items()}


@pytest.mark.parametrize("words", ["goes with the class at 0.8", "two classes"])
def test_an_ignored_attribute_is_found(words):
    parts = parts_of(words)
    assert parts["ignored"].finding == "strong"
    assert not [g for g, f in parts.items() if g != "ignored" and f.finding in ("strong", "partial")]
    # Where nearly all directions are null, any head would ignore as much of the reading, and the sentence says so.
    assert ("any head of so few classes" in parts["ignored"].sentence) == (words == "two classes")


@pytest.mark.parametrize("words", ["exclusive or in the null space"])
def test_what_no_linear_probe_finds_is_nonlinear_and_not_absent(words):
    found = found_in(words)
    assert found["ignored"] == "nonlinear"
    assert found["absent 0"] == "not detected"


def test_frames_of_a_few_scenes_cannot_tell():
    assert set(found_in("50 scenes of 10 frames").values()) == {"cannot tell"}


def test_embeddings_of_noise_cannot_tell():
    assert set(found_in("embeddings of noise").values()) == {"cannot tell"}


def test_what_only_few_images_show_beyond_their_class_says_so():
    world = plant(row("at 0.95"), 5, 0)
    ignored = next(f for f in audit_arrays(**world.arrays).findings if f.group == "ignored")
    assert ignored.finding in ("strong", "cannot tell")
    if ignored.finding == "cannot tell":
        assert "beyond the class" in ignored.rule


def arrays(**changes):
    rng = np.random.default_rng(0)
    given = {
        "weight": rng.normal(size=(3, 8)),
        "bias": np.zeros(3),
        "features": rng.normal(size=(60, 8)),
        "embeddings": rng.normal(size=(60, 6)),
        "class_texts": rng.normal(size=(3, 6)),
        "groups": {"hue": rng.normal(size=(2, 6))},
    }
    return given | changes


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"features": np.zeros((60, 9))}, "features"),
        ({"bias": np.zeros(4)}, "bias"),
        ({"embeddings": np.full((60, 6), np.nan)}, "NaN"),
        ({"embeddings": np.zeros((60, 6))}, "zeros"),
        ({"class_texts": np.ones((2, 6))}, "class_texts"),
        ({"groups": {"hue": np.ones((1, 6))}}, "two values"),
        ({"groups": {"class": np.ones((2, 6))}}, "class"),
        ({"labels": {"size": np.zeros(60, int)}}, "size"),
        ({"labels": {"hue": np.full(60, 2)}}, "hue"),
        ({"class_labels": np.zeros(59, int)}, "class_labels"),
        ({"units": np.zeros(3, int)}, "units"),
        ({"probe_features": np.ones((70, 8))}, "probe_embeddings"),
        ({"features": np.array([["a"] * 8] * 60)}, "real numbers"),
    ],
)
def test_what_does_not_fit_together_is_said_in_words(changes, said):
    with pytest.raises(SingauditError, match=said) as raised:
        audit_arrays(**arrays(**changes))
    assert raised.value.hint


def test_rates_of_a_row_count_worlds():
    good = [("ignored", "strong"), ("used", "not detected")]
    bad = [("ignored", "redundant"), ("used", "partial"), ("absent", "strong")]
    one = summarise(BASE, [good, good, bad])
    assert [one[key]["count"] for key in ("false_assurance", "false_alarm", "found")] == [1, 1, 2]
    lines = rows_table([one, one])
    assert lines[-1].startswith("| all | 6 | 33.3 %")


def test_arrays_on_disk_stay_there(tmp_path, monkeypatch):
    """Rows of another kind, and embeddings that are not of unit length, go to a file without a name."""
    for module in ("checked", "audit"):
        monkeypatch.setattr(f"singaudit.pipeline.arrays.{module}._BLOCK", 512)
    rng = np.random.default_rng(0)
    kept = {"features": np.float64, "embeddings": np.float32}
    for name, kind in kept.items():
        np.save(tmp_path / f"{name}.npy", rng.standard_normal((20_000, 256)).astype(kind))
    on_disk = {name: np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in kept}
    common = {
        "weight": rng.normal(size=(3, 256)),
        "bias": np.zeros(3),
        "class_texts": rng.normal(size=(3, 256)),
        "groups": {"hue": rng.normal(size=(2, 256))},
    }
    tracemalloc.start()
    try:
        given = check_arrays(**common, **on_disk)
        given.predicted(3)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < given.embeddings.nbytes
    in_memory = check_arrays(**common, **{name: np.array(rows) for name, rows in on_disk.items()})
    assert np.array_equal(given.features, in_memory.features)
    assert np.array_equal(given.embeddings, in_memory.embeddings)


def test_no_room_for_changed_rows_is_said_in_words(tmp_path, monkeypatch):
    np.save(tmp_path / "features.npy", np.ones((60, 8), np.float16))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "not there"))
    with pytest.raises(SingauditError, match="room for"):
        check_arrays(**arrays(features=np.load(tmp_path / "features.npy", mmap_mode="r")))
