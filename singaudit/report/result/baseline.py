"""The audit beside an earlier one of the same images: what got worse, and how that was judged."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from singaudit.report.result.base import Part, Statistic, Text

BaselineChange = Literal["worse", "same", "better", "cannot tell"]


class BaselineScore(Part):
    """A score against the baseline's."""

    before: Statistic
    difference: Statistic | None = Field(description="Now less before, with its 95 % interval; null of one image.")
    paired: bool = Field(description="Image by image; else from the two intervals, as if images were different.")
    change: BaselineChange = Field(
        description="worse or better where the whole interval lies on one side of 0; same where it excludes a change "
        "for the worse of more than the margin; else cannot tell."
    )
    sentence: Text


class BaselineScores(Part):
    """The scores that are compared."""

    image_score_deg: BaselineScore | None = None
    attribute_score_deg: BaselineScore | None = None


class BaselineFinding(Part):
    """A concept group's finding against the baseline's."""

    group: Text
    before: Text
    now: Text
    difference: Statistic | None = Field(description="Of the carried share, now less before; null where one has none.")
    paired: bool
    change: BaselineChange
    sentence: Text


class BaselinePart(Part):
    """The audit that this one is compared with."""

    model_name: Text
    model_sha256: Text
    checksum: Text = Field(description="Of the baseline's result.json.")
    schema_version: Text
    images: int
    paired: bool = Field(description="Whether both results' rows per image were there.")
    margin: float = Field(description="Of a score's value, and of a share: the change for the worse that may hide.")
    scores: BaselineScores
    findings: list[BaselineFinding]
    not_compared: list[Text] = Field(default=[], description="Groups that only one of the audits has.")
    sentence: Text
