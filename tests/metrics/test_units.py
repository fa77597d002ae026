"""Near-duplicates are one unit, look-alikes are not."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from singaudit.metrics.nearest import Space, distances, nearest, nearest_hashed
from singaudit.metrics.units import behind_gap, distinct, find_units, given

Array = NDArray[np.float64]


def _spaces(x: Array) -> tuple[Array, Array]:
    """Two views of the same points, as a classifier and an encoder have them."""
    rng = np.random.default_rng(1)
    return tuple(np.tanh(x @ rng.normal(size=(x.shape[1], w)) / np.sqrt(x.shape[1])) for w in (48, 64))


def _scenes(scenes: int, frames: int, noise: float, seed: int = 0, width: int = 64) -> Array:
    rng = np.random.default_rng(seed)
    centre = np.repeat(rng.normal(size=(scenes, width)), frames, axis=0)
    return centre + noise * rng.normal(size=centre.shape)


@pytest.mark.parametrize("scenes", [50, 200])
@pytest.mark.parametrize("noise", [0.02, 0.1, 0.25])
def test_frames_of_a_scene_are_one_unit(scenes: int, noise: float) -> None:
    x = _scenes(scenes, 10, noise)
    found = find_units(x[:, :32], x[:, 32:])
    assert found.count == scenes
    assert np.array_equal(found.of, np.repeat(np.arange(scenes), 10))
    assert len(found.joined) == scenes
    assert found.joined[0] == tuple(range(10))


def test_a_few_copies_among_distinct_images_are_found_and_nothing_else() -> None:
    x = np.random.default_rng(3).normal(size=(1000, 64))
    x[:20] = x[980:] + 0.05 * np.random.default_rng(4).normal(size=(20, 64))
    found = find_units(*_spaces(x))
    assert found.joined == tuple((i, 980 + i) for i in range(20))
    assert found.count == 980


@pytest.mark.parametrize("dimension", [1, 2, 3, 6, 12, 64])
def test_look_alikes_are_never_joined_to_more_than_a_stray_pair(dimension: int) -> None:
    """Points that crowd along few dimensions, as parts on a belt or X-rays do."""
    found = find_units(*_spaces(np.random.default_rng(dimension).normal(size=(1500, dimension))))
    assert found.count >= 1498
    assert all(len(unit) == 2 for unit in found.joined)


@pytest.mark.parametrize("noise", [0.02, 0.1])
def test_a_few_kinds_of_parts_with_many_images_each_make_no_chain(noise: float) -> None:
    x = _scenes(5, 300, noise)
    assert find_units(x[:, :32], x[:, 32:]).count >= 1495


def test_images_near_in_one_space_alone_are_not_joined() -> None:
    """Classifiers collapse a class to a point: that the encoder tells the images apart keeps them apart."""
    classes = _scenes(200, 5, 0.05)
    seen = np.random.default_rng(9).normal(size=(1000, 64))
    assert find_units(classes, seen).count == 1000
    assert find_units(seen, classes).count == 1000


def test_the_order_of_images_changes_only_the_numbering() -> None:
    x = _scenes(60, 7, 0.2)
    order = np.random.default_rng(0).permutation(len(x))
    one, other = find_units(x[:, :32], x[:, 32:]), find_units(x[order, :32], x[order, 32:])
    same = one.of[:, None] == one.of
    assert np.array_equal(same[np.ix_(order, order)], other.of[:, None] == other.of)


def test_pixels_that_differ_keep_images_apart_that_models_take_for_one() -> None:
    rng = np.random.default_rng(0)
    x = _scenes(150, 4, 0.05)
    scene = np.repeat(rng.uniform(0, 255, (150, 16, 16)), 4, axis=0)
    same = np.clip(scene + rng.normal(0, 5, scene.shape), 0, 255)
    assert find_units(x[:, :32], x[:, 32:], same.reshape(600, 256)).count == 150
    assert find_units(x[:, :32], x[:, 32:], rng.uniform(0, 255, (600, 256))).count == 600


def test_a_flipped_shifted_or_brighter_copy_has_the_same_pixels() -> None:
    rng = np.random.default_rng(0)
    x = _scenes(200, 2, 0.05)
    coarse = rng.uniform(0, 200, (200, 6, 6))
    scene = coarse.repeat(4, axis=1).repeat(4, axis=2)
    first, second = scene[:, 4:20, 4:20], scene[:, 3:19, 6:22] * 1.2 + 10
    second[::2] = second[::2, :, ::-1]
    pixels = np.stack([first, second], axis=1).reshape(400, 256)
    assert find_units(x[:, :32], x[:, 32:], pixels).count == 200


def test_pixels_alone_show_a_copy_that_a_model_sees_blurred() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1000, 12))
    x[:30] = x[970:] + 0.25 * rng.normal(size=(30, 12))
    pixels = rng.uniform(0, 255, (1000, 256))
    pixels[:30] = pixels[970:] + rng.normal(0, 4, (30, 256))
    copies = tuple((i, 970 + i) for i in range(30))
    found = find_units(*_spaces(x), pixels)
    assert set(found.joined) <= set(copies)
    assert len(found.joined) >= 27
    assert len(find_units(*_spaces(x)).joined) < 15


@pytest.mark.parametrize("noise", [0.0, 0.5, 4.0])
def test_parts_on_a_belt_stay_apart_by_their_pixels_too(noise: float) -> None:
    """One part in three degrees of freedom, and the camera's noise."""
    rng = np.random.default_rng(0)
    pose = np.clip(rng.normal(size=(1500, 3)), -2, 2)
    y, x = np.mgrid[0:16, 0:16]
    across = (x - 7.5 - pose[:, 0, None, None]) ** 2 / 8
    down = (y - 7.5 - pose[:, 1, None, None]) ** 2 / (8 + 2 * pose[:, 2, None, None])
    pixels = 128 + 80 * np.exp(-across - down)
    pixels = pixels + noise * rng.normal(size=pixels.shape)
    assert find_units(*_spaces(pose), pixels.reshape(1500, 256)).count >= 1498


def test_a_star_does_not_chain() -> None:
    """A camera that travels: its first and last frames show nothing in common."""
    rng = np.random.default_rng(0)
    far = 0.12 * np.arange(60)[:, None] * rng.normal(size=(1, 64))
    x = np.concatenate([far, rng.normal(size=(600, 64))])
    found = find_units(x[:, :32], x[:, 32:])
    assert all(max(unit) - min(unit) < 12 for unit in found.joined)


def test_few_images_are_all_distinct() -> None:
    x = np.zeros((10, 4))
    assert find_units(x, x).count == 10


def test_the_chance_of_a_gap_is_what_it_says() -> None:
    """Of points of a Poisson process the share of gaps that pass at p is p, in 1 as in 20 dimensions."""
    rng = np.random.default_rng(0)
    from singaudit.metrics.units import Limits

    limits = Limits(chance=0.01, nearest=np.inf, floor=0.0)
    for dimension in (1, 20):
        arrivals = np.cumsum(rng.exponential(size=(20_000, 4)), axis=1) ** (1 / dimension)
        found = behind_gap(arrivals.astype(np.float32), limits)
        # Two places are looked at, k = 1 and k = 2.
        assert 0.014 < (found > 0).mean() < 0.026


@pytest.mark.parametrize(("mine", "others"), [(512, 8192), (64, 100), (7, 19), (300, 299)])
def test_neighbours_are_those_of_a_slow_search(monkeypatch, mine: int, others: int) -> None:
    monkeypatch.setattr("singaudit.metrics.nearest._MINE", mine)
    monkeypatch.setattr("singaudit.metrics.nearest._OTHERS", others)
    rng = np.random.default_rng(0)
    spaces = [Space(rng.normal(size=(300, w))) for w in (5, 9)]
    apart, rows = nearest(spaces, 20)
    slow = np.max([np.linalg.norm(s[:][:, None].astype(np.float64) - s[:][None], axis=2) for s in spaces], axis=0)
    np.fill_diagonal(slow, np.inf)
    assert np.array_equal(rows, np.argsort(slow, axis=1)[:, :20])
    np.testing.assert_allclose(apart, np.sort(slow, axis=1)[:, :20], atol=1e-3)
    first, second = np.arange(299), np.arange(1, 300)
    np.testing.assert_allclose(distances(spaces, first, second), slow[first, second], atol=1e-6)


def test_hashing_finds_near_duplicates_and_says_how_many() -> None:
    x = _scenes(2500, 4, 0.1)
    exact, hashed = find_units(x[:, :32], x[:, 32:]), find_units(x[:, :32], x[:, 32:], exact_up_to=5000)
    assert exact.search == "exact"
    assert exact.recall is None
    assert exact.count == 2500
    assert hashed.search == "hashed"
    assert hashed.recall is not None
    assert hashed.recall == 1
    assert np.array_equal(hashed.of, exact.of)
    assert nearest_hashed([Space(x)], 16, 0.45)[0].shape == (10_000, 16)


@pytest.mark.parametrize("noise", [0.02, 0.1, 0.25])
def test_hashing_joins_scenes_of_wide_rows_as_an_exact_search_does(noise: float) -> None:
    x = _scenes(1500, 4, noise, width=1000).astype(np.float32)
    exact, hashed = find_units(x[:, :400], x[:, 400:]), find_units(x[:, :400], x[:, 400:], exact_up_to=3000)
    assert exact.count == 1500
    assert hashed.recall == 1
    assert np.array_equal(hashed.of, exact.of)


def test_hashing_joins_no_look_alikes_of_wide_rows() -> None:
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(6000, 3)) @ rng.normal(size=(3, 1000))).astype(np.float32)
    assert find_units(x[:, :400], x[:, 400:], exact_up_to=3000).count > 5990


def test_hashing_joins_what_an_exact_search_joins_among_clusters_copies_videos_and_look_alikes() -> None:
    """Scenes of 1 to 40 images at any distance, in clusters of 20 dimensions, and kinds of parts of 200 images each."""
    rng = np.random.default_rng(0)
    sizes = np.concatenate([np.ones(4000, int), rng.integers(2, 6, 300), rng.integers(6, 41, 60)])
    scene = rng.normal(size=(40, 20))[rng.integers(40, size=len(sizes))] + 0.7 * rng.normal(size=(len(sizes), 20))
    noise = np.repeat(10 ** rng.uniform(-2, -0.4, len(sizes)), sizes)[:, None]
    frames = np.repeat(scene, sizes, axis=0) + noise * rng.normal(size=(sizes.sum(), 20))
    parts = np.repeat(rng.normal(size=(5, 20)), 200, axis=0)
    parts = parts + 0.1 * rng.normal(size=(1000, 3)) @ rng.normal(size=(3, 20))
    views = _spaces(np.concatenate([frames, parts]))
    exact, hashed = find_units(*views), find_units(*views, exact_up_to=3000)
    assert hashed.search == "hashed"
    assert abs(hashed.count - exact.count) <= 2
    together = {pair for unit in exact.joined for pair in pairwise(unit)}
    assert len(together) > 1000
    assert np.mean([hashed.of[a] == hashed.of[b] for a, b in together]) > 0.998


def test_hashing_ends_where_all_images_are_the_same() -> None:
    x = np.ones((6000, 8), np.float32)
    assert find_units(x, x, exact_up_to=3000).count > 5000


def test_rows_on_disk_are_searched_without_a_copy_of_them(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("singaudit.metrics.nearest._BUCKET", 256)
    monkeypatch.setattr("singaudit.metrics.nearest._CANDIDATES", 512)
    monkeypatch.setattr("singaudit.metrics.nearest._OTHERS", 512)
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).standard_normal((20_000, 512), np.float32))
    rows = np.load(tmp_path / "rows.npy", mmap_mode="r")
    tracemalloc.start()
    try:
        nearest_hashed([Space(rows)], 16, 0.45)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < rows.nbytes / 2


def test_units_may_be_given_or_none() -> None:
    assert given(np.array(["b", "a", "b", "c"])).of.tolist() == [0, 1, 0, 2]
    assert given(np.array([7, 7, 1])).joined == ((0, 1),)
    assert distinct(3).of.tolist() == [0, 1, 2]
    assert distinct(3).count == 3
