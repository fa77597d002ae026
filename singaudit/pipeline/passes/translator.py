"""A translator fitted on images, to be kept."""

from __future__ import annotations

from singaudit.classifier.class_names import class_names
from singaudit.classifier.openers.table import open_classifier
from singaudit.classifier.options import model_options
from singaudit.config import AuditConfig
from singaudit.geometry.null_space import null_space
from singaudit.language.translators.file import StoredTranslator
from singaudit.metrics.fidelity import fit_for_keeping
from singaudit.metrics.subject import unit_keys
from singaudit.pipeline.observe import Progress, observe_images
from singaudit.pipeline.passes.asked import what_is_asked


def fit_translator(config: AuditConfig, progress: Progress) -> StoredTranslator:
    """Fit a translator on ``config.images``. Raises ``SingauditError``."""
    progress("open the model", 0, 1)
    classifier = open_classifier(config.model, model_options(config), progress)
    progress("open the model", 1, 1)
    names = class_names(config, classifier)[0]
    config = config.model_copy(update={"labels": "none"})  # no class is looked at
    seen = observe_images(config, classifier, names, what_is_asked(config, names, (), None), progress)
    progress("fit the translator", 0, 1)
    stored = fit_for_keeping(
        seen.images.outputs["classifier"][0],
        seen.images.outputs["encoder"][0],
        seen.images.sha256,
        null_space(classifier.head),
        (classifier.name, classifier.sha256),
        (seen.encoder.name, seen.encoder.revision),
        config.seed,
        config.precision,
        unit_keys(seen.images.sha256, seen.units.of),
    )
    progress("fit the translator", 1, 1)
    return stored
