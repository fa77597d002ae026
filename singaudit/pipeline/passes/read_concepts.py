"""Which groups and values of a concept file a language model can read on given images: asked before an audit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from singaudit.cache.store import Cache, cache_folder
from singaudit.config import AuditConfig
from singaudit.dataset.labels import resolve_group_labels
from singaudit.dataset.sources.table import open_source
from singaudit.engine.interface import Step
from singaudit.engine.local import run_pass
from singaudit.geometry.null_space import NullSpace
from singaudit.hub.caller import Progress
from singaudit.language.concepts import Group, concept_group, open_vocabulary
from singaudit.language.encoders.cached import CachedEncoder
from singaudit.language.encoders.running.exports import Exports
from singaudit.language.encoders.table import open_encoder
from singaudit.language.interface import Encoder
from singaudit.language.translators.fit import Fitted
from singaudit.machine import torch_device
from singaudit.metrics.findings import THRESHOLDS, beaten
from singaudit.metrics.intervals import Estimate, at_least_wilson
from singaudit.metrics.readability import TextTests
from singaudit.metrics.subject import GroupTexts, Subject, every_text
from singaudit.metrics.values import Values, read_values
from singaudit.pipeline.passes.recipes import EncoderModel, EncoderRecipe
from singaudit.pipeline.passes.texts import group_texts

IMAGES = 500
"""Images that are looked at where nobody says how many: a minute's work for a large CLIP on two cores."""


@dataclass(frozen=True)
class GroupRead:
    """One concept group, as far as the language model reads it."""

    group: Group
    """Its values."""
    basis: str
    """"labels", or "two prompt sets"."""
    score: Estimate | None
    """Normalised accuracy against labels, or agreement of two prompt sets; None where fewer than two are read."""
    images: tuple[int, ...]
    """Per value: images that have it, by label or as read."""
    judged: tuple[int, ...]
    """Positions of the values that an audit of these images would judge."""
    reason: str
    """Why it cannot be read; empty where it can."""


@dataclass(frozen=True)
class ConceptsRead:
    """What was asked and found."""

    encoder: str
    """Of the language model."""
    images: int
    """Distinct images looked at."""
    groups: tuple[GroupRead, ...]
    """In the order of the file, single concepts last."""


def read_concepts(config: AuditConfig, progress: Progress) -> ConceptsRead:
    """Look at the first images of ``config.images`` and read every group. Raises ``SingauditError``."""
    vocabulary = open_vocabulary(config.concepts, config.vlm)
    groups = (*vocabulary.groups, *(concept_group(word) for word in vocabulary.concepts))
    source = open_source(str(config.images))
    own = resolve_group_labels(source, config.labels, {g.name: g.values for g in groups if g.kind == "group"})
    cache, device = Cache(cache_folder(config.cache)), torch_device(config.device)

    def opened(exports: Exports | None) -> Encoder:
        return open_encoder(config.vlm, device=device, precision=config.precision, progress=progress, exports=exports)

    encoder = CachedEncoder(config.vlm, device, cache, opened, config.precision)
    recipe = EncoderRecipe(config.vlm, device, config.precision, encoder.revision)
    count, done = min(len(source), config.limit or IMAGES), 0

    def advance(n: int) -> None:
        nonlocal done
        done += n
        progress("look at the images", done, count)

    seen = run_pass(
        source,
        {"encoder": Step(recipe, encoder.images, EncoderModel(encoder))},
        batch_size=config.batch_size or 16,
        limit=count,
        progress=advance,
    )
    texts = group_texts(encoder, groups, {name: values[seen.indices] for name, values in own.items()})
    subject = _subject(seen.outputs["encoder"][0], seen.sha256, texts, config.seed)
    tests = TextTests(subject)
    found = tuple(_read(subject, tests, group) for group in texts)
    return ConceptsRead(encoder.name, len(seen.names), found)


def _subject(z: NDArray[np.float32], sha256: list[str], groups: tuple[GroupTexts, ...], seed: int) -> Subject:
    """The images alone: readability asks for neither features nor head nor translator."""
    everything = every_text(groups)
    assert everything is not None  # a concept file holds at least one concept
    return Subject(
        z[:, :0], z, sha256, np.zeros(len(z), np.intp), everything[:1], everything, groups, cast(NullSpace, None),
        cast(Fitted, None), seed,
    )  # fmt: skip


def _read(subject: Subject, tests: TextTests, texts: GroupTexts) -> GroupRead:
    values = read_values(subject, texts)
    known = values.own[values.own >= 0]
    images = np.bincount(known, minlength=len(texts.group.values))
    score = _score(values)
    return GroupRead(
        texts.group,
        "labels" if texts.labels is not None else "two prompt sets",
        score,
        tuple(images.tolist()),
        tuple(values.present.tolist()),
        _why_not(tests, texts, values, score),
    )


def _score(values: Values) -> Estimate | None:
    """Values weigh equally; 0 chance, 1 all."""
    if len(values.present) < 2:
        return None
    chance = 1 / len(values.present)
    share = float(np.mean([values.readable[values.own == value].mean() for value in values.present]))
    value = (share - chance) / (1 - chance)
    point = Estimate(value, value, value, int(values.counts.sum()))
    return at_least_wilson(point, values.effective_images, chance)


def _why_not(tests: TextTests, texts: GroupTexts, values: Values, score: Estimate | None) -> str:
    """The first reason for which an audit of these images would not judge the group."""
    if score is None:
        return "fewer than two of its values are seen in enough of these images"
    if not score.low > THRESHOLDS.readable:
        return f"read with {score.value:.2f} [{score.low:.2f}, {score.high:.2f}], its lower end must exceed " + (
            f"{THRESHOLDS.readable:g}"
        )
    if texts.labels is not None:
        return ""
    test = tests.of(texts, values)
    if test is not None and not test.p <= THRESHOLDS.text_p:
        return f"texts that mean nothing separate these images as well ({beaten(test)})"
    if len(values.present) < THRESHOLDS.min_values_read * len(texts.texts):
        return f"only {len(values.present)} of {len(texts.texts)} values are seen in enough of these images"
    return ""
