"""Gates and waivers of a configuration file, each with the line it stands in."""

from __future__ import annotations

import json
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

from singaudit.errors import ConfigError

MAX_NAME = 16_384
"""Characters of a gate's name."""
_WAIVER_KEYS = {"gate", "until", "reason", "model"}
_WAIVER = '[[tool.singaudit.waivers]] with gate = "colour", until = 2027-01-31, reason = "retrained by then"'


def gates_of(value: Any, path: Path, text: str) -> tuple[dict[str, Any], ...]:
    """Gates as a rule, a list of rules, or a table of names and rules; ``text`` is the file's. Raises ConfigError."""
    if isinstance(value, str):
        value = [value]
    if isinstance(value, list) and all(isinstance(rule, str) and rule.strip() for rule in value):
        return tuple({"rule": rule, "file": str(path), "line": _line(text, None, rule)} for rule in value)
    if not isinstance(value, dict):
        raise ConfigError(
            f"expected gates as rules, a text each, or a table of names and rules in {path}, got {str(value)[:80]!r}",
            hint='For example: gates = ["default"], or [tool.singaudit.gates] with "colour is kept" = '
            '"finding[colour] not in (strong, partial)".',
        )
    found = []
    for name, rule in value.items():
        if not isinstance(rule, str) or not rule.strip():
            raise ConfigError(
                f"expected a rule as text for the gate {name[:200]!r} in {path}, got {type(rule).__name__}",
                hint='A name with dots or blanks stands in quotes: "colour v1.2" = "...".',
            )
        if not name.strip() or len(name) > MAX_NAME:
            raise ConfigError(
                f"expected a gate's name of 1 to {MAX_NAME:,} characters in {path}, one has {len(name.strip()):,}"
            )
        found.append({"name": name, "rule": rule, "file": str(path), "line": _line(text, name, rule)})
    return tuple(found)


def _line(text: str, name: str | None, rule: str) -> int:
    """The line of a gate; 1 where it cannot be told, as for one that goes over several lines."""
    near = 0
    for number, line in enumerate(text.splitlines(), 1):
        holds = rule in line or json.dumps(rule)[1:-1] in line
        if name is None:
            if holds:
                return number
            continue
        try:
            if _holds(tomllib.loads(line), name, rule):
                return number
        except (ValueError, RecursionError):
            pass
        near = near or (number if holds else 0)
    return near or 1


def _holds(table: Any, name: str, rule: str) -> bool:
    """Whether a line's table, or one inside of it, has the gate."""
    if not isinstance(table, dict):
        return False
    return table.get(name) == rule or any(_holds(value, name, rule) for value in table.values())


def waivers_of(value: Any, path: Path) -> tuple[dict[str, Any], ...]:
    """Waivers as plain data. Raises ConfigError for a missing key, an unknown one, or a date that is none."""
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise ConfigError(f"expected waivers as tables in {path}, got {type(value).__name__}", hint=f"Write {_WAIVER}.")
    return tuple(_waiver(entry, path) for entry in value)


def _waiver(entry: dict[str, Any], path: Path) -> dict[str, Any]:
    whose = f"the waiver of {str(entry.get('gate', '?'))[:200]!r} in {path}"
    unknown = sorted(set(entry) - _WAIVER_KEYS)
    if unknown:
        raise ConfigError(f"unknown key {unknown[0]!r} in {whose}", hint=f"Known: {', '.join(sorted(_WAIVER_KEYS))}.")
    for key in ("gate", "reason", "model"):
        wanted = key != "model" or key in entry
        if wanted and not (isinstance(entry.get(key), str) and entry[key].strip()):
            raise ConfigError(f"expected {key} as a text in {whose}", hint=f"Write {_WAIVER}.")
    if len(entry["gate"]) > MAX_NAME or len(entry["reason"]) > 2000:
        raise ConfigError(f"expected a shorter text in {whose}", hint="A reason has at most 2,000 characters.")
    model = entry.get("model")
    if model is not None and not (
        model.startswith("sha256:") and len(model) == 71 and set(model[7:]) <= set("0123456789abcdef")
    ):
        raise ConfigError(
            f"expected model as sha256: and 64 hex digits in {whose}, got {model[:80]!r}",
            hint="See result.json or singaudit inspect for a model's sha256.",
        )
    return {**entry, "until": _day(entry.get("until"), whose)}


def _day(value: Any, whose: str) -> date:
    if type(value) is date:
        return value
    if isinstance(value, str):
        try:
            return date.fromisoformat(value) if len(value) == 10 else _no_day(value, whose)
        except ValueError:
            pass
    return _no_day(value, whose)


def _no_day(value: Any, whose: str) -> date:
    got = "none" if value is None else repr(str(value)[:40])
    raise ConfigError(
        f"expected until as a date in {whose}, got {got}",
        hint="The last day it counts, as 2027-01-31, without a time.",
    )
