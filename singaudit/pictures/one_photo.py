"""One photo among reference images: what an audit knows of its images, for a single one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from singaudit.classifier.interface import Classifier
from singaudit.dataset.interface import ImageLoader
from singaudit.dataset.sources.joined import Joined
from singaudit.engine.interface import Pass
from singaudit.geometry.null_space import NullSpace
from singaudit.language.interface import Encoder
from singaudit.language.translators.fit import Fitted, Translator
from singaudit.metrics.subject import Subject
from singaudit.pictures.audited import Audited
from singaudit.pictures.natural_pairs import MAX_IMAGES
from singaudit.pictures.round_trip import top1
from singaudit.pictures.units import units


@dataclass(frozen=True)
class PhotoWorld:
    """Reference images, the photo among them."""

    audited: Audited
    """All of them, each under its predicted class."""
    names: list[str]
    """(n,)."""
    row: int
    """Position of the photo."""


def photo_world(
    classifier: Classifier,
    encoder: Encoder,
    space: NullSpace,
    photo: tuple[ImageLoader, Pass],
    reference: tuple[ImageLoader, Pass],
    translator: Translator,
    seed: int,
) -> PhotoWorld:
    """Join the photo and the first 20,000 references in hash order; a photo that is one of them is taken once.

    ``photo`` and ``reference`` are sources with what a pass over them gave. A ``translator`` that does not know the
    mean feature takes that of the references.
    """
    own, others = photo[1], reference[1]
    order = np.argsort(np.asarray(others.sha256), kind="stable")
    rows = np.sort(order[[others.sha256[i] != own.sha256[0] for i in order]][:MAX_IMAGES])

    def joined(step: str, part: int) -> NDArray[np.float32]:
        return np.concatenate([others.outputs[step][part][rows], own.outputs[step][part][:1]])

    features, logits, embeddings = joined("classifier", 0), joined("classifier", 1), joined("encoder", 0)
    places = [(reference[0], int(others.indices[i])) for i in rows] + [(photo[0], int(own.indices[0]))]
    if not np.isfinite(translator.mean).all():
        translator = replace(translator, mean=features.mean(axis=0, dtype=np.float64))
    fitted = Fitted((translator,), (), (), np.zeros(len(places), np.intp), 0, False, from_file=True)
    nothing = np.empty((0, embeddings.shape[1]))
    subject = Subject(
        features, embeddings, [*(others.sha256[i] for i in rows), own.sha256[0]], top1(logits.astype(np.float64)),
        nothing, nothing, (), space, fitted, seed,
    )  # fmt: skip
    audited = Audited(
        classifier,
        encoder,
        Joined(tuple(places)),
        np.arange(len(places)),
        subject,
        logits,
        units(features, logits, space),
    )
    return PhotoWorld(audited, [*(others.names[i] for i in rows), own.names[0]], len(rows))
