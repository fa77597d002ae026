"""Findings as a reader takes them: a row for what something can be said of, a line for what cannot be told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from singaudit.metrics.findings import THRESHOLDS
from singaudit.report.brief.model import Bar, Row, Untold
from singaudit.report.brief.words import readable, share_text
from singaudit.report.result.base import Statistic
from singaudit.report.result.findings import FindingPart

Style = Literal["bad", "warn", "plain", "good"]
CARRIED = "of its reading lies in what the head ignores"
UNSEEN = "of it is not visible to the logits"
FOUND = "of it is found in what the head ignores"
FOLLOWS = "of its readings change with the ignored part"
OF_NAMED = {
    CARRIED: "of the reading of {} lies in what the head ignores",
    UNSEEN: "of what the features tell about {} is not visible to the logits",
    FOUND: "of what the features tell about {} is found in what the head ignores",
    FOLLOWS: "of the readings of {} change when the ignored part is exchanged",
}
"""What a bar's number is a share of, where the group has to be named."""

WORDS: dict[str, tuple[str, Style]] = {
    "strong": ("ignored", "bad"),
    "partial": ("partly ignored", "warn"),
    "nonlinear": ("ignored, nonlinearly", "warn"),
    "redundant": ("seen by the logits", "plain"),
    "not detected": ("little found", "plain"),
    "not applicable": ("nothing is ignored", "plain"),
}
"""Reader's word and style of every finding that says something, the gravest first."""

_SENTENCES = {
    "strong": "Ignored by the head: it can change and no logit moves.",
    "partial": "Part of what carries it in the features is ignored by the head.",
    "nonlinear": "Ignored by the head, in a form that only a nonlinear reading finds.",
    "redundant": "Not ignored: the logits show it as well.",
    "not detected": "Too little of it is in what the head ignores to count; whether the logits use it was not asked.",
    "not applicable": "The head ignores no direction of feature space.",
}
# How a rule that could not tell begins, what that means, and what would help.
_REASONS = (
    ("the translator rests on", "too few images to read the features", "more images, with --probe"),
    ("the translator explains", "the features cannot be read well enough", "more images, or another --vlm"),
    ("the vision-language model does not read", "the language model does not read it reliably", "another --vlm"),
    ("the translated features hardly show", "the features hardly show it", ""),
    ("too few images show", "too few images show its values", "images that do"),
    ("the images of the controls", "too few images show its values", "images that do"),
    ("no rule is met", "the intervals are too wide", "more images"),
    ("nothing was found", "too few images to rule it out", "more images"),
    ("both parts may show it", "what shows it is not linear", ""),
    ("a nonlinear reading", "a nonlinear reading cannot be ruled out", "more images"),
    ("cannot tell beyond the class", "it goes with the class too closely", "images that show it in other classes"),
    ("the language model does not read", "the language model does not read these images", "another --vlm"),
    ("the language model reads none", "the language model does not read these images", "another --vlm"),
    ("the shadow copy failed", "the shadow copy differs from the model", ""),
)
_WITHOUT_OPTIONS = {
    "another --vlm": "another language model",
    "more images, with --probe": "more images",
    "more images, or another --vlm": "more images, or another language model",
}
_TOO_FEW = ("were audited, fewer than", "are too few, at least")
_FEW_VALUES = "values are read in enough images"
IF_IT_READS = "If the language model is right"
_MOSTLY = 0.75
"""Share from which a partial finding is called most of it."""
_BEYOND = "the class alone tells the value"
"""How the rule of a finding begins that rests on the numbers with the class taken out."""


def says_something(finding: FindingPart) -> bool:
    """Whether a finding claims anything about the head."""
    return finding.finding in WORDS


def rows(findings: Sequence[FindingPart], two_class: bool = False) -> tuple[Row, ...]:
    """Every finding that says something as a row, the worst first."""
    said = ((f, row(f, two_class)) for f in findings if says_something(f))
    return tuple(shown for _, shown in sorted(said, key=lambda found: _gravity(*found)))


def decided_first(rows: Sequence[Row], of_groups: Sequence[Row], failed: Sequence[str]) -> tuple[Row, ...]:
    """The rows, those of ``failed`` groups, whose gates failed, first and as grave as the verdict, whatever their word;
    ``of_groups`` are the rows without single concepts', of which no gate asks."""
    first = [_grave(row) for row in of_groups if row.group in failed]
    return (*first, *(row for row in rows if row.group not in failed))


def doubted(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Rows whose words come from a language model that cannot be relied on: each is a question, and what is said to be
    ignored not stated flatly."""
    return tuple(replace(row, word=f"{row.word}?", sentence=_if_it_reads(row)) for row in rows)


def _if_it_reads(row: Row) -> str:
    said = row.sentence
    return f"{IF_IT_READS}: {said[:1].lower()}{said[1:]}" if row.style in ("bad", "warn") else said


def _grave(row: Row) -> Row:
    """A row whose gate failed, and that it did; what is mostly seen is not called that in red."""
    if row.style in ("bad", "warn"):
        return replace(row, style="bad", sentence=f"{row.sentence} Your gate forbids that.")
    return replace(
        row, style="bad", word="lost in part", sentence=f"The logits lack more of {row.name} than you allow."
    )


def row(finding: FindingPart, two_class: bool = False) -> Row:
    """One finding; it must be one that says something."""
    word, style = WORDS[finding.finding]
    shown, meaning = bar(finding, two_class), _SENTENCES[finding.finding]
    if finding.finding == "redundant" and shown is not None and shown.value > THRESHOLDS.redundant_gain:
        word, meaning = "mostly seen", "The logits show most of it, and lack the rest."
    if finding.finding == "partial" and shown is not None and shown.value >= _MOSTLY:
        word, meaning = "mostly ignored", "Most of what carries it in the features is ignored by the head."
    return Row(finding.group, readable(finding.group), finding.finding, word, style, meaning, shown)


def bar(finding: FindingPart, two_class: bool = False) -> Bar | None:
    """The number that decided: the share of the reading that is ignored, or where another limit was the one that a
    finding met or missed, that number. Large is ignored, small is seen, whichever it is."""
    found, measure = _deciding(finding, two_class)
    if found is None:
        return None
    value, low, high = (min(1.0, max(0.0, v)) for v in (found.value, found.low, found.high))
    return Bar(value, low, high, share_text(found), measure)


def _deciding(f: FindingPart, two_class: bool) -> tuple[Statistic | None, str]:
    if f.finding == "nonlinear":
        return (f.quadratic_probe.null, FOUND) if f.quadratic_probe else (None, "")
    if f.finding == "not detected":
        return (f.probe.null, FOUND) if f.probe else (None, "")
    if f.finding in ("strong", "partial"):
        return _met_or_missed(f, two_class)
    share, gain = f.carried_share, f.probe.gain if f.probe else None
    if f.finding == "redundant":
        # Its values decode worse from what the logits see, and yet its reading stays: then the reading decided.
        stays = gain is None or gain.low >= THRESHOLDS.partial_gain
        return (share, CARRIED) if stays else (gain, UNSEEN)
    return (gain, UNSEEN) if two_class or share is None else (share, CARRIED)


def _met_or_missed(f: FindingPart, two_class: bool) -> tuple[Statistic | None, str]:
    """Of what is ignored, the share of its reading; of what is partly ignored, the first number that kept it from being
    called ignored. Of two classes' head, which ignores nearly all directions, never the share of the reading alone."""
    share, gain = f.carried_share, f.probe.gain if f.probe else None
    follow, enough = f.null_follow.of_read if f.null_follow else None, THRESHOLDS.strong_follow
    if f.beyond_class is not None and f.rule.startswith(_BEYOND):
        b = f.beyond_class
        share, gain = b.carried_share, b.probe.gain if b.probe else None
        follow, enough = b.null_follow, THRESHOLDS.beyond_follow
    numbers = [
        (share, CARRIED, THRESHOLDS.strong_share),
        (follow, FOLLOWS, enough),
        (gain, UNSEEN, THRESHOLDS.strong_gain),
    ]
    known = [(number, measure, limit) for number, measure, limit in numbers if number is not None]
    missed = [(number, measure) for number, measure, limit in known if number.low < limit]
    if f.finding == "partial" and missed:
        return missed[0]
    met = [(number, measure) for number, measure, _ in known if not (two_class and measure == CARRIED)]
    return met[0] if met else (None, "")


def untold(findings: Sequence[FindingPart], of_arrays: bool = False) -> tuple[Untold, ...]:
    """What cannot be told, grouped by reason, the commonest first; single concepts are only counted elsewhere.

    ``of_arrays``: what would help is said without options, which a folder of arrays does not take.
    """
    grouped: dict[tuple[str, str], list[str]] = {}
    for f in findings:
        if not says_something(f) and f.kind != "concept":
            why, what = reason(f)
            what = _WITHOUT_OPTIONS.get(what, what) if of_arrays else what
            grouped.setdefault((why, what), []).append(readable(f.group))
    ordered = sorted(grouped.items(), key=lambda entry: -len(entry[1]))
    return tuple(Untold(tuple(groups), why, what) for (why, what), groups in ordered)


def reason(finding: FindingPart) -> tuple[str, str]:
    """Why nothing can be said about a group, and what would help."""
    if finding.finding == "unstable":
        return "it changes with the half of the images that is looked at", "more images"
    if any(words in finding.rule for words in _TOO_FEW):
        return "too few images", "more images"
    if _FEW_VALUES in finding.rule:
        return "too few of its values are read", "labels that state them"
    return next(
        ((why, what) for start, why, what in _REASONS if finding.rule.startswith(start)),
        ("it could not be measured", ""),
    )


def _gravity(f: FindingPart, shown: Row) -> tuple[int, bool, float]:
    return list(WORDS).index(f.finding), f.kind == "concept", -(shown.bar.value if shown.bar else 0.0)
