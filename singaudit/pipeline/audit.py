"""The whole audit on one page: the stages in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singaudit.classifier.class_names import class_names
from singaudit.classifier.interface import Classifier
from singaudit.classifier.openers.table import open_classifier
from singaudit.classifier.options import model_options
from singaudit.config import AuditConfig
from singaudit.errors import ConfigError, ExitCode
from singaudit.geometry.null_space import NullSpace, null_space
from singaudit.geometry.threads import threads_for, workers
from singaudit.language.class_prompts import worded_classes
from singaudit.language.concepts import (
    all_prompts,
    concept_group,
    embed_group,
    open_vocabulary,
)
from singaudit.language.packs.encoder import check_pack
from singaudit.language.packs.pack import open_pack
from singaudit.language.translators.file import StoredTranslator, read_translator
from singaudit.language.translators.fit import MIN_FIT_IMAGES, fit, fit_around
from singaudit.machine import beside, side_by_side
from singaudit.metrics.control_run import DRAWS, run_controls
from singaudit.metrics.findings import METHOD_VERSION
from singaudit.metrics.judge import judge_groups
from singaudit.metrics.logit_check import Toward, check_logits
from singaudit.metrics.measure import Measured, measure
from singaudit.metrics.steering import steer_all
from singaudit.metrics.subject import Subject, every_text, unit_keys
from singaudit.pipeline.arrays.report import audit_folder
from singaudit.pipeline.certificate import begun, certified, waited
from singaudit.pipeline.context import (
    AuditContext,
    accuracy_of,
    data_part,
    near_null,
    pack_part,
    per_image,
    reading_part,
    warnings_of,
)
from singaudit.pipeline.decoding import decoding_of
from singaudit.pipeline.observe import Progress, observe_images
from singaudit.pipeline.passes.asked import what_is_asked
from singaudit.pipeline.passes.foregone import foregone
from singaudit.pipeline.passes.texts import group_texts
from singaudit.pipeline.pictures import make_pictures
from singaudit.pipeline.worded import worded, words_of
from singaudit.report.build import scores
from singaudit.report.build.earlier import open_baseline, with_baseline
from singaudit.report.build.findings import control_parts, finding_parts
from singaudit.report.build.gallery import gallery_items
from singaudit.report.build.reproduce import reproduce
from singaudit.report.build.steering import steering_part
from singaudit.report.gates.names import Known
from singaudit.report.gates.policy import class_concepts, with_policy
from singaudit.report.gates.rules import Rule, parse_rules
from singaudit.report.gates.verdict import UNDECIDED, decided
from singaudit.report.result.audit import AuditResult, MethodPart
from singaudit.report.result.data import EncoderPart, LogitCheck

_EXIT_CODES = {
    "pass": ExitCode.PASSED,
    "no gates set": ExitCode.PASSED,
    "fail": ExitCode.GATE_FAILED,
    "inconclusive": ExitCode.INCONCLUSIVE,
}


@dataclass(frozen=True)
class Audit:
    """What ``audit`` returns."""

    result: AuditResult
    """Everything that was found."""
    per_image: dict[str, Sequence[Any]]
    """Columns of scores.csv; empty when only the geometry was audited."""
    files: dict[str, bytes] = field(default_factory=dict)
    """Generated pictures: PNG by path below the output folder."""
    rules: Sequence[Rule] = ()
    """The gates as they were judged, in the result's order."""

    def _repr_html_(self) -> str:
        """The brief, as a notebook shows it."""
        from singaudit.report.pages.notebook import notebook_html

        return notebook_html(self.result)

    @property
    def exit_code(self) -> int:
        """0 passed or no gates set, 1 a gate failed, 4 inconclusive; 130 where an interrupt cost pictures."""
        code = _EXIT_CODES[self.result.verdict.status]
        made = self.result.generation
        stopped = made is not None and made.status == "stopped"
        return ExitCode.INTERRUPTED if code == ExitCode.PASSED and stopped else code


def audit(
    config: AuditConfig,
    progress: Progress = lambda stage, done, total: None,
    warn: Callable[[str], None] = lambda text: None,
    opened: Callable[[], object] = lambda: None,
    concluding: Callable[[], object] = lambda: None,
) -> Audit:
    """Audit one classifier: geometry always, and with images its scores, controls, findings and verdict.

    ``warn`` is told, before the first image is decoded, what cannot be found whatever the images show; ``opened`` is
    called before that, once the model is open, and ``concluding`` when all findings of an audit with pictures are made.
    Raises ``SingauditError`` with one message for everything a user can mend; nothing is written.
    """
    rules = parse_rules(config.gates)  # a rule that cannot be read is refused before anything is opened
    earlier = open_baseline(config, rules)
    found = _found(config, rules, progress, warn, opened, concluding)
    result = with_baseline(found.result, found.per_image, earlier)
    return replace(found, result=decided(result, list(found.rules), config.gate_on, config.waivers))


def _found(
    config: AuditConfig,
    rules: list[Rule],
    progress: Progress,
    warn: Callable[[str], None],
    opened: Callable[[], object],
    concluding: Callable[[], object],
) -> Audit:
    """Everything that the audit finds; gates and verdict are left open."""
    if config.arrays is not None:
        opened()
        of_arrays = audit_folder(config, rules, progress, warn)
        return Audit(of_arrays.result, of_arrays.per_image, {}, of_arrays.rules)
    decoding = decoding_of(config, progress)
    progress("open the model", 0, 1)
    classifier = open_classifier(config.model, model_options(config), progress)
    names, names_source = class_names(config, classifier)
    space = null_space(classifier.head)
    stored = _stored_translator(config, classifier)
    opened()
    progress("open the model", 1, 1)
    pack = open_pack(config.pack) if config.pack is not None else None
    vocabulary = pack.vocabulary if pack and config.concepts is None else open_vocabulary(config.concepts, config.vlm)
    classes = worded_classes(names, config.class_prompts)
    groups = ((classes,) if len(names) > 1 else ()) + vocabulary.groups
    grouped = tuple((g.name, v) for g in groups for v in g.values)
    singles = tuple((None, v) for v in vocabulary.concepts)
    judged_alone = tuple(concept_group(v) for v in vocabulary.concepts)
    known = Known(names, grouped + singles, tuple(g.name for g in groups + judged_alone))
    config, rules = with_policy(config, rules, known)
    if config.geometry_only or (config.images is None and pack is None):
        return _geometry_only(config, classifier, names, names_source, space, rules, progress)
    if pack is not None:
        check_pack(pack, config.vlm, config.precision, all_prompts((classes, *groups), vocabulary.concepts))
        config = config.model_copy(update={"precision": pack.manifest.encoder.precision})
    groups += judged_alone
    asked = what_is_asked(config, names, groups, pack)
    for text in foregone(asked, groups, space, rules, given=stored is not None):
        warn(text)
    seen = observe_images(config, classifier, names, asked, progress, stored, pack)
    features, logits = seen.images.outputs["classifier"]
    if decoding is not None:
        decoding.check(seen)
    certificate = begun(config, classifier, (seen.source, seen.images.indices))
    facts = AuditContext(
        config, classifier, names, names_source, space, rules, known, seen, vocabulary, groups, stored, decoding,
        certificate,
    )  # fmt: skip
    fit_images = len(seen.probe.names) if seen.probe else len(seen.images.names)
    if fit_images < MIN_FIT_IMAGES:
        return _without_language(facts, progress, f"{fit_images} images are too few to fit a translator")
    with threads_for(space.feature_dim, facts.most_images):
        subject = _interpret(facts, features, logits, progress)
        measured = measure(subject)
        progress("measure", 1, 1)
        return _conclude(facts, subject, measured, logits, progress, concluding)


def _stored_translator(config: AuditConfig, classifier: Classifier) -> StoredTranslator | None:
    """The translator file, refused before any work when it belongs to another model."""
    if config.translator is None:
        return None
    if config.probe is not None:
        raise ConfigError(
            "expected --translator or --probe, got both", hint="A translator that is given is not fitted again."
        )
    stored = read_translator(Path(config.translator))
    stored.check_model(classifier.name, classifier.sha256, len(classifier.head.weight[0]))
    return stored


def _interpret(
    facts: AuditContext, features: NDArray[np.float32], logits: NDArray[np.float32], progress: Progress
) -> Subject:
    """Fit the translator and embed every text."""
    seen, encoder = facts.seen, facts.seen.encoder
    embeddings = seen.images.outputs["encoder"][0]
    probe = (seen.probe.outputs["classifier"][0], seen.probe.outputs["encoder"][0]) if seen.probe else None
    keys = unit_keys(seen.images.sha256, seen.units.of)
    progress("fit the translator", 0, 1)
    if facts.stored is not None:
        fitted = fit_around(facts.stored.translator, features, embeddings, keys, facts.space)
    else:
        training = None
        if probe and seen.probe:
            training = (*probe, unit_keys(seen.probe.sha256, seen.probe_units.of if seen.probe_units else None))
        fitted = fit(features, embeddings, keys, facts.space, training)
    progress("fit the translator", 1, 1)
    prompts = all_prompts(tuple(g for g in facts.groups if g.kind != "concept"), facts.vocabulary.concepts)
    encoder.learn(prompts, lambda done, total: progress("embed the texts", done, total))
    progress("measure", 0, 1)
    class_of = facts.class_of(logits)
    known = {name: values[seen.images.indices] for name, values in seen.own.items()}
    if seen.labels is not None:
        known["class"] = class_of
    texts = group_texts(encoder, facts.groups, known)
    classes = worded_classes(facts.names, facts.config.class_prompts)
    class_texts = texts[0].texts if len(facts.names) > 1 else embed_group(encoder, classes)
    said = every_text(texts)
    return Subject(
        features, embeddings, seen.images.sha256, class_of, class_texts,
        class_texts if said is None else said, texts, facts.space, fitted,
        facts.config.seed, probe, seen.units.of.astype(np.intp), facts.labels(logits),
    )  # fmt: skip


def _conclude(
    facts: AuditContext,
    subject: Subject,
    measured: Measured,
    logits: NDArray[np.float32],
    progress: Progress,
    concluding: Callable[[], object],
) -> Audit:
    """Controls, findings, gallery, gates and verdict: the result."""
    config, seen, groups = facts.config, facts.seen, facts.groups
    controls = run_controls(subject, measured, lambda done: progress("compare with controls", done, DRAWS))
    findings = finding_parts(judge_groups(subject, measured, controls), controls)
    concluding()
    translator = scores.translator_part(subject.fitted, measured, len(facts.names))
    asked = class_concepts(facts.rules, facts.known)
    calls: tuple[Callable[[], Any], ...] = (
        partial(words_of, subject, measured, translator, asked),
        partial(_logit_check, facts, logits, subject),
        partial(steer_all, subject),
        partial(near_null, facts.classifier.head.weight, subject.features),
        partial(scores.concept_parts, measured.concepts, groups, facts.vocabulary.concepts),
    )
    numbers = _meanwhile(calls, workers(facts.space.feature_dim, facts.most_images))
    progress("collect pictures", 0, 1)
    gallery = gallery_items(
        seen.source, seen.images, subject, measured, findings, facts.names, logits, facts.classifier.head.activation,
    )  # fmt: skip
    progress("collect pictures", 1, 1)
    certificate = waited(facts.certificate, progress)
    pictured = make_pictures(facts, subject, measured, findings, logits, certificate, progress)
    words, checked, steered, near, concepts = numbers()
    data = data_part(facts, *accuracy_of(facts, logits), measured.groups[0].numbers if len(facts.names) > 1 else None)
    result = AuditResult(
        method=MethodPart(version=METHOD_VERSION),
        model=scores.model_part(facts.classifier, facts.names, facts.names_source),
        geometry=scores.geometry_part(facts.space, facts.classifier.head, near, measured),
        certificate=certificate,
        data=data,
        encoder=EncoderPart(
            name=seen.encoder.name,
            revision=seen.encoder.revision,
            family=seen.encoder.family,
            embedding_dim=seen.encoder.embedding_dim,
            runtime=seen.encoder.runtime,
            class_reading=reading_part(facts, subject),
            pack=pack_part(seen.pack),
        ),
        translator=translator,
        logit_check=checked,
        scores=scores.scores_part(measured),
        controls=control_parts(controls),
        classes=scores.class_parts(measured, subject, facts.names),
        concepts=concepts,
        findings=findings,
        steering=steering_part(steered, facts.known.concepts),
        verdict=UNDECIDED,
        scatter=scores.scatter_part(measured, subject.sha256, subject.class_of),
        gallery=gallery,
        pictures=pictured.pictures,
        generation=pictured.generation,
        decoding=pictured.decoding,
        pair_search=pictured.search,
        warnings=warnings_of(facts, data),
        reproduce=reproduce(config),
    )
    result = worded(result, words, facts.known.concepts, asked)
    return Audit(result, per_image(facts, subject, measured, logits), pictured.files, facts.rules)


def _meanwhile(calls: Sequence[Callable[[], Any]], workers: int) -> Callable[[], list[Any]]:
    """Begin ``calls``, ``workers`` of them at a time; what is returned waits for all they return.

    With one worker, whose threads are the library's, they begin when they are waited for.
    """
    found = side_by_side(calls, workers)
    return beside(partial(list, found)) if workers > 1 else partial(list, found)


def _geometry_only(
    config: AuditConfig,
    classifier: Classifier,
    names: tuple[str, ...],
    names_source: str,
    space: NullSpace,
    rules: list[Rule],
    progress: Progress,
) -> Audit:
    result = AuditResult(
        method=MethodPart(version=METHOD_VERSION),
        model=scores.model_part(classifier, names, names_source),
        geometry=scores.geometry_part(space, classifier.head),
        certificate=certified(config, classifier, progress),
        verdict=UNDECIDED,
        not_evaluated=[
            "scores, controls, classes, concepts and pictures were not evaluated: "
            + ("--geometry-only" if config.geometry_only else "no images were given (add --images DIR)")
        ],
        reproduce=reproduce(config),
    )
    return Audit(result, {}, {}, rules)


def _without_language(facts: AuditContext, progress: Progress, reason: str) -> Audit:
    """Images were given, but too few to say what features mean."""
    features, logits = facts.seen.images.outputs["classifier"]
    data = data_part(facts, *accuracy_of(facts, logits))
    result = AuditResult(
        method=MethodPart(version=METHOD_VERSION),
        model=scores.model_part(facts.classifier, facts.names, facts.names_source),
        geometry=scores.geometry_part(
            facts.space, facts.classifier.head, near_null(facts.classifier.head.weight, features)
        ),
        certificate=waited(facts.certificate, progress),
        data=data,
        logit_check=_logit_check(facts, logits),
        verdict=UNDECIDED,
        warnings=warnings_of(facts, data),
        not_evaluated=[f"scores, controls, classes, concepts and pictures were not evaluated: {reason}"],
        reproduce=reproduce(facts.config),
    )
    return Audit(result, {}, {}, facts.rules)


def _logit_check(facts: AuditContext, logits: NDArray[np.float32], subject: Subject | None = None) -> LogitCheck:
    features = facts.seen.images.outputs["classifier"][0]
    toward = None
    if subject is not None:
        translator = subject.fitted.translators[0]
        others = (subject.class_of + 1) % len(subject.class_texts)
        toward = Toward(translator.weight, translator.intercept, subject.class_texts[others])
    change = check_logits(facts.classifier, facts.space, features, logits, facts.config.seed, toward)
    return LogitCheck(**asdict(change))
