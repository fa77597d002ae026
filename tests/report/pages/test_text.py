import math

import pytest

from singaudit.report.pages.text import display_text, number, parts, places_for, share, shorten
from singaudit.report.result.base import Statistic


def test_ordinary_text_stays() -> None:
    for text in ("dog", "größe", "کتاب\u200cها", "👩\u200d🔬", "猫 a.png"):
        assert display_text(text) == text


def test_nothing_invisible_is_left() -> None:
    shown = display_text("a\u202eb\u2066c\u200fd\x00e\x1bf\ud800g\ufeffh")
    assert shown == "a\ufffdb\ufffdc\ufffdd\ufffde\ufffdf\ufffdg\ufffdh"
    assert display_text("one\ntwo\tthree\u2028four") == "one two three four"


def test_stacked_marks_are_cut() -> None:
    assert len(display_text("e" + "\u0301" * 100)) == 5


def test_text_never_grows() -> None:
    text = "".join(map(chr, range(0x3000)))
    assert len(display_text(text)) <= len(text)


@pytest.mark.parametrize(
    ("value", "places", "shown"),
    [
        (4.126, 1, "4.1"),
        (-4.126, 2, "−4.13"),
        (1234567.0, None, "1,234,567"),
        (3e-7, None, "3.0e−7"),
        (-0.01, 1, "0.0"),
        (0.001, None, "0.001"),
        (0.0, None, "0"),
    ],
)
def test_number(value: float, places: int | None, shown: str) -> None:
    assert number(value, places) == shown


def test_decimals_follow_the_interval() -> None:
    assert places_for(4.0, 4.02) == 2
    assert places_for(1.0, 9.0) == 1
    assert places_for(0.0, 0.0) == 2
    stat = Statistic(value=0.8123, low=0.80, high=0.82, n=1234)
    assert parts(stat, "%") == {"value": "81.2\u202f%", "interval": "[80.0, 82.0]", "n": "n\u00a01,234"}


def test_shorten_and_share() -> None:
    assert shorten("a" * 100, 10) == "a" * 9 + "…"
    assert share(0.375) == "37.5\u202f%"
    assert math.isclose(float(share(1.0).split("\u202f")[0]), 100)
