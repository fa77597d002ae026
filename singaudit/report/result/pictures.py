"""Pictures in the result: retrieved neighbours, natural pairs, generated equivalents, and what they show together."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from singaudit.report.result.base import Finite, Part, Statistic, Text

DataUri = Annotated[str, Field(pattern=r"^(data:image/(png|jpeg);base64,[A-Za-z0-9+/=]*)?$", max_length=400_000)]


class ControlPicture(Part):
    """The same numbers for a picture as far from the original in pixels, of which nothing else was asked.

    Of decoded pictures: for the original's vector, decoded with other noise.
    """

    logit_difference: Finite
    probability_difference: Finite | None
    top1_kept: bool
    null_move: Finite
    image_score_deg: Finite
    attribute_score_deg: Finite | None
    thumbnail: DataUri


class PicturePart(Part):
    """Two pictures with the same logits, or an attempt at them; all numbers are of the saved, read-back files."""

    kind: Literal["neighbour", "natural pair", "refined", "decoded"]
    group: Text = Field(description="Concept group it is about; empty for none or a free text.")
    value: Text = Field(description="Value the image shows to the vision-language model; empty for none.")
    target: Text = Field(description="Value or text the picture was led toward; empty for none.")
    image: Text = Field(description="Name of the image.")
    class_name: Text = Field(description="The class the image counts under.")
    partner: Text = Field(description="The other real image: retrieved, or made from; empty for decoded pictures.")
    noise: int | None = Field(default=None, description="Seed of the noise, of decoded pictures.")
    file: Text | None = Field(
        description="Written picture, below the output folder; null for real images and failures."
    )
    original_file: Text | None = Field(description="The image as it was compared, below the output folder.")
    logit_difference: Finite | None = Field(description="Largest of any logit, in its standard deviations.")
    probability_difference: Finite | None = Field(description="Largest of any class, 0 to 1.")
    top1_kept: bool | None
    null_move: Finite | None = Field(description="|P_n (f - f')| in typical null norms.")
    image_score_deg: Finite | None = Field(description="IS between the pictures, by the image tower.")
    attribute_score_deg: Finite | None = Field(description="AS toward the target, by the image tower.")
    success: bool | None = Field(description="Null where nothing was tried: retrieved pictures.")
    reason: Text = Field(description="Why it is no success; empty otherwise.")
    predicted: Text
    probability: Finite | None = Field(description="Of the image's predicted class.")
    probability_after: Finite | None = Field(description="Of the same class for the other picture.")
    reach: Finite | None = Field(description="Part of the wished null move that observed bounds allow, 0 to 1.")
    pixel_distance: Finite | None = Field(description="Root mean square to the image, in 8-bit levels.")
    residual: Finite | None = Field(description="The same to the partner it was made from: what was added.")
    independent_witness: bool = Field(
        description="False where the vision-language model helped to choose or make the picture it reads."
    )
    control: ControlPicture | None
    thumbnail: DataUri
    other_thumbnail: DataUri


class GenerationPart(Part):
    """What generating equivalents came to, failures counted."""

    status: Literal["made", "stopped", "none"] = Field(description="stopped: interrupted, the finished ones are shown.")
    reason: Text = Field(description="Why there are none, or not all; empty otherwise.")
    group: Text
    toward: Text = Field(description="Group or text; empty where nothing was aimed at.")
    asked: Annotated[int, Field(ge=0)]
    shown_already: bool = Field(default=False, description="One image alone: it shows the text, nothing was made.")
    logit_bound: Finite = Field(description="Largest logit difference that counts as kept, standard deviations.")
    success: Statistic | None = Field(description="Share of the attempts that succeeded; interval by Wilson.")
    null_move: Statistic | None = Field(description="Median over the pictures made, typical null norms.")
    control_null_move: Statistic | None = Field(description="The same for the controls of equal pixel distance.")
    logit_difference: Statistic | None = Field(description="Median over the pictures made, standard deviations.")
    control_logit_difference: Statistic | None = Field(description="The same for the controls.")
    reach: Statistic | None = Field(description="Mean part of the wished null move that observed bounds allow.")
    sentence: Text = Field(description="What follows, in plain words.")


class DecodingPart(Part):
    """What drawing translated features came to."""

    decoder: Text
    revision: Text | None = Field(description="Commit of the hub; null for a folder.")
    sha256: Text | None = Field(default=None, description="Over every file of the decoder that was read.")
    images: Annotated[int, Field(ge=0)]
    pictures: Annotated[int, Field(ge=0)] = Field(description="Pairs: images times noises.")
    image_score_deg: Statistic | None = Field(description="IS within pairs, median, by the image tower.")
    noise_score_deg: Statistic | None = Field(description="IS of one vector with two noises, median: the control.")
    top1_kept: Statistic | None = Field(description="Share of pairs with one predicted class; interval by Wilson.")
    sentence: Text = Field(description="What follows, in plain words.")


class SearchPart(Part):
    """The search for natural pairs."""

    images: Annotated[int, Field(ge=0)]
    tolerance: Finite = Field(description="Logits match within this, in standard deviations.")
    min_null: Finite = Field(description="Null components are far apart from here, in typical null norms.")
    found: Annotated[int, Field(ge=0)] = Field(description="Pairs shown, no image twice; 0: none exists.")
    nearest: Finite | None = Field(
        default=None, description="Of one image alone: smallest logit difference of those that far apart."
    )
