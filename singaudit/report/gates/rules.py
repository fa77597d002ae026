"""The language of gates: how a rule is written, what it may name, and where exactly it is wrong.

    [name =] path < number            scores.attribute_score_deg < 3
    [name =] path [not] in (words)    class[car].finding[colour] not in (strong, partial)
    [name =] path not worse           baseline.finding[colour] not worse, the same as not in (worse)

A path is made of result.json's own names; an entry of a list is selected by its name in brackets, in quotes where
the name itself holds brackets that do not match: ``class["odd ] name"]``. A concept that several groups have is told
apart as ``concept[weather: snow]``. A gate's name may be any text, in quotes where it holds more than words.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NoReturn

from singaudit.config import GateText
from singaudit.errors import ConfigError
from singaudit.metrics.findings import THRESHOLDS

MAX_CLASS_GAIN = 0.2
"""Of what a probe reads of the true classes from the features, the share that the part the logits see lacks. Embedded
models: spurious 0.31, leaky 0.06, clean 0.04."""
DEFAULT_RULES = (
    "class meaning = finding[class] not in (strong, partial)",
    f"class knowledge = data.class_gain < {MAX_CLASS_GAIN:g}",
    f"translator readable = translator.r2.low > {THRESHOLDS.min_r2:g}",
    "shadow certificate = certificate.status not in (failed)",
)
"""What ``default`` stands for: a policy that most can start from."""
_EXPECTED = "expected a gate such as 'scores.attribute_score_deg < 3' or 'finding[colour] not in (strong, partial)'"
_COMPARED = (
    "Numbers are compared by <, <=, > or >=; words by in (...) or not in (...). A name = before a rule names it."
)
_AFTER = "A number has no unit (shares go from 0 to 1, angles are degrees), and each rule is a gate of its own."
_NAME = re.compile(r"\s*([^\W\d][\w .-]*?)\s*=(?!=)")
_QUOTED_NAME = re.compile(r"""\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)')\s*=(?!=)""", re.DOTALL)
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w.])")
_OPERATOR = re.compile(r"<=|>=|<|>|not\s+worse\b|not\s+in(?=[\s(])|in(?=[\s(])")
_MAX_RULE = 1000
_MAX_NAMED = 40_000
# A quoted name, each of its characters escaped, before a rule.
_MAX_NAME = 16_384


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
    source: tuple[str, int] | None = None
    """Configuration file and line it stands in; None where it was given otherwise."""


def parse_rules(gates: Sequence[GateText | str]) -> list[Rule]:
    """Every gate as a rule; ``default`` stands for ``DEFAULT_RULES``. Raises ``ConfigError`` pointing at the place."""
    rules = []
    for gate in gates:
        text, name, source = (gate, None, None) if isinstance(gate, str) else (gate.rule, gate.name, gate.source)
        name, start = _named(text) if name is None else (name, 0)
        if text[start:].strip() == "default":
            found = [parse_rule(rule) for rule in DEFAULT_RULES]
        else:
            found = [_Reader(text, start).rule(name)]
        rules += [replace(rule, source=source) for rule in found]
    return rules


def parse_rule(text: str) -> Rule:
    """Parse ``[name =] path < number`` or ``[name =] path [not] in (a, b)``. Raises ``ConfigError`` with its place."""
    name, start = _named(text)
    return _Reader(text, start).rule(name)


def _named(text: str) -> tuple[str | None, int]:
    """(name or None, where the rule starts). A name in quotes may be any text."""
    quoted = text.lstrip()[:1] in ("'", '"')
    _check_length(text, _MAX_NAMED if quoted else _MAX_RULE)
    found = (_QUOTED_NAME if quoted else _NAME).match(text)
    if found is None:
        return None, 0
    name = (
        re.sub(r"\\(.)", r"\1", found[1] if found[1] is not None else found[2], flags=re.DOTALL) if quoted else found[1]
    )
    if not name.strip():
        raise ConfigError(f"{_EXPECTED}, got one with an empty name", place=(text[:_MAX_RULE], 0))
    if len(name) > _MAX_NAME:
        raise ConfigError(
            f"expected a gate's name of at most {_MAX_NAME} characters, got {len(name)}", hint="Shorten the name."
        )
    return name, found.end()


def _check_length(text: str, most: int = _MAX_RULE) -> None:
    """Before any pattern searches a text that nobody wrote by hand."""
    if len(text) > most:
        raise ConfigError(
            f"{_EXPECTED}, got {len(text)} characters, more than {most}", place=(text[:_MAX_RULE], _MAX_RULE)
        )


class _Reader:
    """Reads one rule from left to right."""

    def __init__(self, text: str, start: int) -> None:
        _check_length(text[start:])
        self._text, self._at = text, start

    def rule(self, name: str | None) -> Rule:
        start = self._at
        path = [self._step()]
        while self._take("."):
            path.append(self._step())
        self._skip()
        found = _OPERATOR.match(self._text, self._at)
        if found is None:
            self._fail("expected <, <=, >, >=, in, not in or not worse here", hint=self._meant())
        self._at = found.end()
        operator, limit = " ".join(found[0].split()), math.nan
        members: tuple[str, ...] = ()
        if operator.endswith("in"):
            members = self._members()
        elif operator == "not worse":
            operator, members = "not in", ("worse",)
        else:
            limit = self._number()
        self._skip()
        if self._at < len(self._text):
            self._fail("expected the gate to end here", hint=_AFTER)
        return Rule(self._text[start:].strip(), name, tuple(path), operator, limit, members)

    def _step(self) -> Step:
        self._skip()
        at, found = self._at, _WORD.match(self._text, self._at)
        if found is None:
            self._fail("expected a name of result.json here", hint=_COMPARED if self._at else "")
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
            self._fail("expected ( and a list of words here", hint="For example: not in (strong, partial).")
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

    def _meant(self) -> str:
        """What to try where no operator was found."""
        if self._text.strip().lower() in ("default", "defaults"):
            return "Did you mean 'default'?"
        return _COMPARED

    def _fail(self, problem: str, at: int | None = None, hint: str = "") -> NoReturn:
        place = self._at if at is None else at
        raise ConfigError(
            f"{_EXPECTED}: {problem}, column {place + 1} of {self._text!r}", hint=hint, place=(self._text, place)
        )
