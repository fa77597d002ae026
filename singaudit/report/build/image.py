"""From one image's features to what is said about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from singaudit.classifier.interface import Classifier
from singaudit.engine.interface import Pass
from singaudit.geometry.null_space import NullSpace
from singaudit.language.concepts import Group
from singaudit.language.interface import Encoder
from singaudit.language.translators.file import StoredTranslator
from singaudit.metrics.changes import JudgedChanges
from singaudit.metrics.image_words import decompose, judge_image
from singaudit.metrics.scores import image_score, text_angles, unit
from singaudit.metrics.values import centred_texts
from singaudit.report.build.gallery import predicted_name, probability
from singaudit.report.build.words import word
from singaudit.report.result.audit import Neighbour
from singaudit.report.result.image import Atom, DecompositionPart, ImageResult, Reading
from singaudit.report.result.words import WordPart

Array = NDArray[np.float64]

_NEIGHBOURS = 4
_WORDS = 12
_OTHERS = 99
# Of a typical null norm and of the logits' spread: more images hardly change either.
_TYPICAL = 4096


@dataclass(frozen=True)
class Described:
    """One image, seen."""

    name: str
    """File name."""
    sha256: str
    """Of its bytes."""
    thumbnail: str
    """Small picture as a data URI."""
    features: NDArray[np.float32]
    """(m,)."""
    logits: NDArray[np.float32]
    """(c,)."""
    embedding: NDArray[np.float32]
    """(d,) unit."""
    groups: tuple[Group, ...]
    """Concept groups; the classes' own first, where there is more than one class."""
    texts: list[Array]
    """Per group (v, d) unit."""
    class_texts: Array
    """(c, d) unit."""


def image_result(
    seen: Described, classifier: Classifier, names: Sequence[str], space: NullSpace, stored: StoredTranslator,
    encoder: Encoder, reference: Pass | None, picture: Callable[[int], str], seed: int, precision: str,
) -> ImageResult:  # fmt: skip
    """Scores, words, readings and neighbours of one image; ``reference`` holds images to search and compare with.

    ``precision`` is that of the encoder's embeddings.
    """
    translator = stored.translator
    f = seen.features.astype(np.float64)
    others, mean, warnings = _around(seen, stored, reference)
    doubts = [classifier.runtime.reason] if classifier.runtime.reason else []
    warnings = doubts + stored.doubts(precision) + warnings
    zero, moved = space.principal_part(f[None])[0], f - space.null_part((f - mean)[None])[0]
    texts = np.concatenate(seen.texts) if seen.texts else seen.class_texts
    starts = np.cumsum([0, *(len(t) for t in seen.texts[:-1])]) if seen.texts else np.zeros(1, np.intp)
    reads = {"features": translator(f[None]), "zero": translator(zero[None]), "equivalent": translator(moved[None])}
    own = int(np.argmax(seen.logits)) if len(seen.logits) > 1 else 0
    toward = {k: float(text_angles(z, seen.class_texts)[0, own]) for k, z in reads.items()}
    # The same features with other images' null components taken out: what any removal of that size does.
    taken = f - space.null_part(others - mean) if len(others) else np.zeros((0, len(f)))
    judged = judge_image(f, moved, stored, texts, np.asarray(starts, np.intp), taken) if space.null_dim else None
    concepts: list[tuple[str | None, str]] = [(g.name or None, v) for g in seen.groups for v in g.values]
    typical = np.sqrt(np.mean(np.sum(space.null_part(others - mean) ** 2, axis=1))) if len(others) else np.nan
    norm = float(np.linalg.norm(f - moved) / typical) if typical > 0 else 0.0
    return ImageResult(
        image=seen.name, sha256=seen.sha256, thumbnail=seen.thumbnail, model=classifier.name,
        model_sha256=classifier.sha256, encoder=encoder.name, translator=_translator(stored),
        predicted=predicted_name(names, seen.logits),
        probability=probability(seen.logits, classifier.head.activation),
        image_score_deg=float(image_score(reads["features"], reads["equivalent"])[0]),
        attribute_score_deg=toward["features"] - toward["equivalent"],
        zero_removal_image_score_deg=float(image_score(reads["features"], reads["zero"])[0]),
        zero_removal_attribute_score_deg=toward["features"] - toward["zero"],
        null_norm=norm, logit_change=_logit_change(classifier, f, moved, reference),
        lost=_words(judged, "lost", concepts), gained=_words(judged, "gained", concepts),
        words_tested=len(concepts) if judged is not None else 0,
        decomposition=_decomposition(reads, texts, stored, space, concepts, seed),
        readings=_readings(seen, reads, translator(mean[None])[0]),
        near_original=_near(reads["features"], seen, names, reference, picture),
        near_equivalent=_near(reads["equivalent"], seen, names, reference, picture),
        warnings=warnings,
    )  # fmt: skip


def _around(seen: Described, stored: StoredTranslator, reference: Pass | None) -> tuple[Array, Array, list[str]]:
    """(features of other images (q, m), mean feature (m,), what must be said of them)."""
    warnings = []
    if seen.sha256 in stored.sha256:
        warnings.append("the image is one of those that the translator was fitted on")
    others = np.zeros((0, len(seen.features)))
    if reference is not None:
        rows = np.argsort(np.asarray(reference.sha256), kind="stable")
        rows = rows[[reference.sha256[i] != seen.sha256 for i in rows]][:_OTHERS]
        others = reference.outputs["classifier"][0][rows].astype(np.float64)
    else:
        warnings.append("without images to compare with (--images) there are no neighbours and no control for words")
    mean = stored.translator.mean
    if not np.isfinite(mean).all():
        if not len(others):
            warnings.append("the mean feature is not known: mean removal is zero removal here")
        mean = others.mean(axis=0) if len(others) else np.zeros(len(seen.features))
    if stored.halves is None:
        warnings.append("the translator's file does not hold its uncertainty: no word is called lost or gained")
    return others, mean, warnings


def _translator(stored: StoredTranslator) -> str:
    facts = stored.facts
    quality = f", R2 {facts.r2.value:.2f} [{facts.r2.low:.2f}, {facts.r2.high:.2f}]" if facts.r2 is not None else ""
    kind = "fitted on" if facts.origin == "fit" else "published, fitted on"
    return f"{kind} {facts.images:,} images{quality}"


def _logit_change(classifier: Classifier, f: Array, moved: Array, reference: Pass | None) -> float:
    """Largest change of a logit from f to f~ by the head's weight, in units of the logits' spread."""
    change = float(np.abs(classifier.head.weight @ (moved - f)).max())
    if reference is None or len(reference.names) < 2:
        spread = float(np.std(classifier.head.weight @ f + classifier.head.bias))
    else:
        spread = float(reference.outputs["classifier"][1][:_TYPICAL].astype(np.float64).std(axis=0).min())
    return change / spread if spread > 0 else change


def _words(judged: JudgedChanges | None, change: str, concepts: Sequence[tuple[str | None, str]]) -> list[WordPart]:
    if judged is None:
        return []
    rows = np.flatnonzero(judged.change == change)
    rows = rows[np.argsort(-np.abs(judged.value[rows]), kind="stable")][:_WORDS]
    return [word(concepts[i], judged, (i,), None) for i in rows.tolist()]


def _decomposition(
    reads: dict[str, Array],
    texts: Array,
    stored: StoredTranslator,
    space: NullSpace,
    concepts: Sequence[tuple[str | None, str]],
    seed: int,
) -> DecompositionPart | None:
    direction = (reads["equivalent"] - reads["features"])[0]
    if space.null_dim == 0 or not concepts:
        return None
    found = decompose(direction, texts, stored.translator, space, seed)
    if found is None:
        return None
    kinds: dict[int, Literal["gained", "lost"]] = {1: "gained", -1: "lost"}
    low, high = np.percentile(found.control, (2.5, 97.5))
    return DecompositionPart(
        atoms=[
            Atom(name=concepts[i][1], group=concepts[i][0], change=kinds[sign], weight=w) for i, sign, w in found.atoms
        ],
        explained=found.explained,
        control_mean=float(found.control.mean()),
        control_low=float(low),
        control_high=float(high),
    )


def _readings(seen: Described, reads: dict[str, Array], mean: Array) -> list[Reading]:
    """The value that each group is read as, as in an audit: texts and embeddings centred, at ``mean`` (d,)."""
    found = []
    for group, texts in zip(seen.groups, seen.texts, strict=True):
        if group.name:
            image = seen.embedding.astype(np.float64)[None]
            directions = centred_texts(texts)
            nearest = [group.values[int(np.argmax((z - mean) @ directions.T))] for z in (image, *reads.values())]
            found.append(Reading(group=group.name, image=nearest[0], features=nearest[1], equivalent=nearest[3]))
    return found


def _near(
    read: Array, seen: Described, names: Sequence[str], reference: Pass | None, picture: Callable[[int], str]
) -> list[Neighbour]:
    """The reference images whose embeddings are nearest to a translated feature, the image itself left out."""
    if reference is None:
        return []
    z = reference.outputs["encoder"][0]
    cosine = np.concatenate(
        [z[start : start + _TYPICAL].astype(np.float64) @ unit(read)[0] for start in range(0, len(z), _TYPICAL)]
    )
    order = [i for i in np.argsort(-cosine, kind="stable")[: _NEIGHBOURS + 1] if reference.sha256[i] != seen.sha256]
    logits = reference.outputs["classifier"][1]
    return [
        Neighbour(
            name=reference.names[i],
            class_name=predicted_name(names, logits[i]),
            angle_deg=float(np.degrees(np.arccos(np.clip(cosine[i], -1, 1)))),
            thumbnail=picture(int(i)),
        )
        for i in order[:_NEIGHBOURS]
    ]
