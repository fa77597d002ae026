"""What the gates of an audit ask about, in a reader's words: groups by name, other numbers by what they measure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from singaudit.errors import ConfigError
from singaudit.report.brief.words import readable
from singaudit.report.gates.rules import Rule, parse_rule
from singaudit.report.result.findings import GatePart

_MEASURES = {
    "attribute_score_deg": "the turn toward or away from the class when the ignored part is removed",
    "signed_attribute_score_deg": "the turn toward the class when the ignored part is removed",
    "image_score_deg": "the turn of the reading when the ignored part is removed",
    "ratio": "the ratio of both turns",
    "null_energy_share": "the share of feature variation that the head ignores",
    "null_dim": "the number of ignored dimensions",
    "accuracy": "the accuracy",
    "class_gain": "the share of what its features know of the classes that its logits lack",
    "carried_share": "the share of the reading that is ignored",
}
INSTRUMENT = ("translator", "certificate", "logit_check", "data", "encoder", "readability", "readable")
"""Parts of a result that say how well was measured, and nothing of the model."""


@dataclass(frozen=True)
class Asked:
    """A gate, and what it is about."""

    gate: GatePart
    subject: str
    """For reading: a group's name, or what is measured."""
    group: str | None
    """The concept group whose finding the gate judges, over all images; None for anything else."""
    forbids: tuple[str, ...]
    """Findings that a gate on a group does not let pass; empty for anything else."""
    loses_class: bool
    """Whether it judges how much better the features know the classes than the logits show."""
    about_model: bool
    """False where it judges only how well was measured."""


def asked(gates: Sequence[GatePart]) -> list[Asked]:
    """Every gate with what it is about, in the gates' order."""
    return [_asked(gate) for gate in gates]


def _asked(gate: GatePart) -> Asked:
    try:
        rule = parse_rule(gate.rule)
    except ConfigError:
        return Asked(gate, gate.name or "a gate", None, (), False, True)
    names = [step.name for step in rule.path]
    about_model = names[-1] in ("accuracy", "class_gain") or not any(name in INSTRUMENT for name in names)
    first = rule.path[0]
    if first.name in ("finding", "findings") and first.selector and rule.members:
        forbids = rule.members if rule.operator == "not in" else ()
        return Asked(gate, readable(first.selector), first.selector, forbids, False, about_model)
    return Asked(gate, gate.name or _subject(rule), None, (), "class_gain" in names, about_model)


def _subject(rule: Rule) -> str:
    first = rule.path[0]
    selected = [readable(step.selector) for step in rule.path if step.selector]
    last = rule.path[-1].name
    if last in ("value", "low", "high", "n") and len(rule.path) > 1:
        last = rule.path[-2].name
    words = _MEASURES.get(last, last.replace("_", " "))
    if last in ("concept", "concepts", "change"):
        words, selected = f"whether {selected[-1]} is lost", selected[:-1]
    elif last in ("finding", "findings"):
        words, selected = selected[-1], selected[:-1]
    if selected:
        words += f" for {first.name if first.name in ('class', 'concept') else ''} {selected[0]}".replace("  ", " ")
    return words
