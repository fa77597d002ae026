"""Steering as it stands in the result: how far the null space alone brings images toward texts."""

from __future__ import annotations

from pydantic import Field

from singaudit.report.result.base import Finite, Part, Statistic, Text


class SteeringEntry(Part):
    """Images moved inside the null space toward one text: logits stay, the reading turns."""

    name: Text = Field(description="The concept, or the class after each image's own.")
    group: Text | None
    reached: Statistic = Field(description="Share of the images that can reach the angle at all.")
    step_norms: Statistic | None = Field(
        description="How far they must go, in typical null norms, geometric mean; null where none reaches it."
    )
    attribute_score_deg: Statistic | None = Field(description="Mean AS toward the text at the angle.")
    absolute_deg: Statistic | None = Field(description="Mean |AS| there: the paper's Table 1.")
    one_norm_image_score_deg: Statistic = Field(description="Mean IS after a step of one typical null norm.")
    one_norm_attribute_score_deg: Statistic = Field(description="Mean AS after that step.")


class SteeringPart(Part):
    """Steering toward every concept, in steps to a stated image score and in steps of one typical null norm.

    In trials this did not tell models apart that hide an attribute from those that do not: reported, not judged by.
    """

    angle_deg: Finite = Field(description="Image score that steps are calibrated to.")
    typical_null_norm: Finite = Field(description="Median |P_n (f - mean)|.")
    other_class: SteeringEntry | None = Field(description="Toward the class after each image's own; null with one.")
    concepts: list[SteeringEntry]
