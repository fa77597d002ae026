"""The model in the result: its head, what its logits see, and how its shadow copy compares."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from singaudit.report.result.base import Finite, Part, Statistic, Text


class HeadPart(Part):
    """The final linear layer, and how it was found and proved."""

    kind: Text = Field(description="Pattern found in the graph, e.g. Gemm.")
    nodes: list[Text]
    features: Text = Field(description="Tensor that holds the penultimate features.")
    logits: Text = Field(description="Tensor that holds the logits.")
    stored_dtype: Text
    activation: Literal["softmax", "sigmoid", "none"]
    activation_stated: bool = Field(description="False where nothing states what follows the logits.")
    max_error: Finite = Field(description="Largest |W f + b - logits| over the largest |logit|.")


class PreprocessingPart(Part):
    """How images became inputs of the classifier."""

    settings: Text = Field(description="In the syntax of --preprocess.")
    source: Text
    guessed: list[Text] = Field(description="Keys nobody stated; not empty means inconclusive.")


class RuntimePart(Part):
    """How ONNX Runtime ran the model."""

    mode: Literal["optimised", "unoptimised"] = Field(description="With all graph optimisations, its default, or none.")
    difference: Finite | None = Field(
        description="Between the modes on random images, share of the range; null where one cannot run the model."
    )
    reason: Text = Field(description="Why it is unoptimised, or what is doubtful; empty where both compute the same.")


class ModelPart(Part):
    """What was audited."""

    name: Text
    sha256: Text
    format: Text
    class_names: list[Text]
    class_names_source: Text
    head: HeadPart
    runtime: RuntimePart
    preprocessing: PreprocessingPart


class RankAt(Part):
    """The rank the head would have at another tolerance."""

    factor: Finite = Field(description="Times the tolerance used.")
    rank: int


class NearNull(Part):
    """Feature variation that hardly moves any logit, though it is not exactly null."""

    fraction: Finite = Field(description="Every logit moves by less than this share of its own spread.")
    dim: int
    variance_share: Finite = Field(description="Share of the features' whitened directions, 0 to 1.")


class GeometryPart(Part):
    """What the logits see of feature space, and what they cannot."""

    classes: int
    feature_dim: int
    rank: int
    null_dim: int = Field(description="feature_dim - rank: the logit null space.")
    softmax_null_dim: int | None = Field(description="Null space of the probabilities; null for sigmoid heads.")
    singular_values: list[Finite] = Field(description="Of the head's weight, descending.")
    tolerance: Finite = Field(description="Singular values at or below it count as zero.")
    tolerance_reason: Text
    gap: Finite | None = Field(description="Smallest kept over largest dropped singular value; null if none dropped.")
    rank_sensitivity: list[RankAt]
    null_energy_share: Statistic | None = Field(
        default=None, description="|P_n (f - mean)|^2 over |f - mean|^2: share of feature variation that is null."
    )
    near_null: NearNull | None = None


class CertificatePart(Part):
    """Whether the differentiable torch copy of the model computes what ONNX Runtime computes."""

    status: Literal["passed", "failed", "unsupported"]
    precision: Literal["fp32", "fp16", "int8"] | None
    tolerance: Finite | None = Field(description="Largest difference allowed, as a share of the outputs' range.")
    max_logit_difference: Finite | None = Field(
        description="Against the better of ONNX Runtime's two modes, as a share of the outputs' range."
    )
    difference_unoptimised: Finite | None = Field(description="Against ONNX Runtime without graph optimisation.")
    difference_optimised: Finite | None = Field(description="Against ONNX Runtime with all optimisations.")
    top1_agreement: Finite | None = Field(description="Share of images with the same top class, ties aside.")
    gradient_cosine: Finite | None = Field(description="Against differences of its forward pass in float64.")
    ran_on: Text
    unsupported: list[Text]
    reason: Text = Field(description="Why it did not pass; empty when it did.")
