"""What a repair did: the models of the JSON that refit and trim write beside the new model file."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from singaudit.report.result.base import Finite, Part, Statistic, Text
from singaudit.report.result.data import UnitsPart

Count = Annotated[int, Field(ge=0)]


class PairedPart(Part):
    """A share of right answers before and after, on the same images; the change with a paired interval."""

    before: Statistic
    after: Statistic
    change: Statistic


class GroupChangePart(Part):
    """Held-out images of one class, or of one class and one value of a group."""

    class_name: Text
    group: Text | None
    value: Text | None
    accuracy: PairedPart


class BalancedPart(Part):
    """A group whose values counted alike in the fit."""

    name: Text
    values: list[Text]
    source: Text = Field(description="Where its values come from, in words.")


class ChangedPart(Part):
    """One tensor of the file that holds other numbers now."""

    tensor: Text
    shape: list[Count]
    instead_of: Text | None = Field(
        default=None, description="Tensor that something else reads as well, and that therefore stayed as it is."
    )


class FindingChangePart(Part):
    """What the audit finds of a concept group under the old head and under the new one."""

    group: Text
    before: Text
    after: Text
    carried_before: Statistic | None
    carried_after: Statistic | None


class PenaltyPart(Part):
    """One candidate of the cross-validation; without a penalty it is the old head."""

    penalty: Finite | None
    loss: Finite = Field(description="Cross-validated cross-entropy, every balanced cell counting alike.")


class GuardPart(Part):
    """Groups that counted more in the fit so that they lose no more than was allowed, by cross-validation."""

    allowed: Finite = Field(description="Share of right answers that a group may lose (--most-lost).")
    raised: Count = Field(description="Groups that counted more; 0: none lost too much.")
    lost: Finite = Field(description="Largest share that a group of ten images or more loses with these weights.")
    lost_alike: Finite = Field(description="The same with all groups counting alike.")
    right: Finite = Field(description="Share of right answers with these weights, every balanced cell alike.")
    right_alike: Finite = Field(description="The same with all groups counting alike.")


class FilePart(Part):
    """A model file before or after."""

    name: Text
    sha256: Text | None = Field(description="Null for a file that was not written.")
    bytes: Count | None = Field(description="External data included.")


class RefitCertificatePart(Part):
    """The new file as ONNX Runtime runs it, on images that the fit did not see."""

    images: Count
    logit_difference: Finite = Field(description="Largest |logit - (W f + b)|, as a share of the logits' range.")
    feature_difference: Finite = Field(description="Largest change of a feature, as a share of their range.")
    tolerance: Finite
    runtime: Text = Field(description="Mode of ONNX Runtime that was used.")
    mode_difference: Finite | None = Field(description="Between its two modes; null where one cannot run the file.")


class RefitResult(Part):
    """refit.json: a last layer fitted anew, judged on images that the fit did not see."""

    kind: Literal["refit"] = "refit"
    schema_version: Literal["1"] = "1"
    written: bool
    forced: bool = Field(description="Written though something spoke against it.")
    reasons: list[Text] = Field(description="What speaks against the new head; empty where nothing does.")
    model: FilePart
    output: FilePart
    head: Text
    classes: Count
    feature_dim: Count
    activation: Text
    biases: Count = Field(description="Logits whose bias the file can hold another number for.")
    source: Text
    labels: Text
    fitted_on: Count
    held_out: Count = Field(description="Images that judge: one of each scene that the fit did not see.")
    units: UnitsPart | None = Field(
        default=None, description="Which images show the same scene: they stand on one side, and count once."
    )
    left_out: Count = Field(description="Images without a known value of every balanced group.")
    balanced: list[BalancedPart]
    penalty: Finite | None = Field(description="Toward the old head; null where that head was as good as any.")
    candidates: list[PenaltyPart]
    guard: GuardPart | None = Field(description="Null where the old head was as good as any.")
    accuracy: PairedPart
    balanced_accuracy: PairedPart | None = Field(description="Mean over the cells of all balanced groups.")
    worst_before: Finite | None = Field(description="Lowest accuracy of a cell of at least ten held-out images.")
    worst_after: Finite | None
    class_changes: list[GroupChangePart]
    group_changes: list[GroupChangePart]
    calibration_before: Statistic = Field(description="Expected calibration error, 15 bins.")
    calibration_after: Statistic
    changed: list[ChangedPart]
    certificate: RefitCertificatePart
    findings: list[FindingChangePart]
    findings_note: Text = Field(description="What the findings rest on, or why there are none.")
    warnings: list[Text]
    command: Text


class ModePart(Part):
    """A trimmed model beside the original in one mode of ONNX Runtime."""

    mode: Text
    difference: Finite = Field(description="Largest change of a logit, as a share of the logits' range.")
    identical: bool = Field(description="Whether every logit is the same to the last bit.")
    top1_agreement: Finite | None = Field(description="Share of images with the same answer, ties aside.")


class ReadablePart(Part):
    """How well a linear probe reads a group on images that it was not fitted on."""

    group: Text
    source: Text
    values: Count
    chance: Finite = Field(description="Right by always naming the most frequent value.")
    features: Statistic
    seen: Statistic
    erased: Statistic | None = Field(default=None, description="From the coordinates after --erase.")


class TimePart(Part):
    """Processor's time of one batch with each file, measured in turn on this machine, on one thread."""

    images: Count
    seconds_before: Finite = Field(description="Median.")
    seconds_after: Finite
    ratio: Statistic = Field(description="Median of after over before, with its 95 % interval by order statistics.")

    @property
    def told(self) -> bool:
        """Whether a difference could be measured."""
        return not self.ratio.low <= 1 <= self.ratio.high


class ErasedPart(Part):
    """A group taken out of the features by least-squares concept erasure."""

    group: Text
    values: list[Text]
    source: Text
    dimensions: Count
    fitted_on: Count
    judged_on: Count
    logit_change: Finite = Field(description="Root mean square change of the logits, as a share of their spread.")
    answers_changed: Statistic = Field(description="Share of images with another answer.")
    accuracy: PairedPart | None


class TrimResult(Part):
    """trim.json: what the logits see of the features, as an output or in place of them."""

    kind: Literal["trim"] = "trim"
    schema_version: Literal["1"] = "1"
    keep: Literal["seen", "projected"]
    written: bool
    forced: bool
    reasons: list[Text]
    model: FilePart
    output: FilePart
    output_name: Text | None = Field(description="Of the added output; null where features were replaced.")
    head: Text
    classes: Count
    feature_dim: Count
    rank: Count
    null_dim: Count
    folded: bool = Field(description="A linear layer before the features became narrower.")
    tolerance: Finite
    precision: Text
    ran_on: Text
    modes: list[ModePart]
    time: TimePart | None = Field(description="Null where the width of the features did not change.")
    readable: list[ReadablePart]
    readable_note: Text
    erased: ErasedPart | None
    warnings: list[Text]
    command: Text
