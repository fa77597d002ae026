"""The last layer of a classifier fitted anew on labelled images, and the new file judged on images it did not see."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singaudit.classifier.class_names import class_names
from singaudit.classifier.graph.tolerances import TOLERANCES, largest_share
from singaudit.classifier.interface import Classifier, Precision
from singaudit.classifier.openers.table import open_classifier
from singaudit.classifier.options import ModelOptions, model_options
from singaudit.classifier.sandbox.onnx_classifier import open_onnx
from singaudit.config import AuditConfig
from singaudit.dataset.subset import Subset
from singaudit.errors import ConfigError, ModelError
from singaudit.hub.caller import Progress
from singaudit.pipeline.labelled import CLASS, Labelled, class_labels, look, open_labelled, require_labels
from singaudit.pipeline.repaired_files import beside, check_output, publish, size_of, staged
from singaudit.pipeline.zero_shot import Reader, findings_change, group_of
from singaudit.repair.guard import Guard
from singaudit.repair.judge import MOST_LOST, Decision, JudgedHead, decide, judge_head
from singaudit.repair.process import Copies, NewModel
from singaudit.repair.refit import Refit, Task, folds_of, refit_head
from singaudit.repair.split import Balanced, Split, cells_of, check_enough, one_a_scene, split
from singaudit.repair.suggest import again
from singaudit.report.build.repair import guard_part, judged_fields
from singaudit.report.build.reproduce import command_line
from singaudit.report.build.scores import units_part
from singaudit.report.pages.repair import refit_page
from singaudit.report.result.repair import (
    BalancedPart,
    ChangedPart,
    FilePart,
    PenaltyPart,
    RefitCertificatePart,
    RefitResult,
)
from singaudit.report.result.store import canonical_part

HOLDOUT = 0.3


@dataclass(frozen=True)
class RefitOptions:
    """How a head is fitted anew."""

    output: str
    """The new model file."""
    balance: tuple[str, ...] = (CLASS,)
    """Groups whose values, in every combination, count alike in the fit."""
    holdout: float = HOLDOUT
    """Share of the images that judge and do not fit."""
    vlm: str | None = None
    """Vision-language model that reads groups which nothing states, and by which findings are told."""
    most_lost: float = MOST_LOST
    """Points that a class or group may lose beyond its interval."""
    force: bool = False
    """Write the file whatever speaks against it."""


@dataclass(frozen=True)
class _Fitted:
    """What was fitted, and to what."""

    labelled: Labelled
    classes: NDArray[np.intp]
    groups: tuple[Balanced, ...]
    cells: NDArray[np.intp]
    parts: Split
    refit: Refit
    free: NDArray[np.bool_]


def refit(
    config: AuditConfig, options: RefitOptions, progress: Progress = lambda stage, done, total: None
) -> RefitResult:
    """Fit the last layer of ``config.model`` anew and write it to ``options.output``, with a page and JSON beside it.

    Where something speaks against the new head nothing is written, unless forced: ``written`` and ``reasons`` say so.
    Raises ``SingauditError``; then nothing is written.
    """
    if config.images is None:
        raise ConfigError("expected labelled images to fit on", hint="Add --images DIR.")
    if not 0.05 <= options.holdout <= 0.9:
        raise ConfigError(f"expected a share from 0.05 to 0.9 for --holdout, got {options.holdout:g}")
    if not 0 <= options.most_lost <= 100:
        raise ConfigError(f"expected 0 to 100 points for --most-lost, got {options.most_lost:g}")
    output = check_output(options.output)
    asked = model_options(config)
    progress("open the model", 0, 1)
    classifier = open_classifier(config.model, asked, progress)
    check_output(output, classifier.path)
    names = class_names(config, classifier)[0]
    copies = Copies(classifier, asked)
    free = copies.free_biases()
    progress("open the model", 1, 1)
    fitted, reader = _fit(config, options, classifier, names, free, progress)
    weight, bias = fitted.refit.weight, fitted.refit.bias
    model = copies.with_head(weight, bias, output.name)
    with staged(model, output) as path:
        progress("check the new model", 0, 1)
        new = reopened(path, classifier, asked)
        held = fitted.parts.held
        source = Subset(fitted.labelled.source, fitted.labelled.images.indices[held], "held-out images")
        images = look(_of_file(config, path), new, source, progress, "look again")
        features, logits = images.outputs["classifier"]
        certificate = _certificate(fitted, new, features, logits, _precision(classifier))
        found, decision = _judged(config, options, fitted, classifier, class_labels(names), logits)
        findings, note = findings_change(reader, fitted.labelled, fitted.parts, (classifier.head, new.head))
        write = decision.write or options.force
        result = RefitResult(
            written=write, forced=write and not decision.write, reasons=list(decision.reasons),
            model=FilePart(
                name=classifier.name, sha256=classifier.sha256,
                bytes=size_of(classifier.graph_path, model.beside.values()),
            ),
            output=FilePart(
                name=output.name, sha256=file_sha256(path) if write else None,
                bytes=size_of(path, [path.parent / item for item in model.beside]),
            ),
            head=classifier.head.kind, classes=len(classifier.head.weight), feature_dim=classifier.head.weight.shape[1],
            activation=classifier.head.activation, biases=int(free.sum()),
            certificate=certificate, changed=_changed(model), findings=findings, findings_note=note,
            warnings=[*decision.notes, *_warnings(fitted, classifier, new)], command=_command(config, options),
            guard=guard_part(fitted.refit.guarded, options.most_lost), **_fit_fields(fitted), **judged_fields(found),
        )  # fmt: skip
        if write:
            pages = beside(output)
            contents = {pages["html"].name: refit_page(result).encode(), pages["json"].name: canonical_part(result)}
            publish(path, output, contents)
        progress("check the new model", 1, 1)
    return result


def _fit(
    config: AuditConfig,
    options: RefitOptions,
    classifier: Classifier,
    names: Sequence[str],
    free: NDArray[np.bool_],
    progress: Progress,
) -> tuple[_Fitted, Reader | None]:
    """Look at the images, hold some out, fit on the others."""
    reader = None if options.vlm is None else Reader(config, options.vlm, classifier, names, progress)
    labelled = open_labelled(config, classifier, names, progress, reader.look if reader else None)
    classes = require_labels(labelled)
    groups = tuple(group_of(labelled, name, reader) for name in dict.fromkeys(options.balance))
    if not groups:
        groups = (Balanced("all", ("all",), np.zeros(len(classes), np.intp), "no group is balanced"),)
    # Both parts hold every class in the same shares, whether or not the fit is balanced by class.
    cells = cells_of(groups)
    shared = cells_of((*groups, labelled.group(CLASS)))
    units, hashes = labelled.units, labelled.images.sha256
    parts = split(units, shared, options.holdout, config.seed)
    check_enough(parts, classes, class_labels(names), units)
    # What judges is independent: one image of each scene. What fits is all of them, a scene counting once.
    parts = replace(parts, held=one_a_scene(parts.held, units, shared, hashes))
    own = parts.fit
    head = classifier.head
    task = Task(
        labelled.features[own],
        classes[own],
        np.unique(cells[own], return_inverse=True)[1],
        head.weight,
        head.bias,
        "sigmoid" if head.activation == "sigmoid" or len(head.bias) == 1 else "softmax",
        free,
        np.unique(labelled.scenes.of[own], return_inverse=True)[1],
        Guard(tuple(column[own] for column in _guarded_groups(classes, groups)), options.most_lost / 100),
    )
    order = np.argsort(np.array(hashes)[own], kind="stable")
    stage = "fit the last layer"
    progress(stage, 0, 1)
    folds = folds_of(shared[own], order, task.scenes)
    found = refit_head(task, folds, lambda done, total: progress(stage, done, total))
    progress(stage, 1, 1)
    return _Fitted(labelled, classes, groups, cells, parts, found, free), reader


def _guarded_groups(classes: NDArray[np.intp], groups: Sequence[Balanced]) -> list[NDArray[np.intp]]:
    """The groups by which the new head is judged: classes, and classes with one value of a balanced group."""
    others = [group for group in groups if group.name not in (CLASS, "all")]
    return [classes, *(np.where(group.own < 0, -1, classes * len(group.values) + group.own) for group in others)]


def _of_file(config: AuditConfig, path: Path) -> AuditConfig:
    """The settings for looking at images with a new file, of which nothing is kept."""
    return config.model_copy(update={"model": str(path), "cache": "none", "limit": None})


def reopened(path: Path, classifier: Classifier, asked: ModelOptions) -> Classifier:
    """The new file as any user would open it."""
    return open_onnx(path, replace(asked, arch=None))


def _precision(classifier: Classifier) -> Precision:
    return "fp16" if classifier.head.stored_dtype in ("float16", "bfloat16") else "fp32"


def _certificate(
    fitted: _Fitted, new: Classifier, features: NDArray[np.float32], logits: NDArray[np.float32], precision: Precision
) -> RefitCertificatePart:
    """The new file against what was fitted. Raises ``ModelError`` where it computes something else."""
    held = fitted.parts.held
    wanted = features.astype(np.float64) @ fitted.refit.weight.T + fitted.refit.bias
    part = RefitCertificatePart(
        images=len(held),
        logit_difference=largest_share([logits], [wanted]),
        feature_difference=largest_share([features], [fitted.labelled.features[held]]),
        tolerance=TOLERANCES[precision],
        runtime=new.runtime.mode,
        mode_difference=new.runtime.difference,
    )
    worst = max(part.logit_difference, part.feature_difference)
    if not worst <= part.tolerance:
        raise ModelError(
            f"the new file does not compute what was fitted: it is {worst:.2g} of the range away, allowed are "
            f"{part.tolerance:g}; nothing was written",
            hint="Export the model again with a plain final linear layer, or in float32.",
        )
    return part


def _judged(
    config: AuditConfig,
    options: RefitOptions,
    fitted: _Fitted,
    classifier: Classifier,
    names: Sequence[str],
    logits: NDArray[np.float32],
) -> tuple[JudgedHead, Decision]:
    """The old head and the new one on the images held out."""
    held = fitted.parts.held
    others = [replace(group, own=group.own[held]) for group in fitted.groups if group.name not in (CLASS, "all")]
    cells = cells_of((fitted.labelled.group(CLASS), *fitted.groups))[held]
    found = judge_head(
        fitted.labelled.logits[held].astype(np.float64),
        logits.astype(np.float64),
        fitted.classes[held],
        names,
        others,
        cells,
        classifier.head.activation,
        config.seed,
    )
    return found, decide(found, options.most_lost)


def _warnings(fitted: _Fitted, classifier: Classifier, new: Classifier) -> list[str]:
    warnings = []
    if fitted.refit.unchanged:
        warnings.append("cross-validation found no head better than the old one: the new one is the same")
    if classifier.format != "onnx":
        warnings.append(f"{classifier.name} was exported to ONNX; the new file is that export with another head")
    if not fitted.free.all():
        fixed = int((~fitted.free).sum())
        warnings.append(f"{fixed} of {len(fitted.free)} logits have no bias in the file; it was fitted without one")
    if classifier.head.activation == "sigmoid" and len(fitted.free) > 1:
        warnings.append("each logit has a sigmoid of its own; the one label of an image was taken to be the only one")
    skipped = len(fitted.labelled.images.skipped)
    if skipped:
        warnings.append(f"{skipped} images could not be read and were left out")
    if classifier.preprocessing.guessed:
        warnings.append(f"preprocessing was guessed: {', '.join(classifier.preprocessing.guessed)}")
    if new.runtime.reason:
        warnings.append(new.runtime.reason)
    return warnings


def _fit_fields(fitted: _Fitted) -> dict[str, Any]:
    """What the result says of the fit."""

    def finite(penalty: float) -> float | None:
        return None if np.isinf(penalty) else penalty

    return {
        "source": fitted.labelled.source.name,
        "labels": fitted.labelled.labels_source,
        "fitted_on": len(fitted.parts.fit),
        "held_out": len(fitted.parts.held),
        "units": units_part(fitted.labelled.scenes, fitted.labelled.images.names),
        "left_out": int((fitted.cells < 0).sum()),
        "balanced": [
            BalancedPart(name=group.name, values=list(group.values), source=group.source) for group in fitted.groups
        ],
        "penalty": finite(fitted.refit.penalty),
        "candidates": [PenaltyPart(penalty=finite(penalty), loss=loss) for penalty, loss in fitted.refit.losses],
    }


def _changed(model: NewModel) -> list[ChangedPart]:
    return [
        ChangedPart(tensor=item["tensor"], shape=item["shape"], instead_of=item.get("instead_of"))
        for item in model.facts["changed"]
    ]


def file_sha256(path: Path) -> str:
    """Of a staged model and its external data, as of any model."""
    from singaudit.classifier.graph.checks import sha256_of

    return sha256_of(path, sorted(item for item in path.parent.iterdir() if item != path))


def _command(config: AuditConfig, options: RefitOptions) -> str:
    """The command line that does the same again."""
    added = ["--balance", ",".join(options.balance) or "none", "--holdout", f"{options.holdout:g}"]
    added += ["--vlm", options.vlm] if options.vlm else []
    added += ["--most-lost", f"{options.most_lost:g}"] if options.most_lost != MOST_LOST else []
    added += ["--force"] if options.force else []
    return again(shlex.split(command_line(config)), "refit", [*added, "-o", options.output])
