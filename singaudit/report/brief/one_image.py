"""One image in one answer: what the head ignores of it, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from singaudit.report.brief.words import listed, readable
from singaudit.report.result.image import ImageResult
from singaudit.report.result.words import WordPart

_SAME = 0.001
"""Logits that change by less of their spread are the same."""


@dataclass(frozen=True)
class ImageAnswer:
    """What is said of one image first."""

    sentence: str
    """What the head ignores of it."""
    ground: str
    """What that rests on."""


def image_answer(result: ImageResult) -> ImageAnswer:
    """What is lost without the part that the head ignores, in words; that nothing is, or that it was not judged."""
    before, after = ({(r.group, getattr(r, name)) for r in result.readings} for name in ("features", "equivalent"))
    lost, gained = _of(result.lost, before), _of(result.gained, after - before)
    if not result.words_tested:
        sentence = "What the head ignores of it was not put into words: the translator’s file holds no uncertainty."
    elif lost:
        sentence = f"The head ignores {listed(lost)} of this image."
        if gained:
            sentence += f" Without it, it reads as {listed(gained)}."
    elif result.lost:
        away = listed([_word(w) for w in result.lost])
        sentence = f"Nothing that it is read as is ignored; without the ignored part the reading only leaves {away}."
    else:
        sentence = "Nothing that can be named is ignored of this image, beyond the uncertainty of its reading."
    logits = (
        "no logit changes"
        if result.logit_change < _SAME
        else f"a logit changes by {result.logit_change:.2g} of its spread"
    )
    changed = [readable(r.group) for r in result.readings if r.features != r.equivalent]
    what = f"; it then reads another {listed(changed)}" if changed else ""
    return ImageAnswer(
        sentence,
        f"Without the ignored part the reading turns by {result.image_score_deg:.1f}°, and "
        f"{logits}{what}. {result.words_tested:,} words were looked at.",
    )


def _of(words: Sequence[WordPart], read: set[tuple[str, str]]) -> list[str]:
    """Those that the image is read as, of a group's values; single concepts have none beside them."""
    return [_word(word) for word in words if word.group is None or (word.group, word.name) in read]


def _word(word: WordPart) -> str:
    return f"{word.name} ({readable(word.group)})" if word.group else word.name
