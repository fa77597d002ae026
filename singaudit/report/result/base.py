"""What every part of the result is made of: finite numbers, bounded texts, statistics with their intervals."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

DIGITS = 6
"""Significant digits of estimates in the result; exact quantities have all of theirs."""

Finite = Annotated[float, Field(allow_inf_nan=False)]
Text = Annotated[str, Field(max_length=65_536)]


class Part(BaseModel):
    """Strict and immutable: an unknown key is an error, in our own results as in those read from a file."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Statistic(Part):
    """A mean, share or ratio over images, with its 95 % bootstrap interval; six significant digits."""

    value: Finite
    low: Finite
    high: Finite
    n: Annotated[int, Field(ge=0)] = Field(description="Images it was computed from.")
