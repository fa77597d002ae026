"""What the language model says of concept groups, as they are measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from singaudit.language.concepts import Group, embed_groups, embed_meaningless
from singaudit.language.interface import Encoder
from singaudit.metrics.subject import GroupTexts


def group_texts(
    encoder: Encoder, groups: Sequence[Group], known: Mapping[str, NDArray[np.intp]]
) -> tuple[GroupTexts, ...]:
    """The groups with their embedded texts, and the values that labels state: ``known`` (n,) by the group's name.

    Groups that are read zero-shot are compared with words that mean nothing; single concepts, of which no label ever
    states anything, are not.
    """
    found = []
    for group, texts in zip(groups, embed_groups(encoder, groups), strict=True):
        own = known.get(group.name) if group.kind != "concept" else None
        words = embed_meaningless(encoder, group) if own is None and group.kind != "concept" else None
        found.append(GroupTexts(group, *texts, own, words))
    return tuple(found)
