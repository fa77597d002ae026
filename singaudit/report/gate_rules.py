"""The language of gates: how a rule is written, what it may name, and where exactly it is wrong.

    [name =] path < number            scores.attribute_score_deg < 3
    [name =] path [not] in (words)    class[car].finding[colour] not in (strong, partial)

A path is made of result.json's own names; an entry of a list is selected by its name in brackets, in quotes where
the name itself holds brackets that do not match: ``class["odd ] name"]``. A concept that several groups have is told
apart as ``concept[weather: snow]``.
"""

from __future__ import annotations

import difflib
import math
import re
import types
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, Union, get_args, get_origin

from singaudit.errors import ConfigError
from singaudit.metrics.findings import THRESHOLDS
from singaudit.report.result import AuditResult

DEFAULT_RULES = (
    "class meaning = finding[class] not in (strong, partial)",
    f"translator readable = translator.r2.low > {THRESHOLDS.min_r2:g}",
    "shadow certificate = certificate.status not in (failed)",
)
"""What ``default`` stands for: a policy that most can start from."""
SINGULAR = {"class": "classes", "concept": "concepts", "finding": "findings", "control": "controls", "score": "scores"}
"""Lists may be named in the singular, as a selected entry reads."""
KEYS = ("name", "group", "score")
"""The field that names an entry of a list, the first that it has."""
WORDS = ("finding", "status", "change")
"""The field that a membership asks for where the path ends at a part that has one."""
_EXPECTED = "expected a gate such as 'scores.attribute_score_deg < 3' or 'finding[colour] not in (strong, partial)'"
_NAME = re.compile(r"\s*([^\W\d][\w .-]*?)\s*=(?!=)")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w.])")
_OPERATOR = re.compile(r"<=|>=|<|>|not\s+in(?=[\s(])|in(?=[\s(])")
_MAX_RULE = 1000


GateStatus = Literal["pass", "fail", "inconclusive"]


@dataclass(frozen=True)
class Step:
    """One dotted part of a path."""

    name: str
    """As written."""
    selector: str | None
    """What stood in brackets."""
    at: int
    """Where in the text it starts."""


@dataclass(frozen=True)
class Rule:
    """One parsed gate."""

    text: str
    """As the user wrote it, without its name."""
    name: str | None
    """What the user calls it."""
    path: tuple[Step, ...]
    """From the result down to what is judged."""
    operator: str
    """<, <=, >, >=, in, not in."""
    limit: float
    """Of a comparison; NaN for a membership."""
    members: tuple[str, ...]
    """Of a membership; empty for a comparison."""


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


def parse_rules(texts: tuple[str, ...]) -> list[Rule]:
    """Parse every rule; ``default`` stands for ``DEFAULT_RULES``. Raises ``ConfigError`` pointing at the place."""
    rules = []
    for text in texts:
        named = _NAME.match(text)
        whole = text[named.end() :].strip() if named else text.strip()
        rules += [parse_rule(rule) for rule in (DEFAULT_RULES if whole == "default" else (text,))]
    return rules


def parse_rule(text: str) -> Rule:
    """Parse ``[name =] path < number`` or ``[name =] path [not] in (a, b)``. Raises ``ConfigError`` with its place."""
    if len(text) > _MAX_RULE:
        raise ConfigError(f"{_EXPECTED}, got {len(text)} characters, more than {_MAX_RULE}")
    named = _NAME.match(text)
    start = named.end() if named else 0
    return _Reader(text, start).rule(named[1] if named else None)


class _Reader:
    """Reads one rule from left to right."""

    def __init__(self, text: str, start: int) -> None:
        self._text, self._at = text, start

    def rule(self, name: str | None) -> Rule:
        start = self._at
        path = [self._step()]
        while self._take("."):
            path.append(self._step())
        self._skip()
        found = _OPERATOR.match(self._text, self._at)
        if found is None:
            self._fail("expected <, <=, >, >=, in or not in here")
        self._at = found.end()
        operator, limit = " ".join(found[0].split()), math.nan
        members: tuple[str, ...] = ()
        if operator.endswith("in"):
            members = self._members()
        else:
            limit = self._number()
        self._skip()
        if self._at < len(self._text):
            self._fail("expected the gate to end here")
        return Rule(self._text[start:].strip(), name, tuple(path), operator, limit, members)

    def _step(self) -> Step:
        self._skip()
        at, found = self._at, _WORD.match(self._text, self._at)
        if found is None:
            self._fail("expected a name of result.json here")
        self._at = found.end()
        return Step(found[0], self._selector() if self._take("[") else None, at)

    def _selector(self) -> str:
        self._skip()
        if self._text[self._at : self._at + 1] in ("'", '"'):
            quoted = self._quoted()
            if not self._take("]"):
                self._fail("expected ] after the quoted name")
            return quoted
        opened, start, depth = self._at - 1, self._at, 1
        while self._at < len(self._text):
            depth += {"[": 1, "]": -1}.get(self._text[self._at], 0)
            self._at += 1
            if depth == 0:
                found = self._text[start : self._at - 1].strip()
                if not found:
                    self._fail("expected a name between the brackets", opened)
                break
        else:
            self._fail("this bracket is never closed; quote a name that holds brackets", opened)
        return found

    def _quoted(self) -> str:
        """A text in single or double quotes; a backslash before a quote or a backslash takes it as it is."""
        opened, quote = self._at, self._text[self._at]
        found = re.compile(rf"{quote}((?:[^{quote}\\]|\\.)*){quote}").match(self._text, opened)
        if found is None:
            self._fail("this quote is never closed", opened)
        self._at = found.end()
        return re.sub(r"\\(.)", r"\1", found[1])

    def _members(self) -> tuple[str, ...]:
        if not self._take("("):
            self._fail("expected ( and a list of words here")
        members = []
        while True:
            self._skip()
            if self._text[self._at : self._at + 1] in ("'", '"'):
                members.append(self._quoted())
            else:
                found = re.compile(r"[^,()'\"]*").match(self._text, self._at)
                if found is None or not found[0].strip():
                    self._fail("expected a word here")
                self._at = found.end()
                members.append(found[0].strip())
            if self._take(")"):
                return tuple(members)
            if not self._take(","):
                self._fail("expected , or ) here")

    def _number(self) -> float:
        self._skip()
        found = _NUMBER.match(self._text, self._at)
        if found is None:
            self._fail("expected a number here")
        limit = float(found[0])
        if not math.isfinite(limit):
            self._fail("expected a finite number here")
        self._at = found.end()
        return limit

    def _take(self, char: str) -> bool:
        self._skip()
        taken = self._text.startswith(char, self._at)
        self._at += taken
        return taken

    def _skip(self) -> None:
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1

    def _fail(self, problem: str, at: int | None = None) -> NoReturn:
        place = self._at if at is None else at
        raise ConfigError(f"{_EXPECTED}: {problem}, column {place + 1} of {self._text!r}", place=(self._text, place))


def check_rules(rules: list[Rule], known: Known) -> None:
    """Raise ``ConfigError`` pointing at the place of the first rule that names nothing a result will hold."""
    for rule in rules:
        _Check(rule, known).run()


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
            self._fail(
                f"the gate {self._rule.text!r} names nothing: no {step.name!r} in {above}", step,
                nearest(step.name, tuple(fields)),
            )  # fmt: skip
        container, inner = _unwrap(fields[name].annotation)
        if container is None:
            if step.selector is not None:
                self._fail(f"expected [...] only after a list, {step.name} is none in {self._rule.text!r}", step)
            return inner
        if step.selector is None:
            self._fail(f"expected {step.name}[...] with a name in the gate {self._rule.text!r}", step)
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
                f"the gate {self._rule.text!r} names nothing: there is no {step.name} {step.selector!r}", step,
                nearest(str(step.selector), every),
            )  # fmt: skip
        if len(found) > 1:
            listed = " or ".join(f"{step.name}[{entry[-1]}]" for entry in found[:4])
            self._fail(
                f"the gate {self._rule.text!r} is ambiguous: {step.selector!r} is in {len(found)} groups", step,
                f"Write {listed}.",
            )  # fmt: skip

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
                    f"the gate {self._rule.text!r} asks for {member!r}, which is never found there", last,
                    nearest(member, tuple(map(str, words))),
                )  # fmt: skip

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
