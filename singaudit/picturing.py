"""An audit's pictures: whether equivalents may be made at all, and how the making is shown and stopped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from singaudit.classifier.interface import Classifier
from singaudit.classifier.naming import torch_device
from singaudit.config import AuditConfig
from singaudit.language.concepts import Group
from singaudit.looking import Progress, Seen
from singaudit.metrics.measure import Measured
from singaudit.metrics.subject import Subject
from singaudit.pictures.interrupt import first_interrupt_stops
from singaudit.pictures.units import units
from singaudit.report.result import CertificatePart, FindingPart

if TYPE_CHECKING:
    # Imports torch, which an audit without pictures does not need.
    from singaudit.report.pictured import Pictured

STAGE = "make equivalent images"


def make_pictures(
    config: AuditConfig, classifier: Classifier, seen: Seen, subject: Subject, measured: Measured,
    findings: Sequence[FindingPart], groups: Sequence[Group], class_names: Sequence[str],
    logits: NDArray[np.float32], certificate: CertificatePart, progress: Progress,
) -> Pictured:  # fmt: skip
    """Neighbours, natural pairs and equivalents; the first interrupt ends the making of equivalents, not the audit."""
    from singaudit.pictures.audited import Audited
    from singaudit.pictures.features import feature_copy
    from singaudit.report.pictured import Wanted, pictured

    def tell(done: int, total: int, note: str) -> None:
        note_of = getattr(progress, "note", None)
        if note_of is not None:
            note_of(STAGE, note)
        progress(STAGE, done, total)

    def interrupted() -> None:
        note_of = getattr(progress, "note", None)
        if note_of is not None:
            note_of(STAGE, "stopping; the report is written with what is finished, Ctrl-C again aborts")

    world = Audited(
        classifier, seen.encoder, seen.source, seen.images.indices, subject, logits,
        units(subject.features, logits, subject.space),
    )  # fmt: skip
    with first_interrupt_stops(interrupted) as stop:
        wanted = Wanted(
            config.generate, config.toward, _blocked(certificate, seen),
            lambda: feature_copy(classifier, torch_device(config.device)),
            None if subject.probe is None else subject.probe[0], stop, tell,
        )  # fmt: skip
        found = pictured(world, seen.images.names, measured, findings, groups, class_names, wanted, config.seed)
    if found.generation.status != "none":
        progress(STAGE, config.generate, config.generate)
    return found


def _blocked(certificate: CertificatePart, seen: Seen) -> str:
    """Why no picture may be made; empty where it may."""
    if certificate.status != "passed":
        return f"the shadow copy has no trusted certificate: {certificate.reason}"
    if certificate.gradient_cosine is None:
        return "the shadow copy's gradients could not be certified"
    if seen.pack is not None:
        return "the pack holds embeddings, and no vision-language model that could look at a new picture"
    return ""
