"""A vision-language model beside a repair: values that nothing states are read, and findings told before and after."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from singaudit.classifier.interface import Classifier, Head
from singaudit.config import AuditConfig
from singaudit.dataset.interface import ImageSource
from singaudit.dataset.labels import key, resolve_group_labels
from singaudit.engine.interface import Pass
from singaudit.errors import SingauditError
from singaudit.geometry.null_space import null_space
from singaudit.hub.caller import Progress
from singaudit.language.class_prompts import worded_classes
from singaudit.language.concepts import (
    Group,
    concept_group,
    embed_group,
    embed_groups,
    open_vocabulary,
)
from singaudit.language.translators.fit import MIN_FIT_IMAGES, fit
from singaudit.metrics.judge import findings_of
from singaudit.metrics.subject import Subject, every_text
from singaudit.pipeline.labelled import Labelled
from singaudit.pipeline.observe import Observer
from singaudit.pipeline.passes.texts import group_texts
from singaudit.repair.split import Balanced, Split
from singaudit.report.build.findings import finding_parts
from singaudit.report.result.findings import FindingPart
from singaudit.report.result.repair import FindingChangePart

NO_READER = "not evaluated: no language model was given (--vlm NAME)"


class Reader:
    """A vision-language model and its concepts; it sees the images in the classifier's own pass."""

    def __init__(
        self, config: AuditConfig, vlm: str, classifier: Classifier, names: Sequence[str], progress: Progress
    ) -> None:
        self._config = config.model_copy(update={"vlm": vlm})
        vocabulary = open_vocabulary(config.concepts, vlm)
        self.vlm, self._names = vlm, tuple(names)
        self._classes = worded_classes(self._names, config.class_prompts)
        self.groups = {key(group.name): group for group in vocabulary.groups}
        self._asked = (
            *((self._classes,) if len(names) > 1 else ()),
            *vocabulary.groups,
            *map(concept_group, vocabulary.concepts),
        )
        self._observer = Observer(self._config, classifier, progress)

    def look(self, stage: str, source: ImageSource) -> Pass:
        """One pass through both models."""
        return self._observer.observe(stage, source)

    def read(self, group: Group, images: Pass) -> Balanced:
        """The value of each image whose embedding is nearest to it, both less their means."""
        texts = embed_groups(self._observer.encoder, (group,))[0][0]
        own = np.argmax(_centred(images.outputs["encoder"][0]) @ _centred(texts).T, axis=1)
        return Balanced(group.name, tuple(group.values), own.astype(np.intp), f"read zero-shot by {self.vlm}")

    def findings(self, labelled: Labelled, parts: Split, head: Head) -> list[FindingPart]:
        """What an audit finds of a head on the images held out, by translators fitted on the others."""
        held, used = parts.held, labelled.images.indices[parts.held]
        own = resolve_group_labels(
            labelled.source, labelled.given, {g.name: g.values for g in self._asked if g.kind == "group"}
        )
        known = {name: values[used] for name, values in own.items()}
        classes = np.zeros(len(held), np.intp)
        if labelled.classes is not None and len(self._names) > 1:
            classes = known["class"] = labelled.classes[held]
        encoder, embeddings = self._observer.encoder, labelled.images.outputs["encoder"][0]
        groups = group_texts(encoder, self._asked, known)
        names = groups[0].texts if len(self._names) > 1 else embed_group(encoder, self._classes)
        space, units = null_space(head), np.asarray(labelled.units)
        features, hashes = labelled.features, np.asarray(labelled.images.sha256)
        probe = (features[parts.fit], embeddings[parts.fit])
        fitted = fit(features[held], embeddings[held], list(units[held]), space, (*probe, list(units[parts.fit])))
        said = every_text(groups)
        subject = Subject(
            features[held], embeddings[held], list(hashes[held]), classes, names, names if said is None else said,
            groups, space, fitted, self._config.seed, probe, labelled.scenes.of[held].astype(np.intp),
        )  # fmt: skip
        _, controls, judged = findings_of(subject)
        return finding_parts(judged, controls)


def _centred(rows: NDArray[np.floating]) -> NDArray[np.float64]:
    """Rows less their mean, of length 1."""
    wide = np.asarray(rows, np.float64)
    wide = wide - wide.mean(axis=0)
    result: NDArray[np.float64] = wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12)
    return result


def group_of(labelled: Labelled, name: str, reader: Reader | None) -> Balanced:
    """A group that is stated of the images, else read zero-shot. Raises ``ConfigError`` where neither can be."""
    if reader is None or key(name) in labelled.columns or key(name) not in reader.groups:
        return labelled.group(name)
    return reader.read(reader.groups[key(name)], labelled.images)


def findings_change(
    reader: Reader | None, labelled: Labelled, parts: Split, heads: tuple[Head, Head]
) -> tuple[list[FindingChangePart], str]:
    """What the audit finds of each group under the old head and the new one, on held-out images; and what it rests on,
    or why there is nothing.

    The translator is fitted on the images that the fit saw: features and embeddings are those of one pass.
    """
    if reader is None:
        return [], NO_READER
    if min(len(parts.fit), len(parts.held)) < MIN_FIT_IMAGES:
        return [], f"not evaluated: fewer than {MIN_FIT_IMAGES} images fit or judge"
    try:
        before, after = (reader.findings(labelled, parts, head) for head in heads)
    except SingauditError as error:  # the refit stands without them
        return [], f"not evaluated: {error.message}"
    changes = [
        FindingChangePart(
            group=old.group,
            before=old.finding,
            after=new.finding,
            carried_before=old.carried_share,
            carried_after=new.carried_share,
        )
        for old, new in zip(before, after, strict=True)
    ]
    return changes, f"held-out images as {reader.vlm} reads them; the translator is fitted on the others"
