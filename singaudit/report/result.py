"""The result of an audit as people and machines read it: result.json's model and its JSON Schema.

No time, host or path of the machine is in it: two runs of one audit on one machine are byte-identical.
A statistic over images is ``{value, low, high, n}``; an exact quantity is a plain number. Angles are in degrees.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from singaudit.report.parts import Finite, Part, Statistic, Text
from singaudit.report.picture_parts import DecodingPart, GenerationPart, PicturePart, SearchPart
from singaudit.report.steering_parts import SteeringPart
from singaudit.report.word_parts import Change, ClassFinding, WordPart, WordsPart

SCHEMA_VERSION: Literal["1.0"] = "1.0"


class HeadPart(Part):
    """The final linear layer, and how it was found and proved."""

    kind: Text = Field(description="Pattern found in the graph, e.g. Gemm.")
    nodes: list[Text]
    features: Text = Field(description="Tensor that holds the penultimate features.")
    logits: Text = Field(description="Tensor that holds the logits.")
    stored_dtype: Text
    activation: Literal["softmax", "sigmoid", "none"]
    activation_stated: bool = Field(description="False when softmax was assumed.")
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


class SkippedImage(Part):
    """An image left out, and why."""

    name: Text
    reason: Text


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


class ImageNote(Part):
    """Images that were read in a way worth knowing."""

    note: Text
    images: int
    first: Text = Field(description="Name of the first of them.")


class ImagesPart(Part):
    """A set of images as it was used."""

    source: Text
    found: int
    used: int
    skipped: list[SkippedImage] = Field(description="At most the first 100.")
    skipped_count: int
    duplicates: int = Field(description="Images whose content occurred before, left out.")
    outside: int = Field(default=0, description="Images that the pack holds no embedding of, left out.")
    notes: list[ImageNote] = Field(default=[], description="What to know of how images were read.")
    digest: Text = Field(description="sha256 over the sorted sha256 of the images used.")


class DataPart(Part):
    """The images the classifier was shown."""

    audit: ImagesPart
    probe: ImagesPart | None
    labels: Literal["true", "predicted"] = Field(description="Which class an image counts under.")
    labels_source: Text
    accuracy: Statistic | None = Field(description="Top-1 against the labels, where there are any.")
    chance_accuracy: Finite | None


class PackPart(Part):
    """A pack of embeddings made earlier."""

    name: Text
    sha256: Text = Field(description="Of the whole file.")
    images: int


class EncoderPart(Part):
    """The vision-language model that gave features their meaning."""

    name: Text
    revision: Text = Field(description="Commit on the hub, or sha256 of the local weights.")
    family: Text
    embedding_dim: int
    pack: PackPart | None = Field(default=None, description="Where its embeddings came from, if from no model.")


class TranslatorPart(Part):
    """The linear map from features to image embeddings, judged on images it was not fitted on."""

    r2: Statistic
    r2_null_gain: Statistic = Field(description="R2 with all of f, less R2 with P_p f alone.")
    cosine: Statistic
    cosine_shuffled: Statistic = Field(description="The same for pairs that do not belong together.")
    agreement: Statistic | None = Field(description="Same class read zero-shot from T f and from the embedding.")
    images: int = Field(description="Images it was fitted on (of all folds, when cross-fitted).")
    fitted_on: Literal["other folds", "probe images", "a file's images"]
    folds: int
    penalty: list[Finite] = Field(description="Ridge penalty per fold, chosen inside the training folds.")


class LogitCheck(Part):
    """Largest change of any logit in the classifier's own arithmetic, in units of that logit's spread."""

    removal: Finite
    mean_removal: Finite
    swap: Finite | None = Field(default=None, description="Another image's null component.")
    conditional_mean: Finite | None = Field(
        default=None, description="The null component that the principal one lets expect."
    )
    steering: Finite | None = Field(default=None, description="One typical null norm toward another class's text.")
    steering_calibrated: Finite | None = Field(
        default=None, description="Toward the same, to an image score of 40 degrees, where it can be reached."
    )
    random_equal_norm: Finite = Field(description="A random perturbation of equal norm.")
    principal_equal_norm: Finite = Field(description="A perturbation inside the principal space of equal norm.")
    images: int


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


class NullFollow(Statistic):
    """Share of swapped features P_p f_i + P_n f_j that are read as the null donor j's value."""

    chance: Finite = Field(description="The same share for permuted donors.")
    normalised: Statistic = Field(description="(value - chance) / (1 - chance).")
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


class FindingPart(Part):
    """Mutually exclusive concept values, e.g. colours, or one concept: what of its reading the null space carries.

    Values count equally, however many images have them. Numbers are null where fewer than two values are shown.
    """

    group: Text
    kind: Literal["class", "group", "concept"] = Field(
        default="group", description="The classes; values of an attribute; or one concept, present or absent."
    )
    finding: Literal["cannot tell", "strong", "partial", "redundant", "not detected", "not applicable", "unstable"]
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
    readable: bool = Field(description="The vision-language model itself reads the group from the images.")
    readability: Readability
    stable: bool = Field(description="Translators refitted on either half of the images find the same.")
    control: ControlScore | None = Field(description="The contrast against random subspaces with moves as long.")
    controls: list[ControlPart] = Field(default=[], description="The group's numbers against every control.")


class GatePart(Part):
    """A rule, what was found, and whether it holds."""

    name: Text | None = Field(default=None, description="What the user calls it.")
    rule: Text
    found: Text = Field(description="The value judged, in words.")
    value: Finite | None
    low: Finite | None
    high: Finite | None
    n: int | None
    limit: Text
    status: Literal["pass", "fail", "inconclusive"]
    reason: Text


class Verdict(Part):
    """What the audit concludes."""

    status: Literal["pass", "fail", "inconclusive", "no gates set"]
    reasons: list[Text]
    sentence: Text


class Neighbour(Part):
    """A real image retrieved for a gallery entry."""

    name: Text
    class_name: Text = Field(description="The class it counts under.")
    angle_deg: Finite
    thumbnail: str = Field(description="PNG as a data URI.", max_length=400_000)


class GalleryItem(Part):
    """One image, and the real images nearest to T f and to its equivalent T f~ (mean removal)."""

    name: Text
    class_name: Text
    predicted: Text
    probability: Finite | None
    image_score_deg: Finite
    attribute_score_deg: Finite
    why: Text = Field(description="Why this image was chosen.")
    words_lost: list[Text]
    words_gained: list[Text]
    thumbnail: str = Field(max_length=400_000)
    near_original: list[Neighbour]
    near_equivalent: list[Neighbour]


class ScatterPart(Part):
    """At most 2,000 images for the AS-IS chart, chosen by content hash; and the covariance of all."""

    image_score_deg: list[Finite]
    attribute_score_deg: list[Finite]
    class_index: list[int]
    mean: list[Finite] = Field(description="(AS, IS) over all images.")
    covariance: list[list[Finite]] = Field(description="2 x 2, of (AS, IS) over all images.")


class Reproduce(Part):
    """What is needed to run the same audit again."""

    command: Annotated[str, Field(max_length=2**24)]
    seed: int
    precision: Text
    versions: dict[str, Text]


class AuditResult(Part):
    """Everything an audit found."""

    schema_version: Literal["1.0"] = SCHEMA_VERSION
    checksum: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")] = Field(
        default="",
        description="sha256 of the other keys as JSON: keys sorted, no spaces, ASCII; empty until stored.",
    )
    model: ModelPart
    geometry: GeometryPart
    certificate: CertificatePart | None = None
    data: DataPart | None = None
    encoder: EncoderPart | None = None
    translator: TranslatorPart | None = None
    logit_check: LogitCheck | None = None
    scores: ScoresPart | None = None
    controls: list[ControlPart] = Field(default=[])
    classes: list[ClassPart] = Field(default=[])
    concepts: list[ConceptPart] = Field(default=[])
    findings: list[FindingPart] = Field(default=[])
    words: WordsPart | None = None
    steering: SteeringPart | None = None
    gates: list[GatePart] = Field(default=[])
    verdict: Verdict
    scatter: ScatterPart | None = None
    gallery: list[GalleryItem] = Field(default=[])
    pictures: list[PicturePart] = Field(default=[])
    generation: GenerationPart | None = None
    decoding: DecodingPart | None = None
    pair_search: SearchPart | None = None
    warnings: list[Text] = Field(default=[])
    not_evaluated: list[Text] = Field(default=[], description="Section and reason, one sentence each.")
    reproduce: Reproduce


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) that every result.json of this version satisfies."""
    schema = AuditResult.model_json_schema(mode="serialization")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"https://singaudit.invalid/schema/result-{SCHEMA_VERSION}.json",
        **schema,
        "title": "singaudit result",
    }
