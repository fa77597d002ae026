"""What images lose and gain in words, as it stands in the result."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from singaudit.metrics.findings import Finding
from singaudit.report.result.base import Finite, Part, Statistic, Text

Change = Literal["lost", "gained", "none", "cannot tell"]


class WordPart(Part):
    """A concept's change under mean removal, less that of its group: picked on half the images, confirmed on the rest.

    Intervals come from the confirming half and are corrected for all concepts that were looked at (false coverage).
    """

    name: Text
    group: Text | None
    change: Change = Field(description="lost or gained: confirmed; none: too small to matter, however it lies.")
    change_deg: Statistic | None = Field(
        description="Negative: the equivalent is further from the text; null: too few."
    )
    control_deg: Finite | None = Field(description="The same with other images' null components taken out.")
    before_deg: Finite | None = Field(default=None, description="Mean angle(T f, text), of a class's words only.")
    after_deg: Finite | None = Field(default=None, description="Mean angle(T f~, text), of a class's words only.")


class WordsPart(Part):
    """What the equivalents of all images lose and gain, the largest change first."""

    over: Literal["images that show the concept"] = "images that show the concept"
    lost: list[WordPart]
    gained: list[WordPart] = Field(description="Over the images that do not show the concept.")
    tested: int = Field(description="Changes that were looked at; the false discovery rate holds over all of them.")
    level: Finite = Field(description="Of the false discovery and the false coverage rate.")


class ClassFinding(Part):
    """What one class's images lose of their own values of one concept group."""

    group: Text
    finding: Finding
    contrast_deg: Statistic | None = Field(description="What vanishes of the margin; null: too few images.")
    carried_share: Statistic | None = Field(description="Contrast over margin; null where nothing is to share out.")
    control_deg: Finite | None = Field(description="Contrast with other images' null components taken out.")
