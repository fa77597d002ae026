"""Scores in the result, over all images, per class and per concept, and the controls beside them."""

from __future__ import annotations

from pydantic import Field

from singaudit.report.result.base import Finite, Part, Statistic, Text
from singaudit.report.result.words import Change, ClassFinding, WordPart


class Removal(Part):
    """Scores of one kind of equivalent."""

    image_score_deg: Statistic = Field(description="IS: angle between T f and T f~, mean.")
    attribute_score_deg: Statistic = Field(description="Mean |AS| toward the image's own class prompt.")
    signed_attribute_score_deg: Statistic = Field(description="Mean AS: positive when f~ is closer to the prompt.")
    ratio: Statistic | None = Field(description="Mean IS over mean |AS|; null when |AS| is 0.")


class ScoresPart(Removal):
    """Model-level scores: the paper's zero removal, and mean removal beside it."""

    mean_removal: Removal


class ControlScore(Part):
    """One score against its control's draws."""

    score: Text = Field(description="Which number of this file is compared.")
    observed: Finite
    control_mean: Finite
    control_low: Finite = Field(description="2.5th percentile of the draws.")
    control_high: Finite = Field(description="97.5th percentile of the draws.")
    percentile: Statistic = Field(
        description="Share of draws below the observed value, 0 to 100; interval (Wilson) and n over the draws."
    )
    effect_size: Statistic | None = Field(
        description="(observed - mean) / standard deviation of the draws; interval (bootstrap) and n over the draws."
    )


class ControlPart(Part):
    """What scores would be with something meaningless in the place of the null space or of the translator."""

    name: Text
    draws: int
    images: int
    scores: list[ControlScore]


class ClassPart(Part):
    """One class: images counted under it, and their scores under zero removal."""

    name: Text
    images: int
    image_score_deg: Statistic | None
    attribute_score_deg: Statistic | None = Field(description="Mean |AS| toward the class prompt.")
    signed_attribute_score_deg: Statistic | None
    quantiles_deg: list[Finite] = Field(description="AS at 0, 5, ..., 100 %; empty without images.")
    words: list[WordPart] = Field(default=[], description="Confirmed changes over all images of the class.")
    concepts: list[WordPart] = Field(
        default=[], description="Changes over the class's images that show the concept, for those that a gate names."
    )
    findings: list[ClassFinding] = Field(default=[], description="Per concept group, over this class's images.")


class ConceptPart(Part):
    """One concept's text: how removal moves images toward (positive) or away from it."""

    name: Text
    group: Text | None
    prompt: Text
    attribute_score_deg: Statistic = Field(description="Mean signed AS under mean removal.")
    zero_removal_deg: Statistic = Field(description="Mean signed AS under zero removal.")
    absolute_deg: Statistic = Field(description="Mean |AS| under mean removal.")
    change: Change = Field(default="cannot tell", description="Of the images that show it, less their group's change.")
    change_deg: Statistic | None = Field(default=None, description="Its size; interval corrected for all concepts.")


class ScatterPart(Part):
    """At most 2,000 images for the AS-IS chart, chosen by content hash; and the covariance of all."""

    image_score_deg: list[Finite]
    attribute_score_deg: list[Finite]
    class_index: list[int]
    mean: list[Finite] = Field(description="(AS, IS) over all images.")
    covariance: list[list[Finite]] = Field(description="2 x 2, of (AS, IS) over all images.")
