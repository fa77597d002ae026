"""The result of an audit as people and machines read it: result.json's model and its JSON Schema.

No time, host or path of the machine is in it: two runs of one audit on one machine are byte-identical.
A statistic over images is ``{value, low, high, n}``; an exact quantity is a plain number. Angles are in degrees.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from singaudit.report.result.base import Finite, Part, Text
from singaudit.report.result.baseline import BaselinePart
from singaudit.report.result.data import DataPart, EncoderPart, LogitCheck, TranslatorPart
from singaudit.report.result.findings import FindingPart, GatePart, Verdict
from singaudit.report.result.model import CertificatePart, GeometryPart, ModelPart
from singaudit.report.result.pictures import DecodingPart, GenerationPart, PicturePart, SearchPart
from singaudit.report.result.scores import ClassPart, ConceptPart, ControlPart, ScatterPart, ScoresPart
from singaudit.report.result.steering import SteeringPart
from singaudit.report.result.waivers import WaiverPart
from singaudit.report.result.words import WordsPart

SCHEMA_VERSION: Literal["1.1"] = "1.1"
OLDER_VERSIONS = ("1.0",)
"""What is still read: each lacks parts that have defaults here."""


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


class Reproduce(Part):
    """What is needed to run the same audit again."""

    command: Annotated[str, Field(max_length=2**24)]
    seed: int
    precision: Text
    versions: dict[str, Text]
    devices: dict[str, Text] = Field(default={}, description="What ONNX Runtime and torch computed on.")


class MethodPart(Part):
    """By which rules findings were made."""

    version: int = Field(default=1, description="Findings of different versions are not comparable.")


class AuditResult(Part):
    """Everything an audit found."""

    schema_version: Literal["1.1"] = SCHEMA_VERSION
    checksum: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")] = Field(
        default="",
        description="sha256 of the other keys as JSON: keys sorted, no spaces, ASCII; empty until stored.",
    )
    redacted: bool = Field(
        default=False,
        description="Whether pictures, names of images and paths were left out, and hashes put for names.",
    )
    method: MethodPart = Field(default=MethodPart())
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
    baseline: BaselinePart | None = Field(default=None, description="The audit that this one was compared with.")
    waivers: list[WaiverPart] = Field(default=[], description="Those of the configuration, and what became of each.")
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
