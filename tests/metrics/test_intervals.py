"""The streamed bootstrap: coverage, independence of batching, joint resampling."""

import numpy as np
import pytest

from singaudit.metrics.intervals import (
    BLOCK,
    Bootstrap,
    Estimate,
    _counts,
    _weights,
    at_least_wilson,
    bootstrap,
    mean_estimate,
    share_estimate,
)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        e = mean_estimate(rng.exponential(2.0, 200), trial)
        hits += e.low <= 2.0 <= e.high
    assert 0.89 <= hits / 200 <= 0.99


def test_interval_width_agrees_with_the_standard_error():
    values = np.random.default_rng(1).normal(size=5000)
    e = mean_estimate(values, 0)
    assert (e.high - e.low) == pytest.approx(2 * 1.96 * values.std() / np.sqrt(5000), rel=0.1)


def test_the_same_seed_gives_the_same_interval_and_another_another():
    values = np.random.default_rng(2).normal(size=300)
    assert mean_estimate(values, 5) == mean_estimate(values, 5)
    assert mean_estimate(values, 5) != mean_estimate(values, 6)


def test_weights_are_the_same_however_many_are_asked_for_at_a_time():
    _counts.cache_clear()
    at_once = _weights(7, 50, 3, 1000).copy()
    _counts.cache_clear()
    for rows in (1, 300, 299, 1000):
        assert np.array_equal(_weights(7, 50, 3, rows), at_once[:rows])


def test_an_image_keeps_its_weights_when_images_follow_it():
    # Appending images whose value is 0 in a counting column changes no draw of the column's sum.
    values = np.random.default_rng(3).normal(size=(100, 1))
    short, long = Bootstrap(1), Bootstrap(1)
    short.add(values)
    long.add(np.concatenate([values, np.zeros((50, 1))]))
    np.testing.assert_allclose(short._sums, long._sums)


@pytest.mark.parametrize("unit_size", [1, 3])
def test_cutting_images_into_calls_changes_no_number(unit_size):
    rows = np.random.default_rng(6).normal(size=(BLOCK + 500, 2))
    units = np.arange(len(rows)) // unit_size
    whole, parts = Bootstrap(0, 50), Bootstrap(0, 50)
    whole.add(rows, units)
    for start, stop in ((0, 7), (7, 8), (8, 3000), (3000, len(rows))):
        parts.add(rows[start:stop], units[start:stop])
    for one, other in zip(whole.means(), parts.means(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_images_of_a_unit_are_drawn_together():
    rng = np.random.default_rng(7)
    scenes = rng.normal(size=300)
    images, units = np.repeat(scenes, 10)[:, None], np.repeat(np.arange(300), 10)
    alone, together = Bootstrap(0), Bootstrap(0)
    alone.add(scenes[:, None])
    together.add(images, units)
    one, ten = alone.mean(0), together.mean(0)
    assert (ten.low, ten.high) == pytest.approx((one.low, one.high), abs=1e-4)
    assert ten.n == 3000
    apart = Bootstrap(0)
    apart.add(images)
    assert (ten.high - ten.low) / (apart.mean(0).high - apart.mean(0).low) == pytest.approx(10**0.5, rel=0.15)


def test_units_of_different_sizes_are_means_over_images():
    values, units = np.array([1.0, 2.0, 3.0, 10.0]), np.array([0, 0, 0, 1])
    table = Bootstrap(0)
    table.add(values[:, None], units)
    assert table.mean(0).value == 4.0


def test_ratios_are_resampled_jointly():
    x = np.random.default_rng(4).uniform(1, 2, 500)
    e = bootstrap(np.column_stack([3 * x, x]), 0).ratio(0, 1)
    assert (e.value, e.low, e.high) == pytest.approx((3, 3, 3))


def test_one_column_among_many_equals_that_column_alone():
    table = np.random.default_rng(5).normal(size=(BLOCK + 37, 3))
    one, many = bootstrap(table[:, [1]], 0).mean(0), bootstrap(table, 0).mean(1)
    assert (one.value, one.low, one.high) == pytest.approx((many.value, many.low, many.high))


def test_an_undefined_ratio_is_not_a_number_instead_of_a_guess():
    assert not np.isfinite(bootstrap(np.column_stack([np.ones(5), np.zeros(5)]), 0).ratio(0, 1).value)


@pytest.mark.parametrize("truth", [0.5, 0.9, 0.98, 0.995])
def test_shares_near_their_ends_are_covered_too(truth):
    rng, hits = np.random.default_rng(0), 0
    for _ in range(1000):
        e = share_estimate(rng.random(300) < truth)
        hits += e.low <= truth <= e.high
    assert 0.92 <= hits / 1000 <= 0.99
    perfect = share_estimate(np.ones(300))
    assert (perfect.value, perfect.high) == (1, 1)
    assert perfect.low == pytest.approx(300 / (300 + 1.96**2), rel=1e-4)


def test_a_weighted_share_is_never_surer_than_wilson_and_keeps_a_wider_interval():
    point, wide = Estimate(1.0, 1.0, 1.0, 400), Estimate(0.9, 0.5, 1.0, 400)
    widened = at_least_wilson(point, 100, chance=0.25)
    assert widened.low == pytest.approx((100 / (100 + 1.96**2) - 0.25) / 0.75, rel=1e-4)
    assert (widened.value, widened.high, widened.n) == (1.0, 1.0, 400)
    assert at_least_wilson(wide, 100) == wide
    assert at_least_wilson(point, 0) == point
    assert np.isnan(at_least_wilson(Estimate(np.nan, np.nan, np.nan, 4), 10).low)


def test_shares_and_means_of_scenes_are_as_uncertain_as_one_image_of_each():
    values, units = np.random.default_rng(0).random(200) < 0.8, np.arange(200)
    alone, scenes = share_estimate(values), share_estimate(np.repeat(values, 10), np.repeat(units, 10))
    assert (scenes.value, scenes.low, scenes.high, scenes.n) == (alone.value, alone.low, alone.high, 200)
    shuffled = np.random.default_rng(1).permutation(2000)
    mean = mean_estimate(np.repeat(values, 10)[shuffled], 0, np.repeat(units, 10)[shuffled])
    each = mean_estimate(values, 0, units)
    np.testing.assert_allclose([mean.value, mean.low, mean.high], [each.value, each.low, each.high], atol=1e-6)
