"""Differences between models: paired where it can be, corrected for many, and honest ranks."""

import numpy as np
import pytest

from singaudit.metrics.comparison import Score, differences, mean_score, rank_ranges, ratio_score


def test_pairing_finds_what_intervals_cannot():
    rng = np.random.default_rng(0)
    image = 10 * rng.standard_normal(400)
    one, two = image + rng.standard_normal(400), image + 0.5 + rng.standard_normal(400)
    half = 1.96 * 10 / 20
    scores = [mean_score(x, (x.mean() - half, x.mean() + half)) for x in (one, two)]
    paired = differences(scores)[0]
    assert (paired.paired, paired.exceeds) == (True, True)
    assert paired.value == pytest.approx(one.mean() - two.mean())
    apart = differences([Score(s.value, s.low, s.high, None) for s in scores])[0]
    assert (apart.paired, apart.exceeds) == (False, False)
    assert apart.low < paired.low < paired.high < apart.high


def test_a_ratios_difference_has_the_spread_of_a_bootstrap():
    rng = np.random.default_rng(1)
    n = 500
    angle = rng.gamma(20, 2, (2, n)) + 5 * rng.standard_normal(n)
    leak = rng.gamma(4, 1, (2, n))
    found = differences([ratio_score(a, b, (0.0, 0.0)) for a, b in zip(angle, leak, strict=True)])[0]
    draws = []
    for _ in range(800):
        rows = rng.integers(n, size=n)
        ratios = angle[:, rows].mean(axis=1) / leak[:, rows].mean(axis=1)
        draws.append(ratios[0] - ratios[1])
    assert (found.high - found.low) / (2 * 1.965) == pytest.approx(np.std(draws), rel=0.12)


def test_equal_models_are_rarely_told_apart():
    rng = np.random.default_rng(2)
    wrong = 0
    for _ in range(60):
        found = differences([mean_score(x, (0.0, 0.0)) for x in rng.standard_normal((6, 100))])
        wrong += any(d.exceeds for d in found)
    assert wrong <= 9


def test_ranks_leave_open_what_differences_do():
    scores = [Score(3.0, 2.9, 3.1, None), Score(3.05, 2.9, 3.2, None), Score(1.0, 0.9, 1.1, None), None]
    found = differences(scores)
    assert rank_ranges(3, found, largest_first=True) == [(1, 2), (1, 2), (3, 3)]
    assert rank_ranges(3, found, largest_first=False) == [(2, 3), (2, 3), (1, 1)]
    assert differences([None, scores[0]]) == []
