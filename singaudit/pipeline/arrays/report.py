"""An audit of a folder of arrays: result, gates and report like any other, but for what needs images or a model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singaudit.classifier.interface import Head
from singaudit.config import AuditConfig
from singaudit.errors import ConfigError
from singaudit.geometry.null_space import NullSpace, null_space
from singaudit.hub.caller import Progress
from singaudit.language.concepts import Group, class_group
from singaudit.metrics.class_reading import class_reading
from singaudit.metrics.control_run import DRAWS
from singaudit.metrics.domains import told_apart
from singaudit.metrics.findings import METHOD_VERSION, THRESHOLDS
from singaudit.metrics.intervals import share_estimate
from singaudit.metrics.judge import findings_of
from singaudit.metrics.measure import Measured
from singaudit.metrics.steering import steer_all
from singaudit.metrics.subject import Subject, unit_keys
from singaudit.metrics.units import Units
from singaudit.pipeline.arrays.audit import Given, check_arrays, subject_of
from singaudit.pipeline.arrays.checked import content_hashes
from singaudit.pipeline.arrays.folder import Folder, arguments, open_folder
from singaudit.pipeline.context import doubts_of_geometry, image_columns, near_null
from singaudit.pipeline.worded import worded, words_of
from singaudit.report.build import scores
from singaudit.report.build.findings import control_parts, finding_parts
from singaudit.report.build.reproduce import reproduce
from singaudit.report.build.steering import steering_part
from singaudit.report.gates.names import Known
from singaudit.report.gates.policy import class_concepts, with_policy
from singaudit.report.gates.rules import Rule
from singaudit.report.gates.verdict import UNDECIDED
from singaudit.report.result.audit import AuditResult, MethodPart
from singaudit.report.result.data import ClassReading, DataPart, EncoderPart, ImagesPart
from singaudit.report.result.model import HeadPart, ModelPart, PreprocessingPart, RuntimePart

FORMAT = "arrays"
_CERTIFIED = "shadow certificate"
_NOT_WITH = (
    "classes", "images", "label_column", "labels", "units", "probe", "translator", "vlm", "class_prompts", "concepts",
    "logits", "features", "arch", "preprocess", "toward", "decode", "pack", "limit", "geometry_only",
)  # fmt: skip
"""Settings that say what a folder of arrays says itself, or that need images or a model."""


@dataclass(frozen=True)
class FolderAudit:
    """What was found; gates and verdict are left open."""

    result: AuditResult
    """Everything."""
    per_image: dict[str, Sequence[Any]]
    """Columns of scores.csv."""
    rules: list[Rule]
    """Gates, those of a policy included."""


def audit_folder(
    config: AuditConfig, rules: list[Rule], progress: Progress, warn: Callable[[str], None]
) -> FolderAudit:
    """Audit the folder ``config.arrays``. Raises ``SingauditError`` for whatever in it does not fit together."""
    _check_settings(config)
    progress("open the arrays", 0, 1)
    folder = open_folder(str(config.arrays))
    names = folder.names
    activation = names.activation if config.activation == "auto" else config.activation
    given = check_arrays(
        **arguments(folder), activation=activation or "softmax", activation_stated=activation is not None
    )
    space = null_space(given.head)
    groups = [Group(name, values, "{}") for name, values in names.groups.items()]
    if len(names.classes) > 1:
        groups.insert(0, class_group(names.classes))
    given = replace(given, groups=tuple(replace(g, group=words) for g, words in zip(given.groups, groups, strict=True)))
    known = Known(names.classes, tuple((g.name, v) for g in groups for v in g.values), tuple(g.name for g in groups))
    # The ready policy's gate on the shadow copy is about pictures, of which there are none.
    asked = [rule for rule in rules if (rule.name, rule.path[0].name) != (_CERTIFIED, "certificate")]
    left_out = len(asked) < len(rules)
    config, rules = with_policy(config, asked, known)
    for text in _foregone(given, space, rules):
        warn(text)
    progress("open the arrays", 1, 1)
    subject, units = subject_of(given, space, config.seed, lambda done, total: progress("find scenes", done, total))
    measured, controls, judged = findings_of(subject, lambda done: progress("compare with controls", done, DRAWS))
    findings = finding_parts(judged, controls)
    images = list(names.images) if names.images else [f"row {i}" for i in range(len(given.features))]
    chosen = given.predicted(len(names.classes))
    data = _data(folder, given, subject, measured, units, images, chosen)
    translator = scores.translator_part(subject.fitted, measured, len(names.classes))
    result = AuditResult(
        method=MethodPart(version=METHOD_VERSION),
        model=_model(folder, given.head),
        geometry=scores.geometry_part(space, given.head, near_null(given.head.weight, subject.features), measured),
        data=data,
        encoder=_encoder(folder, given, subject),
        translator=translator,
        scores=scores.scores_part(measured),
        controls=control_parts(controls),
        classes=scores.class_parts(measured, subject, names.classes),
        concepts=scores.concept_parts(measured.concepts, groups, ()),
        findings=findings,
        steering=steering_part(steer_all(subject), known.concepts),
        verdict=UNDECIDED,
        scatter=scores.scatter_part(measured, subject.sha256, subject.class_of),
        warnings=[
            "arrays were audited: that they are a model's, its images' and a language model's was not looked at, and "
            "there are no pictures"
            + (f"; the ready policy's gate {_CERTIFIED!r}, about those, was left out" if left_out else ""),
            *_assumed(given.head),
            *doubts_of_geometry(space, data),
        ],
        reproduce=reproduce(config),
    )
    pairs = class_concepts(rules, known)
    result = worded(result, words_of(subject, measured, translator, pairs), known.concepts, pairs)
    columns = image_columns(images, names.classes, subject, measured, chosen)
    return FolderAudit(result, columns, rules)


def _check_settings(config: AuditConfig) -> None:
    defaults = {name: field.default for name, field in AuditConfig.model_fields.items()}
    wrong = [name for name in _NOT_WITH if getattr(config, name) != defaults[name]]
    if wrong:
        option = "--" + wrong[0].replace("_", "-")
        raise ConfigError(
            f"expected --arrays or {option}, got both",
            hint=f"Leave {option} out: a folder of arrays holds features, embeddings, texts and labels itself.",
        )


def _foregone(given: Given, space: NullSpace, rules: Sequence[Rule]) -> list[str]:
    """What the arrays' shapes already say that no audit of them can find."""
    found = []
    n = len(given.features)
    behind = len(given.probe[0]) if given.probe else n
    if space.null_dim == 0:
        found.append("no finding can be reached: the head has no logit null space")
    elif n < THRESHOLDS.min_images:
        found.append(
            f"no finding can be reached: {n} images are audited, at least {THRESHOLDS.min_images} are needed; add rows"
        )
    elif given.units is not None and (scenes := len(np.unique(np.asarray(given.units)))) < THRESHOLDS.min_images:
        found.append(
            f"no finding can be reached: the images show {scenes} scenes, at least {THRESHOLDS.min_images} are needed"
        )
    elif behind < THRESHOLDS.min_translator_images:
        found.append(
            f"no finding can be reached: the translator would rest on {behind} images, at least "
            f"{THRESHOLDS.min_translator_images} are needed; add unlabelled ones as probe_features.npy and "
            "probe_embeddings.npy"
        )
    wanted = any(rule.path[0].name == "data" and rule.path[-1].name.startswith("class_") for rule in rules)
    if wanted and given.class_labels is None:
        found.append("the gate on class knowledge cannot be decided: no true labels; add class_labels.npy")
    return found


def _model(folder: Folder, head: Head) -> ModelPart:
    content = hashlib.sha256()
    for array in (head.weight, head.bias):
        content.update(f"{array.shape}".encode() + np.ascontiguousarray(array, "<f8").tobytes())
    name = folder.names.model or folder.path.resolve().name
    return ModelPart(
        name=name, sha256=content.hexdigest(), format=FORMAT, class_names=list(folder.names.classes),
        class_names_source="names.json",
        head=HeadPart(
            kind="weight.npy, bias.npy", nodes=[], features="features.npy", logits="features @ weight' + bias",
            stored_dtype=head.stored_dtype, activation=head.activation, activation_stated=head.activation_stated,
            max_error=0.0,
        ),
        runtime=RuntimePart(mode="optimised", difference=None, reason="arrays: no model was run"),
        preprocessing=PreprocessingPart(settings="", source="none: arrays", guessed=[]),
    )  # fmt: skip


def _data(
    folder: Folder,
    given: Given,
    subject: Subject,
    measured: Measured,
    units: tuple[Units, Units | None],
    images: list[str],
    chosen: NDArray[np.intp],
) -> DataPart:
    known = given.class_labels is not None and len(folder.names.classes) > 1
    accuracy = chance = apart = None
    if known:
        right = (chosen == subject.class_of).astype(np.float64)
        accuracy = scores.statistic(share_estimate(right, subject.unit_of))
        chance = float(np.bincount(subject.class_of).max() / len(right))
    if given.probe is not None and units[1] is not None:
        hashes = content_hashes(*given.probe)
        found = told_apart(subject.embeddings, given.probe[1], (subject.keys, unit_keys(hashes, units[1].of)))
        apart = scores.statistic(found) if found is not None else None
    classes = measured.groups[0].numbers if known else None
    return DataPart(
        audit=_images(folder, "features.npy", subject.sha256),
        probe=_images(folder, "probe_features.npy", content_hashes(*given.probe)) if given.probe else None,
        units=scores.units_part(units[0], images),
        probe_units=scores.units_part(units[1], [f"row {i}" for i in range(len(units[1].of))]) if units[1] else None,
        probe_told_apart=apart,
        labels="true" if given.class_labels is not None else "predicted",
        labels_source="class_labels.npy" if given.class_labels is not None else "none: there is no class_labels.npy",
        accuracy=accuracy,
        chance_accuracy=chance,
        class_probe=scores.maybe(classes.probe) if classes else None,
        class_gain=scores.maybe(classes.probe_gain) if classes else None,
    )


def _images(folder: Folder, file: str, sha256: Sequence[str]) -> ImagesPart:
    digest = hashlib.sha256("\n".join(sorted(sha256)).encode()).hexdigest()
    return ImagesPart(
        source=f"{folder.path.resolve().name}/{file}",
        found=len(sha256),
        used=len(sha256),
        skipped=[],
        skipped_count=0,
        duplicates=0,
        digest=digest,
    )


def _encoder(folder: Folder, given: Given, subject: Subject) -> EncoderPart:
    reading = None
    if given.class_labels is not None and len(folder.names.classes) > 1:
        found, chance = class_reading(subject.embeddings, subject.class_texts, subject.class_of, subject.unit_of)
        reading = ClassReading(**scores.statistic(found).model_dump(), chance=scores.rounded(chance))
    texts = hashlib.sha256(np.ascontiguousarray(subject.concept_texts, "<f8").tobytes()).hexdigest()
    return EncoderPart(
        name=folder.names.encoder or "embeddings.npy",
        revision=texts,
        family="arrays",
        embedding_dim=subject.embeddings.shape[1],
        class_reading=reading,
        runtime="arrays",
    )


def _assumed(head: Head) -> list[str]:
    if head.activation_stated:
        return []
    return [f"nothing says whether softmax or sigmoid follows the logits; {head.activation} was assumed"]
