"""Waivers in the result: each one of the configuration file, with what became of it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from singaudit.report.result.base import Part, Text


class WaiverPart(Part):
    """A failed gate that somebody answers for until a date."""

    gate: str = Field(max_length=20_000, description="The gate's name or its rule.")
    until: Text = Field(description="Last day it counts, as YYYY-MM-DD.")
    reason: Text
    model: Text | None = Field(default=None, description="sha256 of the one model it is for; null for any.")
    status: Literal["applied", "not needed", "undecided", "expired", "other model", "unmatched"] = Field(
        description="applied: a gate failed and is waived. not needed: it passed. undecided: it is inconclusive, which "
        "is never waived. expired, other model and unmatched ones change nothing."
    )
    sentence: Text
