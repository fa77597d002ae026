"""What is said of generated pictures never claims more than they show."""

import numpy as np
import pytest

from singaudit.pictures.checked import Equivalent
from singaudit.pictures.round_trip import Difference
from singaudit.pictures.targets import Aim
from singaudit.pictures.units import Units
from singaudit.report.build.generation import summary

AIM = Aim("background_colour", ("red", "blue"), np.eye(2))
UNITS = Units(np.ones(3), 1.0)


def equivalent(move: float, reason: str = "") -> Equivalent:
    one = np.array([move])
    difference = Difference(np.array([0.04]), None, np.array([True]), one, one, one)
    return Equivalent(
        0, 1, 0, 2, 0.9, 5, reason, b"a", b"b", b"c", difference=difference, control_difference=difference
    )


@pytest.mark.parametrize(
    ("moves", "failed", "says"),
    [
        ([1.2, 0.9, 2.0], 0, "is carried by what the head ignores"),
        ([0.1, 0.2, 0.05], 1, "is not in what the head ignores"),
        ([0.5, 0.5, 0.6], 0, "carries part of"),
        ([1.2, 0.9, 2.0], 2, "Too few succeeded"),
    ],
)
def test_the_sentence_follows_the_median_move_and_the_success(moves, failed, says):
    made = [equivalent(m, "the logits moved" if i < failed else "") for i, m in enumerate(moves)]
    found = summary(made, UNITS, AIM, 3, "made", "", 0)
    assert says in found.sentence
    assert f"{3 - failed} of 3 images have an equivalent toward another background colour" in found.sentence
    assert found.success.value == pytest.approx((3 - failed) / 3)
    assert found.success.low < found.success.value <= found.success.high
    assert found.null_move.value == np.median(moves)
    assert found.null_move.low <= found.null_move.value <= found.null_move.high


def test_without_pictures_the_reason_is_the_sentence():
    none = summary([], UNITS, AIM, 6, "none", "no trusted certificate", 0)
    assert none.sentence == "No equivalent image was generated: no trusted certificate."
    assert none.success is None
    out_of_reach = [Equivalent(0, 1, 0, None, 0.01, 0, "no equivalent found")]
    assert "leave no room" in summary(out_of_reach, UNITS, AIM, 1, "made", "", 0).sentence
