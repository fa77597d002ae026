"""Gates: rules over the result's own names, and the verdict that follows from them. Nothing passes by default."""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass
from typing import Any, Literal, get_args

from singaudit.errors import ConfigError
from singaudit.report.result import AuditResult, GatePart

DEFAULT_RULES = (
    "finding[class] not in (strong, partial)",
    "translator.r2.low > 0",
    "certificate.status not in (failed)",
)
MIN_GATE_IMAGES = 20
"""A bootstrap of fewer images says nothing: of one image it is a point."""
GateOn = Literal["upper", "point", "lower"]

# Selectable lists of the result: the name in a rule, the field, and the entry's key.
_SELECTORS = {"class": ("classes", "name"), "concept": ("concepts", "name"), "finding": ("findings", "group")}
_RULE = re.compile(
    r"^\s*(?P<path>(?:[^<>=!\[\]]|\[[^\[\]]*\])+?)\s*(?:(?P<op><=|>=|<|>)\s*(?P<limit>[-+]?[\d.]+(?:[eE][-+]?\d+)?)"
    r"|(?P<word>(?:not\s+)?in)\s*\((?P<members>[^()]*)\))\s*$"
)
_PART = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)(?:\[((?:[^\[\]])*)\])?\s*(?:\.|$)")
_MAX_RULE = 1000


@dataclass(frozen=True)
class Rule:
    """One parsed gate."""

    text: str
    """As the user wrote it."""
    path: tuple[tuple[str, str | None], ...]
    """(name, selector) per dotted part."""
    operator: str
    """<, <=, >, >=, in, not in."""
    limit: float
    """Of a comparison; NaN for a membership."""
    members: tuple[str, ...]
    """Of a membership; empty for a comparison."""


def parse_rules(texts: tuple[str, ...]) -> list[Rule]:
    """Parse every rule; ``default`` stands for ``DEFAULT_RULES``. Raises ``ConfigError`` pointing at the place."""
    return [parse_rule(rule) for text in texts for rule in (DEFAULT_RULES if text == "default" else (text,))]


def parse_rule(text: str) -> Rule:
    """Parse ``path < number`` or ``path [not] in (a, b)``. Raises ``ConfigError`` pointing at the place."""
    expected = "expected a gate such as 'scores.attribute_score_deg < 3' or 'finding[colour] not in (strong, partial)'"
    found = _RULE.match(text) if len(text) <= _MAX_RULE else None
    if found is None:
        raise ConfigError(f"{expected}, got {text[:200]!r}")
    path, position = [], 0
    while position < len(found["path"]):
        part = _PART.match(found["path"], position)
        if part is None:
            raise ConfigError(f"{expected}, cannot read {text!r} from position {found.start('path') + position + 1}")
        path.append((part[1], part[2]))
        position = part.end()
    limit = math.nan
    if found["op"]:
        try:
            limit = float(found["limit"])
        except ValueError as error:
            raise ConfigError(f"{expected}, {found['limit']!r} in {text!r} is no number") from error
        if not math.isfinite(limit):
            raise ConfigError(f"{expected}, the limit in {text!r} is not finite")
    members = tuple(m.strip().strip("'\"") for m in (found["members"] or "").split(",") if m.strip())
    if found["word"] and not members:
        raise ConfigError(f"{expected}, the list in {text!r} is empty")
    return Rule(text, tuple(path), " ".join((found["op"] or found["word"]).split()), limit, members)


def check_rules(
    rules: list[Rule], class_names: tuple[str, ...], concepts: tuple[str, ...], groups: tuple[str, ...]
) -> None:
    """Raise ``ConfigError`` for the first rule that names nothing a result of this audit will hold."""
    known = {"class": class_names, "concept": concepts, "finding": groups}
    for rule in rules:
        fields: Any = AuditResult
        for depth, (name, selector) in enumerate(rule.path):
            if depth == 0 and name in _SELECTORS:
                if selector is None:
                    raise ConfigError(f"expected {name}[...] with a name in the gate {rule.text!r}")
                if selector not in known[name]:
                    raise ConfigError(
                        f"the gate {rule.text!r} names nothing: there is no {name} {selector!r}",
                        hint=_nearest(selector, known[name]),
                    )
                fields = _entry_model(AuditResult, _SELECTORS[name][0])
                continue
            if selector is not None:
                raise ConfigError(f"expected [...] only after class, concept or finding in the gate {rule.text!r}")
            names = getattr(fields, "model_fields", {})
            if name not in names:
                above = ".".join(part for part, _ in rule.path[:depth]) or "the result"
                raise ConfigError(
                    f"the gate {rule.text!r} names nothing: no {name!r} in {above}",
                    hint=_nearest(name, tuple(names)),
                )
            fields = _entry_model(fields, name)
        membership = bool(rule.members)
        if membership:
            _check_members(rule, fields)
        is_number = fields in (int, float) or getattr(fields, "__name__", "") in ("Statistic", "NullFollow")
        if not membership and not is_number:
            raise ConfigError(f"expected a number or statistic at the end of the gate {rule.text!r}")


def _check_members(rule: Rule, model: Any) -> None:
    """A word that the named part can never hold would make ``not in`` always pass: refuse it."""
    field = model.model_fields.get("finding") if hasattr(model, "model_fields") else None
    words = get_args(field.annotation) if field is not None else get_args(model)
    if hasattr(model, "model_fields") and field is None:
        raise ConfigError(f"expected a finding or status before 'in' in the gate {rule.text!r}")
    for member in rule.members:
        if words and member not in words:
            raise ConfigError(
                f"the gate {rule.text!r} asks for {member!r}, which is never found there",
                hint=_nearest(member, tuple(map(str, words))),
            )


def _nearest(name: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    listed = ", ".join(known[:10]) + (", ..." if len(known) > 10 else "")
    return f"Did you mean {near[0]!r}?" if near else f"Known: {listed}."


def _entry_model(model: Any, field: str) -> Any:
    """The model or plain type behind a field, list and optional wrappers taken off."""
    found = model.model_fields[field].annotation
    while getattr(found, "__args__", None) and not hasattr(found, "model_fields"):
        inner = [a for a in found.__args__ if a is not type(None)]
        if not inner or isinstance(inner[0], str):
            return found
        found = inner[0]
    return found


def judge(rules: list[Rule], result: AuditResult, gate_on: GateOn) -> list[GatePart]:
    """Every rule against the result. What is missing or not finite never passes."""
    return [_judge_one(rule, result, gate_on) for rule in rules]


def _judge_one(rule: Rule, result: AuditResult, gate_on: GateOn) -> GatePart:
    found = _look_up(rule, result)
    limit = f"{rule.operator} {rule.limit:g}" if not rule.members else f"{rule.operator} ({', '.join(rule.members)})"
    if found is None:
        return GatePart(
            rule=rule.text, found="not measured", value=None, low=None, high=None, n=None, limit=limit,
            status="inconclusive", reason="the number it names was not measured, and what is missing never passes",
        )  # fmt: skip
    if rule.members:
        word = str(getattr(found, "finding", found))
        if word in ("cannot tell", "unstable", "not applicable") and rule.operator == "not in":
            status: Literal["pass", "fail", "inconclusive"] = "inconclusive"
            reason = f"{word!r} neither passes nor fails"
        else:
            status = "pass" if (word in rule.members) == (rule.operator == "in") else "fail"
            reason = f"the finding is {word!r}"
        return GatePart(
            rule=rule.text, found=word, value=None, low=None, high=None, n=None, limit=limit, status=status,
            reason=reason,
        )  # fmt: skip
    if isinstance(found, int | float):
        value, low, high, n = float(found), None, None, None
        status = "pass" if _holds(rule, value) else "fail"
        shown, reason = f"{value:g}", "an exact number"
    else:
        value, low, high, n = found.value, found.low, found.high, found.n
        status, reason = _judge_interval(rule, value, low, high, gate_on)
        shown = f"{value:.4g} [{low:.4g}, {high:.4g}], n = {n}"
        if n < MIN_GATE_IMAGES:
            status, reason = (
                "inconclusive",
                f"{n} images are too few for an interval, at least {MIN_GATE_IMAGES} are needed",
            )
    return GatePart(
        rule=rule.text, found=shown, value=value, low=low, high=high, n=n, limit=limit, status=status, reason=reason
    )


def _judge_interval(
    rule: Rule, value: float, low: float, high: float, gate_on: GateOn
) -> tuple[Literal["pass", "fail", "inconclusive"], str]:
    if gate_on == "point":
        return ("pass" if _holds(rule, value) else "fail"), "judged on the value alone (--gate-on point)"
    good, bad = (low, high) if rule.operator.startswith("<") else (high, low)
    if gate_on == "lower":
        return ("pass" if _holds(rule, good) else "fail"), "judged on the interval's good end (--gate-on lower)"
    if _holds(rule, bad):
        return "pass", "the whole interval is on the good side"
    if not _holds(rule, good):
        return "fail", "the whole interval is on the bad side"
    return "inconclusive", "the interval straddles the limit: more images would narrow it"


def _holds(rule: Rule, value: float) -> bool:
    return {
        "<": value < rule.limit, "<=": value <= rule.limit, ">": value > rule.limit, ">=": value >= rule.limit,
    }[rule.operator]  # fmt: skip


def _look_up(rule: Rule, result: AuditResult) -> Any:
    """What a rule names, or None where it was not measured."""
    found: Any = result
    for depth, (name, selector) in enumerate(rule.path):
        if depth == 0 and name in _SELECTORS:
            field, key = _SELECTORS[name]
            found = next((e for e in getattr(result, field) if getattr(e, key) == selector), None)
        else:
            found = getattr(found, name, None)
        if found is None:
            return None
    return found
