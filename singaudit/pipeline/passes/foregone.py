"""Foregone conclusions: what numbers of images, labels and texts already say that no audit of them can find.

They are told before the first image is decoded, with what would help: an hour later they would be the whole report.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from singaudit.geometry.null_space import NullSpace
from singaudit.language.concepts import Group, prompts
from singaudit.metrics.findings import THRESHOLDS
from singaudit.metrics.values import MIN_VALUE_IMAGES
from singaudit.pipeline.passes.asked import Asked
from singaudit.report.gates.rules import Rule

_ANYWAY = "the audit goes on; --geometry-only, or Ctrl-C, stops here"


def foregone(asked: Asked, groups: Sequence[Group], space: NullSpace, rules: Sequence[Rule], given: bool) -> list[str]:
    """One sentence for everything that cannot be found, whatever the images show; ``given``: a translator is."""
    if space.null_dim == 0:
        return [f"no finding can be reached: the head has no logit null space; {_ANYWAY}"]
    nothing = _too_few(asked, given)
    found = [f"no finding can be reached: {reason}; {_ANYWAY}" for reason in nothing]
    for group in groups:
        reason = _texts(group) or _labels(asked, group)
        if reason and not nothing:
            found.append(f"nothing can be found about {group.name}: {reason}")
    wanted = any(rule.path[0].name == "data" and rule.path[-1].name.startswith("class_") for rule in rules)
    if wanted and asked.labels is None:
        found.append(
            "the gate on class knowledge cannot be decided: no true labels; put the images into a subfolder per class, "
            "or give --labels FILE"
        )
    return found


def _too_few(asked: Asked, given: bool) -> list[str]:
    """Why no group at all can have a finding."""
    reasons = []
    if asked.count < THRESHOLDS.min_images:
        reasons.append(
            f"{asked.count} images are audited, at least {THRESHOLDS.min_images} are needed; add some to --images"
        )
    elif asked.scenes is not None and (scenes := len(np.unique(asked.scenes[: asked.count]))) < THRESHOLDS.min_images:
        reasons.append(
            f"the images show {scenes} scenes, at least {THRESHOLDS.min_images} are needed; add images of others"
        )
    behind = asked.probe_count if asked.probe is not None else asked.count
    if not given and behind < THRESHOLDS.min_translator_images:
        reasons.append(
            f"the translator would rest on {behind} images, at least {THRESHOLDS.min_translator_images} are needed; "
            f"add unlabelled ones of the same kind with --probe"
        )
    return reasons


def _texts(group: Group) -> str:
    """Two values that are said in the same words cannot be told apart."""
    said = Counter(prompts(group.template, value)[0].casefold() for value in group.said)
    twice = [text for text, times in said.items() if times > 1]
    return f"two of its values are both said as {twice[0]!r}; word them apart in --concepts" if twice else ""


def _labels(asked: Asked, group: Group) -> str:
    """A group whose labels name fewer than two values often enough."""
    labels: NDArray[np.intp] | None = asked.own.get(group.name)
    if group.kind == "class" and asked.labels is not None:
        labels = np.asarray(asked.labels, np.intp)
    if labels is None:
        return ""
    known = labels[: asked.count]
    counts = np.bincount(known[known >= 0], minlength=1)
    if (counts >= MIN_VALUE_IMAGES).sum() >= 2:
        return ""
    most = int(counts.max())
    return (
        f"fewer than two of its values are labelled on {MIN_VALUE_IMAGES} images or more (the most frequent on "
        f"{most}); " + ("add images of each class" if group.kind == "class" else "label more images")
    )
