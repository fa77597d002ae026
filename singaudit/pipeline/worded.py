"""What images lose and gain in words, put into the result where the translator can be read at all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from singaudit.metrics.measure import Measured
from singaudit.metrics.subject import Subject
from singaudit.metrics.words import find_words, without_unread
from singaudit.report.build.words import with_changes, with_class_words, words_part
from singaudit.report.gates.instrument import unreadable
from singaudit.report.result.audit import AuditResult


def _unread(result: AuditResult, concepts: Sequence[tuple[str | None, str]]) -> NDArray[np.bool_]:
    """(k,) concepts whose group, or which alone, the language model does not read from these images."""
    dark = {(part.group, part.kind == "concept") for part in result.findings if not part.readable}
    return np.array([(name if group is None else group, group is None) in dark for group, name in concepts], bool)


def worded(
    result: AuditResult,
    subject: Subject,
    measured: Measured,
    concepts: Sequence[tuple[str | None, str]],
    asked: Sequence[tuple[int, int]],
) -> AuditResult:
    """``result`` with words; ``concepts`` are (group, name), ``asked`` (class, concept) pairs that gates name."""
    if subject.space.null_dim == 0 or unreadable(result.translator):
        return result
    grouped = [part for part in result.findings if part.kind != "concept"]
    own = [group.values.own for group in measured.groups if group.of.kind != "concept"]
    words = without_unread(find_words(subject, own, asked), _unread(result, concepts), asked)
    return result.model_copy(
        update={
            "words": words_part(words, concepts),
            "concepts": with_changes(result.concepts, words),
            "classes": with_class_words(result.classes, words, concepts, grouped, asked),
        }
    )
