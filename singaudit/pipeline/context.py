"""What is fixed before anything is measured, and what a report says of it alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singaudit.classifier.class_names import predicted
from singaudit.classifier.graph.session import CPU, CUDA, providers, why_unusable
from singaudit.classifier.interface import Classifier
from singaudit.config import AuditConfig
from singaudit.geometry.near_null import NEAR_NULL_FRACTION, near_null_dim
from singaudit.geometry.null_space import NullSpace
from singaudit.language.concepts import Group, Vocabulary
from singaudit.language.packs.encoder import pack_warnings
from singaudit.language.packs.pack import Pack
from singaudit.language.translators.file import StoredTranslator
from singaudit.language.translators.statistics import accumulate
from singaudit.machine import torch_device
from singaudit.metrics.class_reading import class_reading
from singaudit.metrics.domains import APART, told_apart
from singaudit.metrics.group_numbers import GroupMeasure
from singaudit.metrics.intervals import share_estimate
from singaudit.metrics.label_cells import labels_of
from singaudit.metrics.measure import Measured
from singaudit.metrics.subject import Subject
from singaudit.metrics.units import unit_hashes
from singaudit.pipeline.decoding import Decoding
from singaudit.pipeline.observe import Observed
from singaudit.report.build import scores
from singaudit.report.gates.names import Known
from singaudit.report.gates.rules import Rule
from singaudit.report.result.base import Statistic
from singaudit.report.result.data import ClassReading, DataPart, PackPart, TablePart
from singaudit.report.result.model import CertificatePart


@dataclass(frozen=True)
class AuditContext:
    """What is fixed before anything is measured."""

    config: AuditConfig
    """What was asked for."""
    classifier: Classifier
    """The opened model."""
    names: tuple[str, ...]
    """Class names, in the order of the logits."""
    names_source: str
    """Where the names come from."""
    space: NullSpace
    """What the logits see and what they do not."""
    rules: list[Rule]
    """Gates, those of a policy included."""
    known: Known
    """Names that a gate may speak of."""
    seen: Observed
    """Images, labels and embeddings after the pass."""
    vocabulary: Vocabulary
    """Concepts asked for, as they were given."""
    groups: tuple[Group, ...]
    """Concept groups: the classes first, single concepts last."""
    stored: StoredTranslator | None
    """A translator that was given, instead of one fitted here."""
    decoding: Decoding | None
    """What draws translated features; None where nobody asked."""
    certificate: Callable[[], CertificatePart]
    """The shadow copy's, which is made meanwhile; waits for it."""

    @property
    def most_images(self) -> int:
        """Images audited, or those that the translator is fitted on where they are more."""
        return max(len(self.seen.images.names), len(self.seen.probe.names) if self.seen.probe else 0)

    def class_of(self, logits: NDArray[np.float32]) -> NDArray[np.intp]:
        """(n,) the label of each image used, else its predicted class."""
        if self.seen.labels is not None:
            return np.asarray(self.seen.labels, np.intp)[self.seen.images.indices]
        return predicted(logits, len(self.names))

    def labels(self, logits: NDArray[np.float32]) -> NDArray[np.bool_] | None:
        """(n, c) labels that a head of several gives each image; None where classes stand for them."""
        return None if self.seen.labels is not None else labels_of(self.classifier.head.activation, logits)


def accuracy_of(facts: AuditContext, logits: NDArray[np.float32]) -> tuple[Statistic | None, float | None]:
    """Share of right top-1 predictions, and the share of the most frequent class; None without labels."""
    if facts.seen.labels is None or len(facts.names) < 2:
        return None, None
    truth = facts.class_of(logits)
    right = (predicted(logits, len(facts.names)) == truth).astype(np.float64)
    chance = float(np.bincount(truth).max() / len(truth))
    return scores.statistic(share_estimate(right, facts.seen.units.of)), chance


def data_part(
    facts: AuditContext, accuracy: Statistic | None, chance: float | None, classes: GroupMeasure | None = None
) -> DataPart:
    """Which images were used, where their labels come from, and what is right of them.

    ``classes`` are the numbers of the classes' own group, which say what the features know of true labels.
    """
    if facts.seen.labels is None:
        classes = None
    seen = facts.seen
    return DataPart(
        audit=scores.images_part(seen.images),
        probe=scores.images_part(seen.probe) if seen.probe else None,
        units=scores.units_part(seen.units, seen.images.names),
        probe_units=scores.units_part(seen.probe_units, seen.probe.names) if seen.probe and seen.probe_units else None,
        probe_told_apart=_domains(seen),
        labels="true" if seen.labels is not None else "predicted",
        labels_source=seen.labels_source,
        tables=[TablePart(name=table.path.name, sha256=table.sha256) for table in seen.tables],
        accuracy=accuracy,
        chance_accuracy=chance,
        class_probe=scores.maybe(classes.probe) if classes else None,
        class_gain=scores.maybe(classes.probe_gain) if classes else None,
    )


def _domains(seen: Observed) -> Statistic | None:
    """Whether the probe images are of the audited ones' kind; None without a probe."""
    if seen.probe is None or seen.probe_units is None:
        return None
    keys = unit_hashes(seen.images.sha256, seen.units), unit_hashes(seen.probe.sha256, seen.probe_units)
    found = told_apart(seen.images.outputs["encoder"][0], seen.probe.outputs["encoder"][0], keys)
    return scores.statistic(found) if found is not None else None


def _other_domain(data: DataPart) -> list[str]:
    """That the translator rests on images of another kind."""
    apart = data.probe_told_apart
    if apart is None or apart.low <= APART:
        return []
    return [
        f"the probe images are of another kind than the audited ones: their embeddings tell them apart in "
        f"{apart.value:.0%} of pairs, 50% would be by chance; a translator fitted on others says little about these"
    ]


def reading_part(facts: AuditContext, subject: Subject) -> ClassReading | None:
    """How well the language model names the true classes; None without labels."""
    if facts.seen.labels is None or len(facts.names) < 2:
        return None
    found, chance = class_reading(subject.embeddings, subject.class_texts, subject.class_of, facts.seen.units.of)
    return ClassReading(**scores.statistic(found).model_dump(), chance=scores.rounded(chance))


def pack_part(pack: Pack | None) -> PackPart | None:
    """The pack that stood in for a language model, if any."""
    return None if pack is None else PackPart(name=pack.file.name, sha256=pack.file.sha256, images=len(pack))


def near_null(weight: NDArray[np.float64], features: NDArray[np.float32]) -> tuple[float, int, float]:
    """The fraction that counts as near-null, how many directions lie in it and what share of variance they hold."""
    data = accumulate(features, features[:, :0], np.zeros(len(features), np.intp), 1)[0]
    covariance = data.centred_at(data.f / data.n, data.z)[0] / data.n
    return NEAR_NULL_FRACTION, *near_null_dim(weight, covariance, NEAR_NULL_FRACTION)


def _relabelled(seen: Observed) -> list[str]:
    """That the same image has two labels, where it has: one of them is wrong, and the first was used."""
    labels = seen.labels
    if labels is None:
        return []
    wrong = [(one, other) for one, other in seen.images.copies if labels[one] != labels[other]]
    if not wrong:
        return []
    first = " and ".join(seen.source.names[i] for i in wrong[0])
    return [f"{len(wrong)} images occur again with another label, the first label was used; the first: {first}"]


_NEARLY_ALL, _HARDLY_ANY = 0.9, 0.05
"""Shares of feature space that are null from which, and up to which, a reader must know it."""
_FAR_BELOW = 0.1
"""Normalised accuracy that a head loses to a probe of its own features from which it is said."""


def _null_share(space: NullSpace) -> list[str]:
    """What it means that nearly all, or hardly any, of feature space is null."""
    if space.null_dim == 0:
        return []
    share = space.null_dim / space.feature_dim
    counted = f"{space.null_dim} of {space.feature_dim} dimensions, {share:.0%}"
    if share >= _NEARLY_ALL:
        return [
            f"nearly all of feature space is null ({counted}): any head of so few classes ignores most of what "
            "features hold; only comparisons with controls mean anything"
        ]
    if share <= _HARDLY_ANY:
        return [
            f"hardly any of feature space is null ({counted}): scores are small whatever the model, and rank it by its "
            "dimensions rather than by what it ignores"
        ]
    return []


def _far_below(data: DataPart) -> list[str]:
    """That the head is right far less often than its own features would allow."""
    if data.accuracy is None or data.chance_accuracy is None or data.class_probe is None:
        return []
    best = (data.accuracy.high - data.chance_accuracy) / max(1 - data.chance_accuracy, 1e-9)
    if data.class_probe.low - best <= _FAR_BELOW:
        return []
    return [
        f"accuracy {data.accuracy.value:.1%} lies far below what the features know: a linear probe of them reads "
        f"{data.class_probe.value:.0%} of the classes beyond chance; the head was trained on something else, or the "
        "order of the class names is wrong"
    ]


def warnings_of(facts: AuditContext, data: DataPart) -> list[str]:
    """What a reader must know before believing the numbers, one sentence each."""
    accuracy, chance = data.accuracy, data.chance_accuracy
    warnings = facts.stored.doubts(facts.seen.encoder.precision) if facts.stored is not None else []
    skipped = len(facts.seen.images.skipped)
    if skipped:
        first = facts.seen.images.skipped[0]
        warnings.append(f"{skipped} images could not be read and were left out; the first: {first.name} {first.reason}")
    if changed := facts.seen.source.changed:
        warnings.append(
            f"{len(changed)} images changed, or went, while they were audited: the numbers are of what they were, "
            f"thumbnails and pictures of them are left out; the first: {min(changed)}"
        )
    if tables := [table for table in facts.seen.tables if table.changed()]:
        warnings.append(
            "the list of the images or their label file changed, or went, while they were audited: the numbers are of "
            f"what was read at first, sha256 {tables[0].sha256[:12]}..."
        )
    if facts.seen.pack is not None:
        warnings += pack_warnings(facts.seen.pack, facts.seen.images, facts.seen.probe)
    for note, noted in facts.seen.images.notes.items():
        warnings.append(f"{note}: {len(noted)} images; the first: {noted[0]}")
    warnings += _relabelled(facts.seen)
    if accuracy is not None and chance is not None and accuracy.low <= chance:
        warnings.append(
            f"accuracy {accuracy.value:.1%} is no better than chance ({chance:.1%}): the preprocessing or the order of "
            "the class names is probably wrong"
        )
    if facts.classifier.preprocessing.guessed:
        warnings.append(f"preprocessing was guessed: {', '.join(facts.classifier.preprocessing.guessed)}")
    if facts.classifier.runtime.reason:
        warnings.append(facts.classifier.runtime.reason)
    if torch_device(facts.config.device) != "cpu" and providers(facts.config.device) == CPU:
        warnings.append(
            "the classifier ran on the CPU, though a GPU is here and the rest ran on it: " + (why_unusable(CUDA) or "")
        )
    if not facts.classifier.head.activation_stated:
        assumed = facts.classifier.head.activation
        warnings.append(f"the file does not say whether softmax or sigmoid follows the logits; {assumed} was assumed")
    return warnings + doubts_of_geometry(facts.space, data)


def doubts_of_geometry(space: NullSpace, data: DataPart) -> list[str]:
    """What the share of feature space that is null, accuracy and the probe images make doubtful."""
    return _null_share(space) + _far_below(data) + _other_domain(data)


def per_image(
    facts: AuditContext, subject: Subject, measured: Measured, logits: NDArray[np.float32]
) -> dict[str, Sequence[Any]]:
    """Columns of scores.csv, in the source's order."""
    return image_columns(facts.seen.images.names, facts.names, subject, measured, predicted(logits, len(facts.names)))


def image_columns(
    images: Sequence[str],
    names: Sequence[str],
    subject: Subject,
    measured: Measured,
    chosen: NDArray[np.intp],
) -> dict[str, Sequence[Any]]:
    """Columns of scores.csv, of ``images`` by their names; ``names`` are the classes', ``chosen`` (n,) predicted."""
    columns: dict[str, Sequence[Any]] = {
        "image": images,
        "sha256": subject.sha256,
        "class": [names[i] for i in subject.class_of],
        "predicted": [names[i] for i in chosen],
        "image_score_deg": measured.image_score.tolist(),
        "attribute_score_deg": measured.attribute_score.tolist(),
        "mean_removal_image_score_deg": measured.image_score_mean.tolist(),
        "mean_removal_attribute_score_deg": measured.attribute_score_mean.tolist(),
    }
    for group in measured.groups:
        if group.margin is None or group.contrast is None:
            continue
        name, said = group.of.name, group.of.group.values
        columns[f"{name}_value"] = [said[i] if i >= 0 else "" for i in group.values.own]
        columns[f"{name}_margin_deg"] = group.margin.tolist()
        columns[f"{name}_contrast_deg"] = group.contrast.tolist()
    return columns
