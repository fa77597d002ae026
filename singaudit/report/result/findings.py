"""Findings, gates and the verdict, each with the numbers that led to it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from singaudit.metrics.findings import Finding
from singaudit.report.result.base import Finite, Part, Statistic, Text
from singaudit.report.result.scores import ControlPart, ControlScore


class NullFollow(Statistic):
    """Share of swapped features P_p f_i + P_n f_j that are read as donor j's value, which is another than i's."""

    chance: Finite = Field(description="The same share with a donor of the image's own value.")
    normalised: Statistic = Field(description="(value - chance) / (1 - chance).")
    of_read: Statistic | None = Field(
        default=None, description="The same as a share of what is read of the group at all; null in older results."
    )
    q: Finite = Field(
        default=1.0, description="One-sided p-value of value above chance, Benjamini-Hochberg over all groups."
    )


class ProbePart(Part):
    """Cross-validated linear probes for the group's value: normalised accuracy, 0 chance, 1 perfect."""

    features: Statistic = Field(description="From f.")
    principal: Statistic = Field(description="From P_p f.")
    null: Statistic = Field(description="From P_n f.")
    gain: Statistic | None = Field(default=None, description="Share of the accuracy from f that P_p f lacks.")


class Readability(Part):
    """How well the vision-language model itself reads the group from the images."""

    score: Statistic | None = Field(
        description="With labels: accuracy of its own reading; without: agreement of two prompt sets; 0 is chance."
    )
    basis: Literal["labels", "two prompt sets"]


class BeyondClass(Part):
    """The numbers with the class taken out: values compared within classes. Null where no class shows two values."""

    class_knows: Statistic | None = Field(
        description="Normalised accuracy with which the class alone tells the value: above 0.2 the class is taken out."
    )
    units: int = Field(description="Scenes whose value is not their class's usual one.")
    carried_share: Statistic | None
    null_follow: Statistic | None = Field(description="(value - chance) / (1 - chance), donors of the same class.")
    probe: ProbePart | None


class TextTest(Part):
    """Values read zero-shot against texts that mean nothing: random ones with the same angles to each other."""

    spread: Finite = Field(
        description="The images' variance along the texts' differences, in that of random directions."
    )
    beaten: Finite = Field(description="Share of random texts along which images vary as much.")
    draws: int
    words_beaten: Finite | None = Field(
        default=None, description="The same share of sets of words that no image shows; null where none were embedded."
    )
    word_draws: int = Field(default=0, description="Such sets.")


class FindingPart(Part):
    """Mutually exclusive concept values, e.g. colours, or one concept: what of its reading the null space carries.

    Values count equally, however many images have them. Numbers are null where fewer than two values are shown.
    """

    group: Text
    kind: Literal["class", "group", "concept"] = Field(
        default="group", description="The classes; values of an attribute; or one concept, present or absent."
    )
    finding: Finding
    rule: Text = Field(description="The rule that decided, with the numbers that led to it.")
    sentence: Text = Field(description="The finding in one plain sentence.")
    values: list[Text]
    values_judged: list[Text] = Field(default=[], description="Those that enough images have.")
    own_value: Literal["labels", "zero-shot"] = Field(description="Where an image's own value was read from.")
    margin_deg: Statistic | None = Field(description="How clearly T f reads the own value: mean over others less own.")
    margin_shuffled_deg: Statistic | None = Field(
        description="The same by shuffled translators: mean and 95 % range; n counts draws."
    )
    margin_encoder_deg: Statistic | None = Field(
        default=None, description="The same for the images' own embeddings: what a perfect translator would show."
    )
    contrast_deg: Statistic | None = Field(description="margin(T f) - margin(T f~) under mean removal.")
    carried_share: Statistic | None = Field(
        description="Contrast over margin: share of the reading that vanishes; null where nothing is to share out."
    )
    null_follow: NullFollow | None
    probe: ProbePart | None
    beyond_class: BeyondClass | None = Field(
        default=None, description="With the class taken out; null for the classes."
    )
    quadratic_probe: ProbePart | None = Field(
        default=None, description="The same by a probe of second moments, that finds what no linear one can."
    )
    meaningless_texts: TextTest | None = Field(default=None, description="Null where labels state the values.")
    readable: bool = Field(description="The vision-language model itself reads the group from the images.")
    readability: Readability
    stable: bool = Field(description="Translators refitted on either half of the images find the same.")
    control: ControlScore | None = Field(description="The contrast against random subspaces with moves as long.")
    controls: list[ControlPart] = Field(default=[], description="The group's numbers against every control.")


class GatePart(Part):
    """A rule, what was found, and whether it holds."""

    name: Annotated[str, Field(max_length=20_000)] | None = Field(default=None, description="What the user calls it.")
    rule: Text
    found: Text = Field(description="The value judged, in words.")
    value: Finite | None
    low: Finite | None
    high: Finite | None
    n: int | None
    limit: Text
    status: Literal["pass", "fail", "inconclusive", "waived"] = Field(
        description="waived: it failed, and a waiver answers for it until a date."
    )
    reason: Text


class Verdict(Part):
    """What the audit concludes."""

    status: Literal["pass", "fail", "inconclusive", "no gates set"]
    reasons: list[Text]
    sentence: Text
