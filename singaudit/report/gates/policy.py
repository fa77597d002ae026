"""A policy: which concepts must not be ignored, for all images or for those of a class, as gates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from singaudit.config import AuditConfig, GateText
from singaudit.errors import ConfigError
from singaudit.report.gates.names import Known, check_rules, nearest
from singaudit.report.gates.rules import Rule, parse_rule

EVERY_CLASS = "*"
"""Stands for all images in a policy."""


def with_policy(config: AuditConfig, rules: Sequence[Rule], known: Known) -> tuple[AuditConfig, list[Rule]]:
    """The settings with their policy written as gates, and all rules, checked against what they may name.

    Raises ``ConfigError``.
    """
    policy = policy_rules(config.policy, known)
    written = tuple(GateText(rule=rule.text) for rule in policy)
    every = [*rules, *policy]
    check_rules(every, known)
    return config.model_copy(update={"gates": config.gates + written, "policy": {}}), every


def policy_rules(policy: Mapping[str, Sequence[str]], known: Known) -> list[Rule]:
    """The rules that a policy stands for: ``{class or "*": [group or concept, ...]}``.

    A group must not be found strong or partial, a concept must not be lost. Raises ``ConfigError`` for a class that
    does not exist; a concept that does not exist is found when the gates are checked.
    """
    gates = []
    for owner, entries in policy.items():
        if owner != EVERY_CLASS and owner not in known.classes:
            raise ConfigError(
                f"the policy names a class that does not exist: {owner!r}", hint=nearest(owner, known.classes)
            )
        of = "" if owner == EVERY_CLASS else f"class[{selector(owner)}]."
        for entry in entries:
            if entry in known.groups and (None, entry) not in known.concepts:
                gates.append(f"{of}finding[{selector(entry)}] not in (strong, partial)")
            else:
                gates.append(f"{of}concept[{selector(entry)}].change not in (lost)")
    return [parse_rule(gate) for gate in gates]


def selector(name: str) -> str:
    """``name`` as it stands between brackets: quoted where its own characters would be read as syntax."""
    if name[:1] in "'\"" or "[" in name or "]" in name or name != name.strip():
        return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return name


def class_concepts(rules: Sequence[Rule], known: Known) -> list[tuple[int, int]]:
    """(class, concept) positions of every gate over a class's own concept: what must be in the result."""
    found = []
    for rule in rules:
        names = [step.name for step in rule.path[:2]]
        if len(names) == 2 and names[0] in ("class", "classes") and names[1] in ("concept", "concepts"):
            owner, concept = (step.selector for step in rule.path[:2])
            index = next(i for i, entry in enumerate(known.of("concepts") or ()) if concept in entry)
            found.append((known.classes.index(str(owner)), index))
    return found
