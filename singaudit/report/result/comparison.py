"""The model of compare.json."""

from __future__ import annotations

from pydantic import Field

from singaudit.report.result.base import Finite, Part, Statistic, Text


class ComparedModel(Part):
    """One model of a comparison."""

    name: Text
    sha256: Text
    source: Text = Field(description="The result or model as it was given.")
    null_dim: int
    feature_dim: int
    null_energy_share: Statistic | None
    scores: dict[str, Statistic | None] = Field(description="ratio, attribute_score_deg, image_score_deg.")
    effect_same_norm: Statistic | None = Field(
        description="|AS| against random subspaces, moves of the same length: removed energy and dimension cancel."
    )
    effect_same_dim: Statistic | None = Field(description="|AS| against random subspaces of the same dimension.")
    ranks: dict[str, list[int]] = Field(
        description="Per score and adjusted: [rank, best, worst] that the differences leave open."
    )
    findings: dict[str, Text]
    verdict: Text


class ComparedDifference(Part):
    """One model's score less another's."""

    score: Text
    first: int
    second: int
    difference: Finite
    low: Finite
    high: Finite
    paired: bool = Field(description="Image by image; else from the two intervals.")
    exceeds: bool = Field(description="A discovery at a false discovery rate of 5 % over the pairs of this score.")


class Comparison(Part):
    """compare.json."""

    images_digest: Text
    images: int
    encoder: Text
    models: list[ComparedModel]
    differences: list[ComparedDifference]
    warnings: list[Text]
