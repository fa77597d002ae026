"""What is said about one image: image.json's model."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from singaudit.report.result.audit import Neighbour
from singaudit.report.result.base import Finite, Part, Text
from singaudit.report.result.model import CertificatePart
from singaudit.report.result.pictures import GenerationPart, PicturePart, SearchPart
from singaudit.report.result.words import WordPart


class Reading(Part):
    """The value of one concept group that is read from the image, from its features, and from its equivalent."""

    group: Text
    image: Text = Field(description="Nearest to the image's own embedding.")
    features: Text = Field(description="Nearest to T f.")
    equivalent: Text = Field(description="Nearest to T f~, mean removal.")


class Atom(Part):
    """One concept of a sparse decomposition."""

    name: Text
    group: Text | None
    change: Literal["gained", "lost"]
    weight: Finite = Field(description="The direction has length 1.")


class DecompositionPart(Part):
    """T f~ - T f as a non-negative combination of few mean-centred concepts, gained or lost."""

    atoms: list[Atom]
    explained: Finite = Field(description="Share of the direction's squared length.")
    control_mean: Finite = Field(description="The same share for translated random null directions.")
    control_low: Finite
    control_high: Finite


class ImageResult(Part):
    """One image: what the classifier says, what its head ignores of it, and what that means."""

    image: Text
    sha256: Text
    thumbnail: str = Field(max_length=400_000)
    model: Text
    model_sha256: Text
    encoder: Text
    translator: Text = Field(description="What reads the features, in words.")
    predicted: Text
    probability: Finite | None
    image_score_deg: Finite = Field(description="IS under mean removal.")
    attribute_score_deg: Finite = Field(description="AS toward the predicted class under mean removal.")
    zero_removal_image_score_deg: Finite
    zero_removal_attribute_score_deg: Finite
    null_norm: Finite = Field(description="|P_n (f - mean)| over that of a typical image; 1 is typical.")
    logit_change: Finite = Field(description="Largest change of a logit, in units of the logits' spread.")
    lost: list[WordPart]
    gained: list[WordPart]
    words_tested: int = Field(description="0 where the translator's file does not hold its uncertainty.")
    decomposition: DecompositionPart | None
    readings: list[Reading]
    near_original: list[Neighbour]
    near_equivalent: list[Neighbour]
    certificate: CertificatePart | None = Field(
        default=None, description="Of the shadow copy that equivalents go through; null where none were asked for."
    )
    pictures: list[PicturePart] = Field(default=[], description="Neighbours, natural pairs and equivalents (--toward).")
    generation: GenerationPart | None = Field(default=None, description="What making equivalents came to.")
    pair_search: SearchPart | None = Field(default=None, description="The search for natural pairs.")
    warnings: list[Text]
