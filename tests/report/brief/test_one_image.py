"""The answer about one image speaks of what it is read as, not of every text that its reading leaves."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from singaudit.report.brief.one_image import image_answer


def result(lost: tuple[tuple[str | None, str], ...], gained: tuple[tuple[str | None, str], ...] = ()) -> Any:
    readings = [
        SimpleNamespace(group="colour", features="pink", equivalent="cyan"),
        SimpleNamespace(group="class", features="triangle", equivalent="triangle"),
    ]
    words = [[SimpleNamespace(group=group, name=name) for group, name in some] for some in (lost, gained)]
    return SimpleNamespace(
        words_tested=31, lost=words[0], gained=words[1], readings=readings, logit_change=0.0, image_score_deg=30.0
    )


@pytest.mark.parametrize(
    ("lost", "gained", "sentence"),
    [
        (
            (("colour", "pink"), ("class", "circle"), ("colour", "purple")),
            (("colour", "cyan"), ("colour", "blue"), ("class", "triangle")),
            "The head ignores pink (colour) of this image. Without it, it reads as cyan (colour).",
        ),
        (((None, "a shadow"),), (), "The head ignores a shadow of this image."),
        (
            (("class", "circle"),),
            (),
            "Nothing that it is read as is ignored; without the ignored part the reading only leaves "
            "circle (the class itself).",
        ),
        ((), (), "Nothing that can be named is ignored of this image, beyond the uncertainty of its reading."),
    ],
)
def test_what_is_ignored_of_one_image_is_what_it_is_read_as(lost: Any, gained: Any, sentence: str) -> None:
    answer = image_answer(cast(Any, result(lost, gained)))
    assert answer.sentence == sentence
    assert "no logit changes; it then reads another colour" in answer.ground
