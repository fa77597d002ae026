"""The settings that findings are calibrated in: what people's data is like, one row of the table each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Code = Literal["linear", "xor", "radial", "cross"]


@dataclass(frozen=True)
class Row:
    """One setting; worlds of it differ by seed alone."""

    name: str
    """As the table says it."""
    classes: int = 10
    """c."""
    null: int = 56
    """Dimensions that the head ignores."""
    images: int = 1000
    """Audited."""
    translator: int = 4000
    """Behind the translator; 0: cross-fitted on the audited images."""
    values: int = 4
    """Of each attribute."""
    rare: float = 0.0
    """Share of the images that have the first value; 0: as many as the others."""
    correlation: float = 0.0
    """Share of the images whose attribute is the one that goes with their class."""
    entangled: float = 0.0
    """Share of the images whose ignored attribute is the one that goes with their used one."""
    frames: int = 1
    """Near-identical images of each scene; ``images`` and ``translator`` count them all."""
    code: Code = "linear"
    """How the ignored attribute is coded in the null space."""
    labelled: bool = True
    """Values come from labels; else they are read zero-shot."""
    reading: float = 4.0
    """How far values lie apart in the embeddings, in units of their noise."""
    meaning: bool = True
    """Whether the embeddings hold any attribute or class at all."""
    tails: float = 0.0
    """Degrees of freedom of Student's t of the features' noise; 0: Gaussian."""
    outliers: float = 0.0
    """Share of the images with twenty times the noise."""
    shift: float = 0.0
    """How far the images behind the translator lie from the audited ones, in units of the features' noise."""
    absent: int = 2
    """Attributes that are nowhere in the features."""
    power: bool = False
    """Whether at least 95 % of ignored attributes are meant to be found."""


BASE = Row("as in the first calibration: distinct images, attributes independent of the class", power=True)

ROWS: tuple[Row, ...] = (
    BASE,
    replace(BASE, name="values read zero-shot", labelled=False),
    replace(BASE, name="heavy tails: Student's t with 3 degrees of freedom", tails=3.0),
    replace(BASE, name="outliers: 2 % of the images with twenty times the noise", outliers=0.02),
    replace(BASE, name="20 values, 3,000 images", classes=40, values=20, images=3000),
    replace(BASE, name="goes with the class at 0.7", correlation=0.7),
    replace(BASE, name="goes with the class at 0.8", correlation=0.8),
    replace(BASE, name="1,250 scenes of 10 frames, no probe", images=12_500, translator=0, frames=10),
    replace(BASE, name="goes with the class at 0.5", correlation=0.5, power=False),
    replace(BASE, name="goes with the class at 0.95", correlation=0.95, values=2, power=False),
    replace(BASE, name="50 scenes of 10 frames", images=500, frames=10, power=False),
    replace(BASE, name="100 scenes of 10 frames, no probe", images=1000, translator=0, frames=10, power=False),
    replace(BASE, name="exclusive or in the null space", code="xor", values=2, power=False),
    replace(BASE, name="radius in the null space", code="radial", values=2, power=False),
    replace(BASE, name="exclusive or of both parts", code="cross", values=2, power=False),
    replace(BASE, name="fewer images than features", null=440, images=400, translator=1500, power=False),
    replace(BASE, name="as many images as features", null=374, images=480, translator=1500, power=False),
    replace(BASE, name="embeddings of noise, zero-shot", labelled=False, meaning=False, power=False),
    replace(BASE, name="encoder that reads at 60 %, zero-shot", labelled=False, reading=1.3, power=False),
    replace(BASE, name="encoder that reads at 60 %, labels", reading=1.3, power=False),
    replace(BASE, name="two classes", classes=2, values=2, power=False),
    replace(BASE, name="300 classes", classes=300, null=84, power=False),
    replace(BASE, name="attributes entangled at 0.5", entangled=0.5, power=False),
    replace(BASE, name="a value that 3 % have", values=2, rare=0.03, power=False),
    replace(BASE, name="a value that 3 % have, zero-shot", values=2, rare=0.03, labelled=False, power=False),
    replace(BASE, name="images behind the translator of another domain", shift=2.0, power=False),
    replace(BASE, name="30 attributes that are nowhere", absent=30, power=False),
)
MANY = (replace(BASE, name="1,000 classes", classes=1000, null=280, images=1000, power=False),)
"""Rows that take minutes a world."""
