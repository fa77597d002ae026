"""Before and after on the same images: intervals that cover, groups that lose, calibration, and the decision."""

import numpy as np
import pytest

from singaudit.repair.judge import (
    calibration_error,
    confidence,
    decide,
    judge_head,
    mean_over_cells,
    paired,
    predictions,
)
from singaudit.repair.split import Balanced


def hits(both, lost, won, neither):
    before = np.array([True] * (both + lost) + [False] * (won + neither))
    after = np.array([True] * both + [False] * lost + [True] * won + [False] * neither)
    return before, after


def test_the_paired_interval_is_newcombes():
    # Newcombe 1998, table II: 36 of 50 pairs agree, e = 20, f = 12, g = 2, h = 16: difference 0.2, method 10.
    before, after = hits(20, 2, 12, 16)
    change = paired(before, after).change
    assert change.value == pytest.approx(0.2)
    assert (change.low, change.high) == (pytest.approx(0.0562, abs=2e-4), pytest.approx(0.3292, abs=2e-4))


def test_no_changed_answer_is_no_certainty():
    before, after = hits(40, 0, 0, 10)
    change = paired(before, after).change
    assert change.value == 0
    assert change.low < 0 < change.high


def test_paired_intervals_cover_the_truth():
    random = np.random.default_rng(0)
    covered = []
    for _ in range(400):
        kinds = random.choice(4, size=60, p=[0.6, 0.1, 0.2, 0.1])
        change = paired((kinds == 0) | (kinds == 1), (kinds == 0) | (kinds == 2)).change
        covered.append(change.low <= 0.1 <= change.high)
    assert np.mean(covered) > 0.92


def test_the_mean_over_cells_counts_cells_alike_and_covers():
    random = np.random.default_rng(1)
    sizes, covered = np.array([200, 20, 20, 60]), []
    truth = np.mean([0.1, 0.3, 0.0, 0.2])
    cells = np.repeat(np.arange(4), sizes)
    for _ in range(300):
        before = random.random(300) < 0.5
        gain = np.array([0.2, 0.6, 0.0, 0.4])[cells]
        after = before | (random.random(300) < gain)
        change = mean_over_cells(before, after, cells).change
        covered.append(change.low <= truth <= change.high)
    assert np.mean(covered) > 0.92


def logits_for(answers, classes=3, sure=4.0):
    rows = np.zeros((len(answers), classes))
    rows[np.arange(len(answers)), answers] = sure
    return rows


def compare(before, after, truth, groups=(), names=("a", "b", "c")):
    return judge_head(
        logits_for(before), logits_for(after), truth, names, groups, np.asarray(truth, np.intp), "softmax"
    )


def test_a_gain_is_written_and_a_loss_is_not():
    truth = np.arange(300) % 3
    worse = np.where(np.arange(300) % 5 == 0, (truth + 1) % 3, truth)
    assert decide(compare(worse, truth, truth)).write
    decision = decide(compare(truth, worse, truth))
    assert not decision.write
    assert "held-out accuracy falls by 20.0 points" in decision.reasons[0]


def test_a_group_that_loses_is_named_though_all_gain_on_average():
    truth = np.arange(600) % 3
    colour = Balanced("colour", ("red", "blue"), (np.arange(600) % 4 == 0).astype(np.intp), "")
    blue_c = (truth == 2) & (colour.own == 1)
    before = np.where(blue_c | (np.arange(600) % 2 == 0), truth, (truth + 1) % 3)
    after = np.where(blue_c, 0, truth)
    reasons = decide(compare(before, after, truth, (colour,))).reasons
    assert any(reason.startswith("c, colour blue loses 100.0 points") for reason in reasons)
    assert not decide(compare(before, after, truth, (colour,)), most_lost=100).reasons


def taken_from(share, n=4000):
    """A head that goes by colour, and one that goes by the class but is wrong on a share of what colour gave."""
    truth, colour = np.arange(n) % 4, (np.arange(n) // 4) % 4
    after = np.where((truth == colour) & (np.arange(n) % 100 < 100 * share), (truth + 1) % 4, truth)
    group = Balanced("colour", tuple("wxyz"), colour.astype(np.intp), "")
    return judge_head(
        logits_for(colour, 4), logits_for(after, 4), truth, tuple("abcd"), (group,), truth * 4 + colour, "softmax"
    )


def test_a_group_that_loses_is_refused_however_much_all_gain_and_however_right_it_stays():
    found = taken_from(0.2)
    assert found.accuracy.change.low > 0.6
    decision = decide(found)
    assert not decision.write
    assert len(decision.reasons) == 4
    assert decision.reasons[0].startswith("a, colour w loses 20.0 points [15.3, 25.4], more than 5 beyond its interval")


def test_the_amount_that_a_group_may_lose_is_the_users_and_counts_beyond_the_interval():
    found = taken_from(0.2)
    assert not decide(found, most_lost=15).write
    assert decide(found, most_lost=16).write
    small = taken_from(0.2, n=160)  # ten images a group: a loss of one point lies within the interval
    assert decide(small).write
    assert "10 images judge, and a loss of up to 60.3 points lies within its interval" in decide(small).notes[0]


def test_no_change_is_no_reason_to_write():
    truth = np.arange(300) % 3
    reasons = decide(compare(truth, truth, truth)).reasons
    assert reasons[0].startswith("nothing is gained that these images can tell")


def test_calibration_error_is_the_gap_between_sureness_and_truth():
    random = np.random.default_rng(0)
    right = random.random(4000) < 0.7
    assert calibration_error(right, np.full(4000, 0.9), 0).value == pytest.approx(0.2, abs=0.02)
    assert calibration_error(right, np.full(4000, 0.7), 0).value < 0.02


def test_one_logit_answers_by_its_sign():
    logits = np.array([[2.0], [-1.0]])
    assert predictions(logits).tolist() == [1, 0]
    np.testing.assert_allclose(confidence(logits, "sigmoid"), [0.8808, 0.7311], atol=1e-4)
