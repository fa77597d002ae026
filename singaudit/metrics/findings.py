"""What may be said about a concept group: ordered rules over numbers that carry their intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from singaudit.metrics.group_numbers import BeyondClass
from singaudit.metrics.intervals import Estimate
from singaudit.metrics.nonlinear import Planted
from singaudit.metrics.readability import TextTest

Finding = Literal[
    "cannot tell", "strong", "partial", "redundant", "nonlinear", "not detected", "not applicable", "unstable"
]
METHOD_VERSION = 3
"""Of the rules and what they look at; gates of one version mean something else in another."""


@dataclass(frozen=True)
class Thresholds:
    """The one table of limits the rules use; ``singaudit calibrate`` counts what they find in planted models."""

    min_translator_images: int = 1000
    """Fewer units behind the translator: cannot tell."""
    min_images: int = 300
    """Fewer audited units: cannot tell. With 200, what the head sees a coarser version of was called redundant in 4
    of 180 tests of planted models, with 300 in 1 of 348."""
    min_effective_images: float = 50
    """Fewer equally weighted units (rare values weigh more): cannot tell."""
    min_r2: float = 0.02
    """Lower bound of the translator's held-out R2. Above 0, because the interval does not contain the translator's own
    variance: one fitted on shuffled pairs reached 0.0014 [0.0006, 0.0021]."""
    min_margin_share: float = 0.05
    """Lower bound of margin(T f) over the images' own margin: a share of a reading fainter than this means nothing."""
    readable: float = 0.5
    """Lower bound of the vision-language model's own reading of the group."""
    text_p: float = 0.02
    """Share of meaningless texts that separate the images as well as the group's: more, and values read zero-shot are
    no reading."""
    min_values_read: float = 1 / 3
    """Least share of the listed values that are read, where they are read zero-shot."""
    class_at_chance: float = 0.1
    """Upper bound of the language model's reading of true classes below which it reads nothing of these images."""
    class_knows: float = 0.2
    """Upper bound of the accuracy with which the class alone tells a value from which on the class is taken out."""
    min_beyond_units: int = 30
    """Fewer units whose value is not their class's usual one: cannot tell beyond the class."""
    beyond_follow: float = 0.4
    """Lower bound of null-follow within classes for strong."""
    beyond_absent: float = 0.2
    """Upper bound of the probe of P_n f within classes: nothing there beyond the class."""
    strong_share: float = 0.6
    """Lower bound of the carried share."""
    strong_follow: float = 2 / 3
    """Lower bound of the normalised null-follow over the normalised accuracy with which T f itself is read."""
    strong_gain: float = 0.4
    """Lower bound of the gain, the share of a value's decodability from f that P_p f lacks: what the logits see as
    well is not ignored, whichever part the translator happens to read it from."""
    partial_share: float = 0.15
    """Lower bound of the carried share."""
    partial_gain: float = 0.35
    """Lower bound of the gain: in worlds for choosing, redundant ones reached 0.31, half-seen ones 0.36."""
    least_probe: float = 0.1
    """Lower bound of the normalised probe accuracy from P_n f for strong and partial: values read zero-shot with errors
    hold a little of every other attribute that the reading errs by."""
    follow_q: float = 0.025
    """Null-follow above chance: one-sided p-value, after Benjamini-Hochberg over the audit's groups."""
    redundant_probe: float = 0.5
    """Lower bound of the normalised probe accuracy from P_n f."""
    redundant_principal: float = 0.15
    """Lower bound of the normalised probe accuracy from P_p f."""
    redundant_gain: float = 0.15
    """Upper bound of the gain below which a probe of P_n f that merely finds the group (``absent_probe``) will do:
    what the logits see decodes it as well as the whole. Coarser versions of a group have a gain of 0.3 and more."""
    nonlinear_probe: float = 0.1
    """Lower bound of the normalised accuracy of a quadratic probe for nonlinear."""
    nonlinear_share: float = 0.5
    """Share of that accuracy which no probe of P_p f may reach."""
    nonlinear_absent: float = 0.2
    """Upper bound of the quadratic probe of P_n f for not detected."""
    absent_share: float = 0.1
    """Upper bound of the carried share."""
    absent_follow: float = 0.1
    """Upper bound of the normalised null-follow."""
    absent_probe: float = 0.15
    """Upper bound of the normalised probe accuracy from P_n f."""


THRESHOLDS = Thresholds()


@dataclass(frozen=True)
class Evidence:
    """The numbers the rules look at, for one concept group."""

    null_dim: int
    """Dimension of the logit null space."""
    images: int
    """Audited images."""
    translator_images: int
    """Images behind the translator."""
    effective_images: float
    """Equally weighted images that would say as much; 0 when fewer than two values are shown."""
    r2: Estimate
    """The translator's held-out R2."""
    readable: Estimate
    """The vision-language model's own reading of the group."""
    margin: Estimate
    """margin(T f), degrees."""
    margin_control: float
    """97.5th percentile of that margin by shuffled translators, degrees; NaN where the controls' images do not show two
    of the values."""
    margin_share: Estimate
    """margin(T f) over that of the images' own embeddings, resampled jointly."""
    carried_share: Estimate
    """Contrast over margin."""
    follow_normalised: Estimate
    """(null-follow - chance) / (1 - chance)."""
    follow_share: Estimate
    """The same over the normalised accuracy with which T f reads the images' own values."""
    follow_q: float
    """One-sided p-value of null-follow above chance, adjusted for the number of groups."""
    probe_principal: Estimate
    """Normalised accuracy of the probe of P_p f."""
    probe_null: Estimate
    """Normalised accuracy of the probe of P_n f."""
    probe_gain: Estimate
    """Share of the normalised accuracy of the probe of f that the one of P_p f lacks."""
    labelled: bool = True
    """Own values come from labels."""
    values_judged: int = 2
    """How many values are judged."""
    values_listed: int = 2
    """Of how many that were listed."""
    class_readable: Estimate | None = None
    """The vision-language model's reading of true classes; None where they are not known."""
    texts: TextTest | None = None
    """Against texts that mean nothing, where values are read zero-shot."""
    nonlinear: tuple[Estimate, Estimate, Estimate] | None = None
    """Normalised accuracy of quadratic probes of f, of P_p f and of P_n f; None where none was tried."""
    planted: Planted | None = None
    """Whether codes planted in this null part are found; None where nobody looked."""
    beyond: BeyondClass | None = None
    """With the class taken out; None for the classes' own group."""


def decide(e: Evidence, limits: Thresholds = THRESHOLDS) -> tuple[Finding, str]:
    """The first rule that applies, and the numbers that decided it. Stability is judged by ``unstable``.

    A harmless finding of a group that goes with the class is looked at again with the class taken out.
    """
    if e.null_dim == 0:
        return "not applicable", "the head has no logit null space"
    if unsure := _cannot_tell(e, limits):
        return "cannot tell", unsure
    found, why = _nonlinearly(e, *_over_all(e, limits), limits)
    b = e.beyond
    if found == "strong" or b is None or not b.class_knows.high >= limits.class_knows:
        return found, why
    return _beyond_class(b, found, why, limits)


def _over_all(e: Evidence, limits: Thresholds) -> tuple[Finding, str]:
    """What follows from the numbers over all images."""
    share, probe, seen = e.carried_share, e.probe_null, e.probe_principal
    if probe.high < limits.absent_probe and abs(e.margin_share.low) <= limits.absent_share >= abs(e.margin_share.high):
        # Neither a probe of the null part nor the translator shows the group, though the encoder reads it from the
        # images. The carried share would be a ratio of two numbers near 0 and is not asked.
        return (
            "not detected",
            f"the features show {_span(e.margin_share)} of the images' own margin, probe of the null part "
            f"{_span(probe)}",
        )
    if math.isnan(e.margin_control):
        return "cannot tell", (
            f"the images of the controls show fewer than two of the values: nothing to compare the margin "
            f"{_span(e.margin)} degrees with"
        )
    if not reads(e, limits):
        return "cannot tell", (
            f"the translated features hardly show this group: margin {_span(e.margin)} degrees, "
            f"{_span(e.margin_share)} of the images' own; shuffled translators reach {e.margin_control:.2f} degrees"
        )
    numbers = (
        f"carried share {_span(share)}, null-follow {_span(e.follow_normalised)} of what is possible (q "
        f"{e.follow_q:.2g}) and {_span(e.follow_share)} of what is read at all, probe of the null part {_span(probe)}, "
        f"of the part the logits see {_span(seen)}, which lacks {_span(e.probe_gain)} of what the whole decodes"
    )
    follows = e.follow_q <= limits.follow_q and probe.low >= limits.least_probe
    if (
        share.low >= limits.strong_share
        and e.follow_share.low >= limits.strong_follow
        and e.probe_gain.low >= limits.strong_gain
        and follows
    ):
        return "strong", numbers
    if share.low > limits.partial_share and e.probe_gain.low >= limits.partial_gain and follows:
        return "partial", numbers
    seen_whole = probe.low >= limits.absent_probe and e.probe_gain.high <= limits.redundant_gain
    if seen.low >= limits.redundant_principal and (probe.low >= limits.redundant_probe or seen_whole):
        return "redundant", numbers
    if (
        share.high <= limits.absent_share
        and e.follow_normalised.high <= limits.absent_follow
        and probe.high < limits.absent_probe
    ):
        return "not detected", numbers
    return "cannot tell", f"no rule is met: {numbers}"


def _nonlinearly(e: Evidence, found: Finding, why: str, limits: Thresholds) -> tuple[Finding, str]:
    """The finding that holds when features are read nonlinearly as well: what a linear reading missed is no absence."""
    if found in ("strong", "partial", "redundant"):
        return found, why
    if found == "not detected" and e.planted is not None and e.planted.linear < limits.absent_probe:
        return "cannot tell", (
            f"nothing was found, but of a code planted in the null part of these images no linear probe finds more "
            f"than {max(e.planted.linear, 0.0):.2f} for certain: {why}"
        )
    if e.nonlinear is None:
        return found, why
    whole, seen, null = e.nonlinear
    numbers = (
        f"quadratic probe of f {_span(whole)}, of the part the logits see {_span(seen)}, of the null part {_span(null)}"
    )
    least = limits.nonlinear_share * max(null.low, whole.low)
    if max(null.low, whole.low) >= limits.nonlinear_probe:
        if max(seen.high, e.probe_principal.high) < least:
            return "nonlinear", f"{numbers}; linearly: {why}"
        if found == "not detected" and null.low >= limits.nonlinear_probe > e.probe_principal.low:
            return "cannot tell", f"both parts may show it nonlinearly: {numbers}; linearly: {why}"
    if found == "not detected" and e.planted is not None and e.planted.nonlinear < limits.absent_probe:
        return "cannot tell", (
            f"nothing was found linearly, but of a nonlinear code planted in the null part of these images no probe "
            f"finds more than {max(e.planted.nonlinear, 0.0):.2f} for certain: {why}"
        )
    if (
        found == "not detected"
        and not null.high < limits.nonlinear_absent
        and not e.probe_principal.low >= limits.absent_probe
    ):
        return "cannot tell", f"a nonlinear reading cannot be ruled out: {numbers}; linearly: {why}"
    return found, f"{why}; {numbers}"


def _beyond_class(b: BeyondClass, found: Finding, why: str, limits: Thresholds) -> tuple[Finding, str]:
    """The finding that holds when the class is taken out: never softer than ``found``."""
    numbers = (
        f"the class alone tells the value ({_span(b.class_knows)} of what is possible); beyond it, in {b.units} units "
        f"with another value than their class's usual one: carried share {_span(b.carried_share)}, null-follow "
        f"{_span(b.follow_normalised)}, probe of the null part {_span(b.probe_null)}, of the part the logits see "
        f"{_span(b.probe_principal)}, which lacks {_span(b.probe_gain)} of what the whole decodes"
    )
    told = b.units >= limits.min_beyond_units
    held = told and b.margin.low > 0 and b.probe_null.low >= limits.least_probe
    if (
        held
        and b.carried_share.low >= limits.strong_share
        and b.probe_gain.low >= limits.strong_gain
        and b.follow_normalised.low >= limits.beyond_follow
    ):
        return "strong", numbers
    if found == "partial":
        return found, why
    if (
        held
        and b.carried_share.low > limits.partial_share
        and b.probe_gain.low >= limits.partial_gain
        and b.follow_normalised.low > 0
    ):
        return "partial", numbers
    if found == "cannot tell":
        return found, f"{why}; {numbers}"
    if told and (b.probe_gain.high < limits.partial_gain or b.probe_null.high < limits.beyond_absent):
        return found, f"{why}; {numbers}"
    return "cannot tell", f"cannot tell beyond the class: {numbers}; over all images: {why}"


def reads(e: Evidence, limits: Thresholds = THRESHOLDS) -> bool:
    """Whether the translated features show the group at all: without that there is no reading to share out."""
    return e.margin.low > max(e.margin_control, 0) and e.margin_share.low >= limits.min_margin_share


def _cannot_tell(e: Evidence, limits: Thresholds) -> str:
    """Why nothing can be said, or an empty text."""
    if e.translator_images < limits.min_translator_images:
        return (
            f"the translator rests on {e.translator_images} images of different scenes, fewer than "
            f"{limits.min_translator_images}"
        )
    if e.images < limits.min_images:
        return f"{e.images} images of different scenes were audited, fewer than {limits.min_images}"
    if not e.effective_images >= limits.min_effective_images:
        return (
            f"too few images show the values: they count as {e.effective_images:.0f} images with equally frequent "
            f"values, fewer than {limits.min_effective_images:.0f}"
        )
    if not e.r2.low > limits.min_r2:
        return f"the translator explains too little: R2 {_span(e.r2)}, its lower end not above {limits.min_r2}"
    if not e.readable.low > limits.readable:
        return f"the vision-language model does not read this group reliably: {_span(e.readable)}"
    return "" if e.labelled else _unread(e, limits)


def readable(e: Evidence, limits: Thresholds = THRESHOLDS) -> bool:
    """Whether the vision-language model reads the group from the images themselves, without which nothing is said."""
    return e.readable.low > limits.readable and (e.labelled or not _unread(e, limits))


def _unread(e: Evidence, limits: Thresholds) -> str:
    """Why values read zero-shot are no reading, or an empty text."""
    if e.class_readable is not None and e.class_readable.high < limits.class_at_chance:
        return (
            f"the vision-language model does not read these images: of their true classes it reads "
            f"{_span(e.class_readable)}, 0 being chance, and no label states the values"
        )
    if e.texts is not None and not e.texts.p <= limits.text_p:
        return (
            f"the vision-language model does not read this group: texts that mean nothing separate the images as well "
            f"({beaten(e.texts)}), and no label states the values"
        )
    if e.values_judged < limits.min_values_read * e.values_listed:
        return f"only {e.values_judged} of {e.values_listed} values are read in enough images, and no label states them"
    return ""


def beaten(test: TextTest) -> str:
    """How many texts that mean nothing separate the images as well."""
    words = "" if test.words_beaten is None else f", {test.words_beaten:.0%} of {test.word_draws} sets of words"
    return f"{test.beaten:.0%} of {test.draws} random directions do{words}"


def unstable(full: Finding, halves: tuple[Finding, Finding]) -> bool:
    """True when translators refitted on either half of the data do not find what the whole finds.

    Only a finding that claims something can be unstable; halves that merely cannot tell do not contradict it, and
    strong and partial are degrees of one claim.
    """

    def claim(finding: Finding) -> str:
        return "leak" if finding in ("strong", "partial") else finding

    if full in ("cannot tell", "not applicable"):
        return False
    return any(claim(half) not in (claim(full), "cannot tell") for half in halves)


def sentence(group: str, finding: Finding, share: Estimate | None) -> str:
    """The finding in one plain sentence."""
    group = group.replace("_", " ")
    part = f" ({_share(share.value)} of its reading, {_share(share.low)} to {_share(share.high)})" if share else ""
    return {
        "strong": f"What carries {group} in the features is ignored by the head{part}.",
        "partial": f"At least part of what carries {group} in the features is ignored by the head{part}.",
        "redundant": f"{group.capitalize()} can be decoded from what the head ignores, and the logits show it too.",
        "not detected": f"No {group} was found in what the head ignores.",
        "nonlinear": f"What the head ignores holds {group} in a form that only a nonlinear reading finds.",
        "not applicable": f"The head ignores no direction of feature space, so {group} cannot be in one.",
        "unstable": f"What was found about {group} changes when the translator is refitted: do not rely on it.",
        "cannot tell": f"Whether the head ignores {group} cannot be told from these images.",
    }[finding]


def _share(value: float) -> str:
    """A share in words where estimates of it leave its range."""
    return "none" if value < 0.005 else "all" if value > 0.995 else f"{value:.0%}"


def _span(e: Estimate) -> str:
    return f"{e.value:.2f} [{e.low:.2f}, {e.high:.2f}]"
