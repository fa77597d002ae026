"""Findings as a reader takes them: a row for what something can be said of, a line for what cannot be told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from singaudit.metrics.findings import THRESHOLDS
from singaudit.report.brief.model import MAX_ROWS, Bar, Row, Untold
from singaudit.report.brief.words import readable, share_text
from singaudit.report.result.base import Statistic
from singaudit.report.result.findings import FindingPart

Style = Literal["bad", "warn", "plain", "good"]
CARRIED = "of its reading lies in what the head ignores"
UNSEEN = "of it is not visible to the logits"
FOUND = "of it is found in what the head ignores"

WORDS: dict[str, tuple[str, Style]] = {
    "strong": ("ignored", "bad"),
    "partial": ("partly ignored", "warn"),
    "nonlinear": ("ignored, nonlinearly", "warn"),
    "redundant": ("seen by the logits", "plain"),
    "not detected": ("not ignored", "good"),
    "not applicable": ("nothing is ignored", "plain"),
}
"""Reader's word and style of every finding that says something, the gravest first."""

_SENTENCES = {
    "strong": "Ignored by the head: it can change and no logit moves.",
    "partial": "Part of what carries it in the features is ignored by the head.",
    "nonlinear": "Ignored by the head, in a form that only a nonlinear reading finds.",
    "redundant": "Not ignored: the logits show it as well.",
    "not detected": "Next to nothing of it is found in what the head ignores; whether the logits use it was not asked.",
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
_TOO_FEW = ("were audited, fewer than", "are too few, at least")
_FEW_VALUES = "values are read in enough images"
_MOSTLY = 0.75
"""Share from which a partial finding is called most of it."""
_BEYOND = "the class alone tells the value"
"""How the rule of a finding begins that rests on the numbers with the class taken out."""


def says_something(finding: FindingPart) -> bool:
    """Whether a finding claims anything about the head."""
    return finding.finding in WORDS


def rows(
    findings: Sequence[FindingPart], two_class: bool = False, limit: int = MAX_ROWS
) -> tuple[tuple[Row, ...], str]:
    """The worst findings as rows, at most ``limit``, and how many more there are in words."""
    said = sorted(((f, row(f, two_class)) for f in findings if says_something(f)), key=lambda found: _gravity(*found))
    kept, rest = said[:limit], Counter(r.word for _, r in said[limit:])
    more = ", ".join(f"{count} {word}" for word, count in rest.items())
    return tuple(r for _, r in kept), f"{sum(rest.values())} more: {more}" if more else ""


def decided_first(rows: Sequence[Row], every: Sequence[Row], groups: Sequence[str]) -> tuple[Row, ...]:
    """As many rows, those of ``groups``, whose gates failed, first and as grave as the verdict, whatever their word."""
    first = tuple(replace(row, style="bad") for row in every if row.group in groups)[: len(rows)]
    return (*first, *(row for row in rows if row.group not in groups))[: max(len(rows), 1)]


def row(finding: FindingPart, two_class: bool = False) -> Row:
    """One finding; it must be one that says something."""
    word, style = WORDS[finding.finding]
    shown, meaning = bar(finding, two_class), _SENTENCES[finding.finding]
    if finding.finding == "redundant" and shown is not None and shown.value > THRESHOLDS.redundant_gain:
        word, meaning = "mostly seen", "The logits show most of it, and lack the rest."
    if finding.finding == "partial" and shown is not None and shown.value >= _MOSTLY:
        word, meaning = "mostly ignored", "Most of what carries it in the features is ignored by the head."
    if two_class and finding.finding in ("strong", "partial"):
        # What is read there says nothing; what counts is what the logits lack of what the features decode.
        meaning = f"{meaning[:-1]}, as any two-class head would ignore it: what tells is what its logits lack."
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
    share, gain, probe = f.carried_share, f.probe.gain if f.probe else None, f.probe
    if f.finding == "nonlinear":
        return (f.quadratic_probe.null, FOUND) if f.quadratic_probe else (None, "")
    if f.finding in ("strong", "partial") and f.beyond_class is not None and f.rule.startswith(_BEYOND):
        share, gain = f.beyond_class.carried_share, f.beyond_class.probe.gain if f.beyond_class.probe else None
    if f.finding == "not detected":
        return (probe.null, FOUND) if probe else (None, "")
    if f.finding == "redundant":
        # Its values decode worse from what the logits see, and yet its reading stays: then the reading decided.
        stays = gain is None or gain.low >= THRESHOLDS.partial_gain
        return (share, CARRIED) if stays else (gain, UNSEEN)
    if two_class or share is None:
        # Any two-class head ignores nearly all directions: what is read there says nothing, what is decoded does.
        return gain, UNSEEN
    if f.finding == "partial" and share.low >= THRESHOLDS.strong_share:
        return (gain, UNSEEN) if gain is not None else (share, CARRIED)
    return share, CARRIED


def untold(findings: Sequence[FindingPart]) -> tuple[Untold, ...]:
    """What cannot be told, grouped by reason, the commonest first; single concepts are only counted elsewhere."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for f in findings:
        if not says_something(f) and f.kind != "concept":
            grouped.setdefault(reason(f), []).append(readable(f.group))
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
