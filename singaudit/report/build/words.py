"""From words that were found to the parts of the result: pure assembly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from singaudit.metrics.changes import LEVEL, JudgedChanges
from singaudit.metrics.intervals import Estimate
from singaudit.metrics.words import Words
from singaudit.report.build.scores import maybe
from singaudit.report.result.base import Statistic
from singaudit.report.result.findings import FindingPart
from singaudit.report.result.scores import ClassPart, ConceptPart
from singaudit.report.result.words import ClassFinding, WordPart, WordsPart

_SHOWN = 24
"""Words of each kind kept for all images; result.json's concepts say about every one whether it is lost."""
_SHOWN_PER_CLASS = 8


def _statistic(value: float, low: float, high: float, n: int) -> Statistic | None:
    return maybe(Estimate(float(value), float(low), float(high), int(n)))


def word(
    concept: tuple[str | None, str], j: JudgedChanges, at: tuple[int, ...], angles: tuple[float, float] | None
) -> WordPart:
    """One judged change as it stands in the result; ``at`` is its position."""
    control = float(j.control[at])
    return WordPart.model_validate(
        {
            "name": concept[1],
            "group": concept[0],
            "change": str(j.change[at]),
            "change_deg": _statistic(j.value[at], j.low[at], j.high[at], j.n[at]),
            "control_deg": control if np.isfinite(control) else None,
            "before_deg": angles[0] if angles else None,
            "after_deg": angles[1] if angles else None,
        }
    )


def words_part(words: Words, concepts: Sequence[tuple[str | None, str]]) -> WordsPart:
    """What all images lose and gain; ``concepts`` are (group, name) in the order of the texts."""

    def ranked(j: JudgedChanges, change: str) -> list[WordPart]:
        rows = np.flatnonzero(j.change == change)
        rows = rows[np.argsort(-np.abs(j.value[rows]), kind="stable")][:_SHOWN]
        return [word(concepts[i], j, (i,), None) for i in rows.tolist()]

    return WordsPart(
        lost=ranked(words.shown, "lost"), gained=ranked(words.absent, "gained"), tested=2 * len(concepts), level=LEVEL
    )


def with_changes(parts: Sequence[ConceptPart], words: Words) -> list[ConceptPart]:
    """Every concept with what the images that show it lose."""
    found = []
    for i, part in enumerate(parts):
        found_word = word((part.group, part.name), words.shown, (i,), None)
        found.append(part.model_copy(update={"change": found_word.change, "change_deg": found_word.change_deg}))
    return found


def with_class_words(
    parts: Sequence[ClassPart],
    words: Words,
    concepts: Sequence[tuple[str | None, str]],
    findings: Sequence[FindingPart],
    asked: Sequence[tuple[int, int]] = (),
) -> list[ClassPart]:
    """Every class with its confirmed words, its findings, and the concepts ``asked`` for as (class, concept)."""
    found = list(parts)
    for row, index in enumerate(words.classes):
        confirmed = np.flatnonzero(np.isin(words.by_class.change[row], ("lost", "gained")))
        order = confirmed[np.argsort(-np.abs(words.by_class.value[row, confirmed]), kind="stable")][:_SHOWN_PER_CLASS]
        entries = [
            word(concepts[k], words.by_class, (row, k), (float(words.before[row, k]), float(words.after[row, k])))
            for k in order.tolist()
        ]
        named = {k: word(concepts[k], words.asked, (q,), None) for q, (c, k) in enumerate(asked) if c == index}
        found[index] = parts[index].model_copy(
            update={
                "words": entries,
                "concepts": list(named.values()),
                "findings": _class_findings(words, row, findings),
            }
        )
    return found


def _class_findings(words: Words, row: int, findings: Sequence[FindingPart]) -> list[ClassFinding]:
    c, out = words.carried, []
    for g, whole in enumerate(findings):
        j = c.change
        share = _statistic(c.share[row, g], c.low[row, g], c.high[row, g], c.n[row, g])
        contrast = _statistic(-j.value[row, g], -j.high[row, g], -j.low[row, g], j.n[row, g])
        control = -float(j.control[row, g])
        out.append(
            ClassFinding.model_validate(
                {
                    "group": whole.group,
                    "finding": c.finding(row, g, whole.finding),
                    "contrast_deg": contrast,
                    "carried_share": share,
                    "control_deg": control if np.isfinite(control) else None,
                }
            )
        )
    return out
