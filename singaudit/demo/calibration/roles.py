"""What is planted: how an attribute stands to a head, and what the audit must then find."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from singaudit.metrics.findings import Finding
from singaudit.metrics.subject import Subject

Role = Literal["absent", "used", "redundant", "correlated", "ignored", "half"]

ROLES: dict[Role, str] = {
    "absent": "the features do not hold it",
    "used": "only the part that the logits see holds it",
    "redundant": "both parts hold it whole",
    "correlated": "the features hold only the class, with which it goes along in these images",
    "ignored": "only the part that the head ignores holds it",
    "half": "the head sees a coarser version of it, the part that it ignores holds it whole",
}
LEAKS: tuple[Role, ...] = ("ignored", "half")
"""Planted: strong or partial must be found. In all other worlds either would be a false alarm."""


@dataclass(frozen=True)
class World:
    """One planted model and the images that it is audited on."""

    name: str
    """Unique."""
    kind: Literal["images", "linear"]
    """A neck and head trained on a frozen trunk's features of generated images; or a linear-Gaussian world."""
    roles: dict[str, Role]
    """Role of each concept group."""
    strength: dict[str, float]
    """How much of its planted signal each group has, 0 to 1."""
    subject: Subject
    """What the audit sees."""
    held_out: bool
    """Not among the worlds that thresholds may be chosen on."""


@dataclass(frozen=True)
class GroupTest:
    """One concept group of one world, audited."""

    world: str
    kind: str
    held_out: bool
    images: int
    """Audited."""
    translator_images: int
    """Behind the translator."""
    features: int
    """Width m."""
    group: str
    role: Role
    strength: float
    finding: Finding
    """What the audit said."""
    rule: str
    """With its numbers."""
