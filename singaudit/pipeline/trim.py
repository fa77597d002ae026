"""A classifier whose features are what its logits see: proved by ONNX Runtime, and what is still read from them."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from singaudit.classifier.class_names import class_names
from singaudit.classifier.graph.tolerances import TOLERANCES, largest_share
from singaudit.classifier.head.first_run import random_images
from singaudit.classifier.interface import Classifier, Precision
from singaudit.classifier.openers.table import open_classifier
from singaudit.classifier.options import model_options
from singaudit.classifier.preprocessing.resolve import prepare
from singaudit.config import AuditConfig
from singaudit.dataset.interface import Image
from singaudit.errors import ConfigError, DatasetError, ModelError
from singaudit.geometry.null_space import null_space
from singaudit.hub.caller import Progress
from singaudit.metrics.intervals import share_estimate
from singaudit.pipeline.labelled import Labelled, open_labelled
from singaudit.pipeline.repair import file_sha256, reopened
from singaudit.pipeline.repaired_files import beside, check_output, publish, size_of, staged
from singaudit.repair.erase import Eraser, eraser
from singaudit.repair.judge import paired, predictions
from singaudit.repair.process import Copies, NewModel
from singaudit.repair.refit import folds_of
from singaudit.repair.seen import SeenPart, probe_reading, seen_part
from singaudit.repair.split import Balanced, one_a_scene, split
from singaudit.repair.suggest import again
from singaudit.report.build.repair import paired_part
from singaudit.report.build.reproduce import command_line
from singaudit.report.build.scores import statistic
from singaudit.report.pages.repair import trim_page
from singaudit.report.result.repair import ErasedPart, FilePart, ModePart, ReadablePart, TimePart, TrimResult
from singaudit.report.result.store import canonical_part

Keep = Literal["seen", "projected"]

EXACT = 1e-5
"""Largest change of a logit, as a share of their range, by which a float32 model's answers are the same: what two
orders of summation over thousands of terms differ by."""
PROVED_ON = 256
"""Images that the copies are compared on."""
_NOISE = 16
_COMPARED = ("difference", "identical", "top1_agreement")
_SECONDS = 4.0
"""For which the two models are timed in turn at most."""
_ERASED_FROM = 0.7
"""Share of the images that erasure is fitted on; the others judge it."""
_LEAST_READ = 100
"""Images with a known value from which on a probe says anything."""
_MOST_READ = 4000
"""Images that probes are fitted on and judged by: beyond, an interval is within 1.6 points and only time goes by."""


@dataclass(frozen=True)
class TrimOptions:
    """What is kept of the features."""

    output: str
    """The new model file."""
    keep: Keep = "seen"
    """seen: one more output beside the logits. projected: in place of the features."""
    erase: str | None = None
    """A group to take out as well."""
    force: bool = False
    """Write the file whatever speaks against it."""


@dataclass(frozen=True)
class _Erasure:
    """A fitted eraser, and the images that judge it."""

    group: Balanced
    eraser: Eraser
    fitted_on: int
    held: NDArray[np.intp]


def trim(config: AuditConfig, options: TrimOptions, progress: Progress = lambda stage, done, total: None) -> TrimResult:
    """Write a copy of ``config.model`` with what its logits see, and a page and JSON beside it.

    Without images the copy is proved on noise. Where it cannot be proved, or nothing is ignored, nothing is written
    unless forced: ``written`` and ``reasons`` say so. Raises ``SingauditError``; then nothing is written.
    """
    output = check_output(options.output)
    if options.erase is not None and config.images is None:
        raise ConfigError("expected images to fit the erasure on", hint="Add --images DIR with --labels FILE.")
    asked = model_options(config)
    progress("open the model", 0, 1)
    classifier = open_classifier(config.model, asked, progress)
    check_output(output, classifier.path)
    head, space = classifier.head, null_space(classifier.head)
    if space.rank == 0:
        raise ModelError("the logits see nothing of the features: every weight of the head is zero")
    copies = Copies(classifier, asked)
    progress("open the model", 1, 1)
    names = class_names(config, classifier)[0] if config.images is not None else ()
    labelled = open_labelled(config, classifier, names, progress) if config.images is not None else None
    erasure = _erasure(labelled, options.erase, config.seed) if labelled and options.erase else None
    seen = seen_part(head.weight, head.bias, space.rank)
    matrix, offset = coordinates(seen, erasure.eraser if erasure else None)
    progress("write the copy", 0, 1)
    if options.keep == "seen":
        model = copies.with_output(matrix, offset, output.name)
    else:
        model = copies.with_features(matrix, offset, seen.weight, seen.bias, output.name)
    with staged(model, output) as path:
        inputs = _inputs(config, classifier, labelled)
        facts = copies.compare(path, inputs, _SECONDS if options.keep == "projected" else 0.0)
        new = reopened(path, classifier, asked)
        reasons = _reasons(options, facts, space.null_dim, erasure is not None)
        if erasure is not None and labelled is not None and options.keep == "projected":
            _check_erased(new, classifier, labelled, erasure, inputs, facts["precision"])
        readable, note = _readable(labelled, matrix, offset, seen, erasure)
        write = not reasons or options.force
        result = TrimResult(
            keep=options.keep, written=write, forced=bool(write and reasons), reasons=reasons,
            model=FilePart(
                name=classifier.name, sha256=classifier.sha256,
                bytes=size_of(classifier.graph_path, model.beside.values()),
            ),
            output=FilePart(
                name=output.name, sha256=file_sha256(path) if write else None,
                bytes=size_of(path, [path.parent / item for item in model.beside]),
            ),
            output_name=model.facts.get("output"), head=head.kind, classes=len(head.weight),
            feature_dim=space.feature_dim, rank=space.rank, null_dim=space.null_dim,
            folded=bool(model.facts.get("folded")), tolerance=_tolerance(options, facts["precision"]),
            precision=facts["precision"], ran_on=_ran_on(labelled, inputs),
            modes=[
                ModePart(mode=mode, **{name: facts[mode][name] for name in _COMPARED})
                for mode in ("unoptimised", "optimised") if facts[mode] is not None
            ],
            time=TimePart(**facts["time"]) if "time" in facts else None,
            readable=readable, readable_note=note,
            erased=_erased_part(labelled, erasure, classifier) if labelled and erasure else None,
            warnings=_warnings(options, classifier, labelled, model), command=_command(config, options),
        )  # fmt: skip
        if write:
            pages = beside(output)
            contents = {pages["html"].name: trim_page(result).encode(), pages["json"].name: canonical_part(result)}
            publish(path, output, contents)
    progress("write the copy", 1, 1)
    return result


def coordinates(seen: SeenPart, erased: Eraser | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(m, r) and (r,): ``features @ matrix + offset`` are the seen coordinates, of erased features where asked for."""
    if erased is None:
        return seen.basis, np.zeros(seen.basis.shape[1])
    inner = erased.left.T @ seen.basis
    return seen.basis - erased.right.T @ inner, (erased.right @ erased.mean) @ inner


def _inputs(config: AuditConfig, classifier: Classifier, labelled: Labelled | None) -> NDArray[Any]:
    """Prepared images to prove the copy on; noise without."""
    if labelled is None:
        return random_images(classifier.preprocessing, _NOISE, config.seed)
    loaded = [labelled.source.load(int(i)) for i in labelled.images.indices[:PROVED_ON]]
    inputs = [prepare(i.pixels, classifier.preprocessing) for i in loaded if isinstance(i, Image)]
    if not inputs:
        raise DatasetError(
            f"expected images of {labelled.source.name} to prove the copy on, none can be read any more",
            hint="Leave the images where they lie until the command ends.",
        )
    return np.stack(inputs)


def _ran_on(labelled: Labelled | None, inputs: NDArray[Any]) -> str:
    return f"{len(inputs)} images of {labelled.source.name}" if labelled else f"noise ({len(inputs)} random images)"


def _tolerance(options: TrimOptions, precision: Precision) -> float:
    """Of the largest change of a logit, as a share of their range."""
    return EXACT if options.keep == "projected" and precision == "fp32" else TOLERANCES[precision]


def _reasons(options: TrimOptions, facts: dict[str, Any], null_dim: int, erased: bool) -> list[str]:
    """What speaks against the copy."""
    reasons = []
    if null_dim == 0 and not erased:
        reasons.append("the head ignores nothing: its logits see every feature, so that there is nothing to trim")
    if erased and options.keep == "projected":
        return reasons
    limit = _tolerance(options, facts["precision"])
    for mode in ("unoptimised", "optimised"):
        found = facts[mode]
        if found is None:
            continue
        if options.keep == "seen" and mode == "unoptimised" and facts["precision"] == "fp32" and not found["identical"]:
            reasons.append(f"logits are not the same to the last bit ({mode})")
        if not found["difference"] <= limit:
            reasons.append(f"logits move by {found['difference']:.2g} of their range ({mode}), allowed are {limit:g}")
        if found["top1_agreement"] is not None and found["top1_agreement"] < 1:
            reasons.append(f"{1 - found['top1_agreement']:.2%} of the answers change ({mode})")
    return reasons


def _erasure(labelled: Labelled, name: str, seed: int) -> _Erasure:
    """The eraser of a group, fitted on some images; the others judge it."""
    group = labelled.group(name)
    counts = np.bincount(group.own[group.own >= 0], minlength=len(group.values))
    few = [k for k in range(len(counts)) if counts[k] < 10]
    if len(counts) < 2 or few:
        shown = ", ".join(f"{group.values[k]!r} {counts[k]}" for k in few[:8]) or "one value only"
        raise ConfigError(
            f"expected at least two values of {name!r} with ten images each to erase, got {shown}",
            hint="Give more images, or leave the cells of rare values empty.",
        )
    parts = split(labelled.units, group.own, 1 - _ERASED_FROM, seed)
    held = one_a_scene(parts.held, labelled.units, group.own, labelled.images.sha256)
    return _Erasure(group, eraser(labelled.features[parts.fit], group.own[parts.fit]), len(parts.fit), held)


def _erased_logits(labelled: Labelled, erasure: _Erasure, classifier: Classifier) -> NDArray[np.float64]:
    """(held, c) logits of the erased features of the images that judge."""
    weight, bias = erasure.eraser.head(classifier.head.weight, classifier.head.bias)
    result: NDArray[np.float64] = labelled.features[erasure.held].astype(np.float64) @ weight.T + bias
    return result


def _check_erased(
    new: Classifier,
    classifier: Classifier,
    labelled: Labelled,
    erasure: _Erasure,
    inputs: NDArray[Any],
    precision: Precision,
) -> None:
    """Raise ``ModelError`` where the file does not compute the logits of erased features."""
    count = len(inputs)
    weight, bias = erasure.eraser.head(classifier.head.weight, classifier.head.bias)
    wanted = labelled.features[:count].astype(np.float64) @ weight.T + bias
    apart = largest_share([new.forward(inputs)[1]], [wanted])
    if not apart <= TOLERANCES[precision]:
        raise ModelError(f"the copy does not compute the logits of erased features: they are {apart:.2g} away")


def _erased_part(labelled: Labelled, erasure: _Erasure, classifier: Classifier) -> ErasedPart:
    """What erasure does to logits and answers, on images that it was not fitted on."""
    held = erasure.held
    old, new = labelled.logits[held].astype(np.float64), _erased_logits(labelled, erasure, classifier)
    spread = float(np.sqrt(((old - old.mean(axis=0)) ** 2).mean())) or 1.0
    changed = predictions(old) != predictions(new)
    accuracy = None
    if labelled.classes is not None:
        truth = labelled.classes[held]
        accuracy = paired_part(paired(predictions(old) == truth, predictions(new) == truth))
    return ErasedPart(
        group=erasure.group.name,
        values=list(erasure.group.values),
        source=erasure.group.source,
        dimensions=erasure.eraser.rank,
        fitted_on=erasure.fitted_on,
        judged_on=len(held),
        logit_change=float(f"{np.sqrt(((new - old) ** 2).mean()) / spread:.6g}"),
        answers_changed=statistic(share_estimate(changed.astype(np.float64))),
        accuracy=accuracy,
    )


def _readable(
    labelled: Labelled | None,
    matrix: NDArray[np.float64],
    offset: NDArray[np.float64],
    seen: SeenPart,
    erasure: _Erasure | None,
) -> tuple[list[ReadablePart], str]:
    """What linear probes read of each stated group from the features and from the seen coordinates."""
    if labelled is None:
        return [], "not measured: no images were given (--images DIR)"
    if not labelled.columns:
        return [], "not measured: nothing is stated of the images (--labels FILE)"
    judged = np.arange(len(labelled.features)) if erasure is None else erasure.held
    units = labelled.units
    order = np.argsort(np.array(labelled.images.sha256), kind="stable")
    rank = np.empty(len(order), np.intp)
    rank[order] = np.arange(len(order))
    judged = judged[np.argsort(rank[judged], kind="stable")][:_MOST_READ]
    parts, few = [], []
    for group in labelled.columns.values():
        own = one_a_scene(judged[group.own[judged] >= 0], units, group.own, labelled.images.sha256)
        own = own[np.argsort(rank[own])]
        values = group.own[own]
        counts = np.bincount(values, minlength=1)
        if len(own) < _LEAST_READ or np.count_nonzero(counts) < 2:
            few.append(group.name)
            continue
        scenes = np.unique(labelled.scenes.of[own], return_inverse=True)[1]
        folds = folds_of(np.unique(values, return_inverse=True)[1], np.arange(len(own)), scenes)
        features = labelled.features[own]
        parts.append(
            ReadablePart(
                group=group.name,
                source=group.source,
                values=int(np.count_nonzero(counts)),
                chance=float(counts.max() / len(own)),
                features=statistic(probe_reading(features, values, folds)),
                seen=statistic(probe_reading(features @ seen.basis, values, folds)),
                erased=statistic(probe_reading(features @ matrix + offset, values, folds)) if erasure else None,
            )
        )
    note = "logistic probes, each image read by one that was not fitted on it"
    return parts, note + (f"; too few images with known values of {', '.join(few)}" if few else "")


def _warnings(options: TrimOptions, classifier: Classifier, labelled: Labelled | None, model: NewModel) -> list[str]:
    warnings = []
    if labelled is None:
        warnings.append(
            "the copy was proved on noise; with --images it is proved on images, and what can still be read from what "
            "the logits see is measured"
        )
    if options.erase is not None:
        rebuilt = "the file's own logits are untouched, those rebuilt from the added output change"
        where = "logits change" if options.keep == "projected" else rebuilt
        warnings.append(f"{options.erase} was erased: {where}; nothing is said of what nonlinear probes read")
    if classifier.format != "onnx":
        warnings.append(f"{classifier.name} was exported to ONNX; the new file is a copy of that export")
    if options.keep == "seen":
        warnings.append("what the logits see leaks too: this output is smaller, it is not private")
    return warnings


def _command(config: AuditConfig, options: TrimOptions) -> str:
    """The command line that does the same again."""
    added = ["--keep", options.keep, *(["--erase", options.erase] if options.erase else [])]
    added += ["--force"] if options.force else []
    return again(shlex.split(command_line(config)), "trim", [*added, "-o", options.output])
