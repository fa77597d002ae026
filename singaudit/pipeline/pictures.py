"""Pictures: whether equivalents may be made at all, and how the making is shown and stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from singaudit.classifier.interface import Classifier, Preprocessing
from singaudit.config import AuditConfig
from singaudit.language.concepts import Group
from singaudit.machine import torch_device
from singaudit.metrics.measure import Measured
from singaudit.metrics.subject import Subject
from singaudit.pictures.interrupt import first_interrupt_stops
from singaudit.pictures.units import units
from singaudit.pipeline.context import AuditContext
from singaudit.pipeline.decoding import Decoding
from singaudit.pipeline.observe import Progress
from singaudit.report.result.findings import FindingPart
from singaudit.report.result.model import CertificatePart

if TYPE_CHECKING:
    # Imports torch, which an audit without pictures does not need.
    from singaudit.pictures.features import FeatureCopy
    from singaudit.pictures.one_photo import PhotoWorld
    from singaudit.pipeline.audit_pictures import Pictured, PictureRequest

STAGE = "make equivalent images"


def make_pictures(
    facts: AuditContext,
    subject: Subject,
    measured: Measured,
    findings: Sequence[FindingPart],
    logits: NDArray[np.float32],
    certificate: CertificatePart,
    progress: Progress,
) -> Pictured:
    """Neighbours, natural pairs, equivalents and decoded pictures.

    The first interrupt ends the making of pictures, not the audit.
    """
    from singaudit.pictures.audited import Audited
    from singaudit.pipeline.audit_pictures import pictured

    config, classifier, seen = facts.config, facts.classifier, facts.seen
    world = Audited(
        classifier,
        seen.encoder,
        seen.source,
        seen.images.indices,
        subject,
        logits,
        units(subject.features, logits, subject.space),
    )
    why_not = blocked(certificate, classifier.preprocessing, seen.pack is not None)
    probe = None if subject.probe is None else subject.probe[0]
    with _wanted(config, classifier, why_not, progress, probe, facts.decoding) as wanted:
        found = pictured(world, seen.images.names, measured, findings, facts.names, wanted, config.seed)
    if found.generation.status != "none":
        progress(STAGE, config.generate, config.generate)
    return found


def make_photo_pictures(
    config: AuditConfig,
    world: PhotoWorld,
    groups: Sequence[Group],
    texts: Sequence[NDArray[np.float64]],
    class_names: Sequence[str],
    certificate: CertificatePart,
    progress: Progress,
    folder: str,
) -> Pictured:
    """The same of one photo, toward ``config.toward``; ``folder`` is that of its files below the output folder."""
    from singaudit.pipeline.photo_pictures import pictured_photo

    with _wanted(
        config, world.audited.classifier, blocked(certificate, world.audited.classifier.preprocessing, False), progress
    ) as wanted:
        found = pictured_photo(world, str(config.toward), groups, texts, class_names, wanted, config.seed, folder)
    if found.generation.status != "none":
        progress(STAGE, config.generate, config.generate)
    return found


@contextmanager
def _wanted(
    config: AuditConfig,
    classifier: Classifier,
    why_not: str,
    progress: Progress,
    probe_features: NDArray[np.float32] | None = None,
    decoding: Decoding | None = None,
) -> Iterator[PictureRequest]:
    """What the user wants; within the block the first interrupt says that it is enough."""
    from singaudit.pipeline.audit_pictures import PictureRequest

    note: Callable[[str, str], None] = getattr(progress, "note", lambda stage, text: None)

    def tell(done: int, total: int, text: str) -> None:
        note(STAGE, text)
        progress(STAGE, done, total)

    def interrupted() -> None:
        note(STAGE, "stopping; the report is written with what is finished, Ctrl-C again aborts")

    def copy() -> FeatureCopy:
        from singaudit.pictures.features import feature_copy

        return feature_copy(classifier, torch_device(config.device))

    with first_interrupt_stops(interrupted) as stop:
        wanted = PictureRequest(config.generate, config.toward, why_not, copy, probe_features, stop, tell)
        if decoding is not None:
            pipeline = decoding.pipeline
            wanted = replace(
                wanted,
                decoder=(pipeline.name, pipeline.revision, pipeline.sha256),
                decode=lambda world, rows: decoding.decode(world, rows, stop, progress),
            )
        yield wanted


def blocked(certificate: CertificatePart, how: Preprocessing, packed: bool) -> str:
    """Why no picture may be made; empty where it may. ``packed``: embeddings stand in for the language model."""
    if certificate.status != "passed":
        return f"the shadow copy has no trusted certificate: {certificate.reason}"
    if certificate.gradient_cosine is None:
        return "the shadow copy's gradients could not be certified"
    if how.crop > 1:
        return "the preprocessing surrounds every image, so that no picture is what the classifier sees"
    if packed:
        return "the pack holds embeddings, and no vision-language model that could look at a new picture"
    return ""
