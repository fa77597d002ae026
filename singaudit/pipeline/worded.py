"""What images lose and gain in words, put into the result where the translator can be read at all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from singaudit.metrics.measure import Measured
from singaudit.metrics.subject import Subject
from singaudit.metrics.words import Words, find_words, without_unread
from singaudit.report.build.words import with_changes, with_class_words, words_part
from singaudit.report.gates.instrument import unreadable
from singaudit.report.result.audit import AuditResult
from singaudit.report.result.data import TranslatorPart


def _unread(result: AuditResult, concepts: Sequence[tuple[str | None, str]]) -> NDArray[np.bool_]:
    """(k,) concepts whose group, or which alone, the language model does not read from these images."""
    dark = {(part.group, part.kind == "concept") for part in result.findings if not part.readable}
    return np.array([(name if group is None else group, group is None) in dark for group, name in concepts], bool)


def words_of(
    subject: Subject, measured: Measured, translator: TranslatorPart, asked: Sequence[tuple[int, int]]
) -> Words | None:
    """What all concepts change by, for ``worded``; ``asked`` are (class, concept) pairs that gates name.

    None where there is no null space or the translator cannot be read at all.
    """
    if subject.space.null_dim == 0 or unreadable(translator):
        return None
    return find_words(subject, [group.values.own for group in measured.groups if group.of.kind != "concept"], asked)


def worded(
    result: AuditResult,
    found: Words | None,
    concepts: Sequence[tuple[str | None, str]],
    asked: Sequence[tuple[int, int]],
) -> AuditResult:
    """``result`` with the words ``found``; ``concepts`` are (group, name), ``asked`` those that ``words_of`` got."""
    if found is None:
        return result
    grouped = [part for part in result.findings if part.kind != "concept"]
    words = without_unread(found, _unread(result, concepts), asked)
    return result.model_copy(
        update={
            "words": words_part(words, concepts),
            "concepts": with_changes(result.concepts, words),
            "classes": with_class_words(result.classes, words, concepts, grouped, asked),
        }
    )
