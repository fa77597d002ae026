"""The instrument: whether what an audit measures with can be relied on, in four marks."""

from __future__ import annotations

from singaudit.metrics.domains import APART
from singaudit.metrics.findings import THRESHOLDS
from singaudit.report.brief.model import Mark
from singaudit.report.brief.words import counted, per_cent, small_share
from singaudit.report.gates.instrument import unreadable
from singaudit.report.result.audit import AuditResult

BUILTIN = "builtin:shapes"
_MANY_SKIPPED = 0.02
"""Share of unreadable images from which they may matter."""


def marks(result: AuditResult) -> tuple[Mark, ...]:
    """Language model, images, translator, shadow copy; none of them where no images were given."""
    if result.data is None:
        return ()
    return _language_model(result), _images(result), _translator(result), _shadow_copy(result)


def _language_model(result: AuditResult) -> Mark:
    name = "language model"
    if result.encoder is None:
        return Mark(name, "red", "was not asked", "what anything means")
    if (
        result.encoder.name == BUILTIN
        and result.data is not None
        and not result.data.audit.source.startswith("shapes:")
    ):
        return Mark(name, "red", "was made for generated shapes, not for such images", "everything read in words")
    read = class_reading(result)
    if read is None:
        return Mark(name, "amber", "not checked: no labels", "whether it reads these images")
    accuracy, low, chance = read
    text = f"names the right class in {small_share(accuracy)}, by chance {small_share(chance)}"
    if low <= chance:
        return Mark(name, "red", text, "everything read in words: it reads no better than chance")
    if (low - chance) / (1 - chance) <= THRESHOLDS.readable:
        return Mark(name, "amber", text, "what is said about classes")
    return Mark(name, "ok", text, "")


def class_reading(result: AuditResult) -> tuple[float, float, float] | None:
    """How well the language model itself reads the true classes: accuracy, its lower bound, chance; None without
    labels."""
    stated = result.encoder.class_reading if result.encoder is not None else None
    if stated is not None:
        return stated.value, stated.low, stated.chance
    found = next((f for f in result.findings if f.kind == "class" and f.readability.basis == "labels"), None)
    if found is None or found.readability.score is None:
        return None
    chance = 1 / max(2, len(found.values_judged) or len(found.values))
    score = found.readability.score
    return chance + score.value * (1 - chance), chance + score.low * (1 - chance), chance


def _images(result: AuditResult) -> Mark:
    assert result.data is not None
    name, data = "images", result.data
    used = data.audit.used
    units = data.units
    apart = units is not None and units.count != used
    text = f"{used:,}"
    if units is not None and apart:
        text += f", of {counted(units.count, 'scene')}: near-copies count once"
    if result.model.preprocessing.guessed:
        keys = ", ".join(result.model.preprocessing.guessed)
        return Mark(name, "red", f"{text}, preprocessing guessed ({keys})", "every number")
    if min(used, units.count if units is not None else used) < THRESHOLDS.min_images:
        return Mark(name, "red", f"{text}, at least {THRESHOLDS.min_images} are needed", "every finding")
    accuracy, chance = data.accuracy, data.chance_accuracy
    if accuracy is not None and chance is not None and accuracy.low <= chance:
        text += f", the model is right in {small_share(accuracy.value)}, by chance {small_share(chance)}"
        return Mark(name, "red", text, "every number: preprocessing or class order is probably wrong")
    if data.audit.skipped_count > _MANY_SKIPPED * max(1, data.audit.found):
        text += f", {counted(data.audit.skipped_count, 'other')} unreadable"
        return Mark(name, "amber", text, "whether they stand for all")
    return Mark(name, "ok", text, "")


def _translator(result: AuditResult) -> Mark:
    name, t = "translator", result.translator
    if t is None:
        return Mark(name, "red", "not fitted", "what anything means")
    text = f"{per_cent(t.r2.value)} of what the language model sees, from {t.images:,} images"
    if t.images < THRESHOLDS.min_translator_images:
        text += f"; at least {THRESHOLDS.min_translator_images:,} are needed, labelled or not"
        return Mark(name, "red", text, "every finding")
    if unreadable(t):
        return Mark(name, "red", text, "every finding: the features cannot be read")
    apart = result.data.probe_told_apart if result.data is not None else None
    if apart is not None and apart.low > APART:
        text += f", of another kind: told from the audited ones in {per_cent(apart.value)} of pairs"
        return Mark(name, "amber", text, "every finding: it was fitted on other images")
    if t.r2_null_gain.low <= 0:
        return Mark(name, "amber", text + ", not what the head ignores", "findings about faint attributes")
    return Mark(name, "ok", f"{text}: enough", "")


def _shadow_copy(result: AuditResult) -> Mark:
    name, c = "shadow copy", result.certificate
    if result.model.format == "arrays":
        return Mark(name, "amber", "none: arrays hold no model", "that a model computes these logits")
    if c is None:
        return Mark(name, "amber", "not certified", "generated pictures")
    if c.status == "passed":
        return Mark(name, "ok", "agrees with the model", "")
    if c.status == "failed":
        return Mark(name, "red", "differs from the model", "generated pictures")
    return Mark(name, "amber", "the model holds operators it does not know", "generated pictures: none are made")
