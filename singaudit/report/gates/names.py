"""What a gate may name: its path followed through the result's model before anything is opened."""

from __future__ import annotations

import difflib
import types
from dataclasses import dataclass
from typing import Any, NoReturn, Union, get_args, get_origin

from singaudit.errors import ConfigError
from singaudit.report.gates.rules import Rule, Step
from singaudit.report.result.audit import AuditResult

SINGULAR = {"class": "classes", "concept": "concepts", "finding": "findings", "control": "controls", "score": "scores"}
"""Lists may be named in the singular, as a selected entry reads."""
KEYS = ("name", "group", "score")
"""The field that names an entry of a list, the first that it has."""
WORDS = ("finding", "status", "change")
"""The field that a membership asks for where the path ends at a part that has one."""


@dataclass(frozen=True)
class Known:
    """Names that a result of this audit will hold."""

    classes: tuple[str, ...]
    """Class names."""
    concepts: tuple[tuple[str | None, str], ...]
    """(group, concept); the group is None for a concept without one."""
    groups: tuple[str, ...]
    """Concept groups, the classes' own among them."""

    def of(self, field: str) -> list[tuple[str, ...]] | None:
        """For each entry of the list ``field`` the selectors that name it; None where that is known afterwards."""
        if field == "classes":
            return [(name,) for name in self.classes]
        if field == "findings":
            return [(name,) for name in self.groups]
        if field == "concepts":
            return [selectors(name, group) for group, name in self.concepts]
        return None


def selectors(name: str, group: str | None) -> tuple[str, ...]:
    """The selectors that name a concept: itself, and with its group before it."""
    return (name,) if group is None else (name, f"{group}: {name}")


def check_rules(rules: list[Rule], known: Known) -> None:
    """Raise ``ConfigError`` pointing at the place of the first rule that names nothing a result will hold."""
    for rule in rules:
        _Check(rule, known).run()


def _places(name: str) -> tuple[str, ...]:
    """Where the result has a field ``name``, below its parts that are no lists."""
    found, parts = [], [("", AuditResult)]
    while parts:
        path, part = parts.pop(0)
        for field, info in part.model_fields.items():
            container, inner = _unwrap(info.annotation)
            if field == "baseline":
                continue
            if field == name and path and container is None:
                found.append(path + field)
            elif container is None and hasattr(inner, "model_fields") and not _is_statistic(inner):
                parts.append((f"{path}{field}.", inner))
    return tuple(found)


class _Check:
    """Follows one rule's path through the result's model."""

    def __init__(self, rule: Rule, known: Known) -> None:
        self._rule, self._known = rule, known

    def run(self) -> None:
        kind: Any = AuditResult
        above = "the result"
        for step in self._rule.path:
            kind = self._follow(kind, step, above)
            above = step.name
        last = self._rule.path[-1]
        if self._rule.members:
            self._words(kind, last)
        elif not (kind in (int, float) or _is_statistic(kind)):
            self._fail(f"expected a number or statistic at the end of the gate {self._rule.text!r}", last)

    def _follow(self, kind: Any, step: Step, above: str) -> Any:
        fields = getattr(kind, "model_fields", {})
        name = field_name(fields, step.name)
        if name is None:
            places = _places(step.name) if kind is AuditResult else ()
            self._fail(
                f"the gate {self._rule.text!r} names nothing: no {step.name!r} in {above}",
                step,
                f"Did you mean {' or '.join(places)}?" if places else nearest(step.name, tuple(fields)),
            )
        if kind is AuditResult and name in ("verdict", "gates"):
            self._fail(f"expected what was measured, {step.name} follows from gates: {self._rule.text!r}", step)
        container, inner = _unwrap(fields[name].annotation)
        if container is None:
            if step.selector is not None:
                self._fail(f"expected [...] only after a list, {step.name} is none in {self._rule.text!r}", step)
            return inner
        if step.selector is None:
            position = self._rule.path.index(step) + 1
            inside = self._rule.path[position].name if position < len(self._rule.path) else "NAME"
            self._fail(
                f"expected {step.name}[...] with a name in the gate {self._rule.text!r}",
                step,
                f"Write {step.name}[{inside}].",
            )
        if container is list and not hasattr(inner, "model_fields"):
            self._fail(f"expected a part with names, {step.name} is a plain list in {self._rule.text!r}", step)
        self._select(name, step)
        return inner

    def _select(self, field: str, step: Step) -> None:
        entries = self._known.of(field)
        if entries is None:
            return
        found = [entry for entry in entries if step.selector in entry]
        if not found:
            every = tuple(name for entry in entries for name in entry)
            self._fail(
                f"the gate {self._rule.text!r} names nothing: there is no {step.name} {step.selector!r}",
                step,
                nearest(str(step.selector), every),
            )
        if len(found) > 1:
            listed = " or ".join(f"{step.name}[{entry[-1]}]" for entry in found[:4])
            self._fail(
                f"the gate {self._rule.text!r} is ambiguous: {step.selector!r} is in {len(found)} groups",
                step,
                f"Write {listed}.",
            )

    def _words(self, kind: Any, last: Step) -> None:
        """A word that the named part can never hold would make ``not in`` always pass: refuse it."""
        fields = getattr(kind, "model_fields", None)
        if fields is not None:
            word = next((w for w in WORDS if w in fields), None)
            if word is None:
                self._fail(f"expected a finding or status before 'in' in the gate {self._rule.text!r}", last)
            kind = _unwrap(fields[word].annotation)[1]
        if kind in (int, float):
            self._fail(f"expected <, <=, > or >= after a number in the gate {self._rule.text!r}", last)
        words = ("true", "false") if kind is bool else get_args(kind)
        for member in self._rule.members:
            if words and member not in words:
                self._fail(
                    f"the gate {self._rule.text!r} asks for {member!r}, which is never found there",
                    last,
                    nearest(member, tuple(map(str, words))),
                )

    def _fail(self, message: str, step: Step, hint: str = "") -> NoReturn:
        # Steps count from the start of the whole text, which may begin with the gate's name.
        raise ConfigError(message, hint=hint, place=(self._rule.text, step.at - self._rule.path[0].at))


def field_name(fields: Any, name: str) -> str | None:
    """The field that ``name`` stands for, a list's in the singular too; None where there is none."""
    if name in fields:
        return name
    plural = SINGULAR.get(name, "")
    return plural if plural in fields and _unwrap(fields[plural].annotation)[0] is list else None


def _unwrap(annotation: Any) -> tuple[type | None, Any]:
    """(list, dict or None, what is inside), with optional wrappers taken off."""
    if get_origin(annotation) in (Union, types.UnionType):
        annotation = next(a for a in get_args(annotation) if a is not type(None))
    origin = get_origin(annotation)
    if origin is list:
        return list, _plain(get_args(annotation)[0])
    if origin is dict:
        return dict, _plain(get_args(annotation)[1])
    return None, _plain(annotation)


def _plain(annotation: Any) -> Any:
    """A type without the limits that stand beside it (``Annotated``)."""
    if hasattr(annotation, "__metadata__"):
        return annotation.__origin__
    return annotation


def _is_statistic(kind: Any) -> bool:
    fields: Any = getattr(kind, "model_fields", {})
    return {"value", "low", "high", "n"} <= set(fields)


def nearest(name: str, known: tuple[str, ...]) -> str:
    """What was probably meant, or what there is."""
    near = difflib.get_close_matches(name, known, 1)
    listed = ", ".join(known[:10]) + (", ..." if len(known) > 10 else "")
    return f"Did you mean {near[0]!r}?" if near else f"Known: {listed}."
