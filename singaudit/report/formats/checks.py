"""The gates as the checks that machines list: unique names, one line of reason, and a place to point at.

Three readers lists are made from this: JUnit's test cases, SARIF's results, GitLab's findings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from singaudit.report.formats.interface import Files, Place
from singaudit.report.pages.text import shorten
from singaudit.report.result.audit import AuditResult

MAX_NAME = 400
"""Characters of a name: readers cut longer ones, and what they cut is no longer unique."""
MAX_MESSAGE = 1000
Status = Literal["pass", "fail", "inconclusive", "waived"]


@dataclass(frozen=True)
class Check:
    """A gate, or the audit as a whole."""

    name: str
    """Unique among the checks of a result."""
    status: Status
    """What it came to."""
    message: str
    """Why, in one line."""
    place: Place
    """Where the gate stands; the model's path where it stands in no file."""


def checks(shown: AuditResult, files: Files) -> list[Check]:
    """A check a gate, in the result's order. ``shown`` holds inert texts."""
    names = unique([gate.name or gate.rule for gate in shown.gates])
    model = Place(model_path(shown, files), 1)
    found = []
    for i, gate in enumerate(shown.gates):
        place = files.places[i] if i < len(files.places) else None
        place = place and Place(inside(place.path), place.line)
        rule = "" if gate.name is None else f"{gate.rule}: "
        message = shorten(f"{rule}found {gate.found}, limit {gate.limit}; {gate.reason}", MAX_MESSAGE)
        found.append(Check(names[i], gate.status, message, place or model))
    return found


def conclusion(shown: AuditResult) -> str:
    """The verdict's sentence and its reasons as one text."""
    return shorten(" ".join([shown.verdict.sentence, *shown.verdict.reasons]), MAX_MESSAGE)


def waivers(shown: AuditResult) -> list[str]:
    """A line a waiver of the configuration, whatever became of it: what it does and why somebody wrote it."""
    return [
        shorten(
            f"{part.sentence[:1].upper()}{part.sentence[1:]}. Until {part.until}, because: {part.reason}", MAX_MESSAGE
        )
        for part in shown.waivers
    ]


def model_path(shown: AuditResult, files: Files) -> str:
    """The model as a location: its path in the repository, else its name."""
    return inside(files.model or shown.model.name)


def inside(path: str) -> str:
    """``path`` as one that stays inside the repository: a reader refuses a whole file for one that does not."""
    steps = [step for step in shorten(path, MAX_NAME).replace("\\", "/").split("/") if step not in ("", ".", "..")]
    return "/".join(steps) or "model"


def unique(names: Sequence[str]) -> list[str]:
    """``names`` cut to a length that readers keep, and told apart by a number: readers drop duplicates."""
    seen: dict[str, int] = {}
    out: list[str] = []
    taken: set[str] = set()
    for name in names:
        short = shorten(name, MAX_NAME) or "gate"
        while True:
            seen[short] = seen.get(short, 0) + 1
            candidate = short if seen[short] == 1 else f"{short} ({seen[short]})"
            if candidate not in taken:
                break
        taken.add(candidate)
        out.append(candidate)
    return out


def fingerprint(*parts: str) -> str:
    """64 hex digits that depend on ``parts`` alone: no number, no model's content, so that an alert survives both."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
