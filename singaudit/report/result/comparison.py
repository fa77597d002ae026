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


class ComparedFinding(Part):
    """What each model's audit found about one concept group."""

    group: Text
    findings: list[Text | None] = Field(description="Per model; null where its audit has no such group.")


class ComparedGate(Part):
    """What each model's audit made of one gate."""

    name: Text | None
    rule: Text
    statuses: list[Text | None] = Field(description="Per model; null where its audit has no such gate.")
    found: list[Text | None] = Field(description="The value judged, in words.")


class Comparison(Part):
    """compare.json."""

    images_digest: Text
    images: int
    encoder: Text
    models: list[ComparedModel]
    order: list[int] = Field(
        description="Positions of models, those first that nothing speaks against: by verdict, failed gates, and how "
        "many groups are strong and partial; the adjusted rank decides only between equals."
    )
    findings_apart: list[ComparedFinding] = Field(description="Groups of which the audits found different things.")
    findings_alike: list[Text] = Field(description="Groups of which all audits found the same.")
    gates_apart: list[ComparedGate] = Field(description="Gates that the models stand differently to.")
    gates_alike: int = Field(description="Gates that all models stand alike to.")
    ranking_note: Text = Field(description="What a rank by the paper's scores means.")
    differences: list[ComparedDifference]
    warnings: list[Text]
