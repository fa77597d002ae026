"""Settings: options and variables over ``[tool.singaudit]`` in pyproject.toml, or singaudit.toml, over defaults."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from singaudit.cli.command import each_command
from singaudit.cli.gate_tables import gates_of, waivers_of
from singaudit.errors import ConfigError

_MAX_BYTES = 2**20
_TABLES = ("gates", "policy", "waivers")
_NOT_SET = (ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP)


def merged_settings(ctx: click.Context, given: dict[str, Any]) -> dict[str, Any]:
    """Options and variables over configuration file over defaults; keys that were not set are absent."""
    set_here = {
        name: value
        for name, value in given.items()
        if value is not None and value != () and ctx.get_parameter_source(name) not in _NOT_SET
    }
    known = _known_options(ctx)
    _check_variables(known)
    names = {key: str(option.name) for key, option in known.items()}
    stored = load_settings(given.get("config"), isolated=bool(given.get("isolated")), known=names)
    by_name = {str(option.name): option for option in known.values()}
    settings = {n: _typed(by_name[n], value, ctx) if n in by_name else value for n, value in stored.items()}
    defaults = {name: value for name, value in given.items() if value is not None and value != ()}
    return {**defaults, **settings, **set_here}


def _typed(option: click.Option, value: Any, ctx: click.Context) -> Any:
    """A configuration file's value for ``option``. Raises ``ConfigError`` for one of another type or out of range."""
    kind = option.type
    numbers: dict[type[click.ParamType], tuple[tuple[type, ...], str]] = {
        click.types.IntParamType: ((int,), "a whole number"),
        click.types.FloatParamType: ((int, float), "a number"),
    }
    wanted, words = next((w for base, w in numbers.items() if isinstance(kind, base)), ((str, tuple), "a text"))
    if not isinstance(value, wanted) or isinstance(value, bool) or (isinstance(value, float) and value != value):
        raise ConfigError(
            f"expected {words} for {option.name!r} in the configuration file, got {str(value)[:80]!r}",
            hint=f"What {option.opts[-1]} accepts is in --help.",
        )
    if isinstance(value, tuple):
        return value
    try:
        return kind.convert(value, option, ctx)
    except click.BadParameter as error:
        raise ConfigError(
            f"wrong value for {option.name!r} in the configuration file: {error.message}",
            hint=f"What {option.opts[-1]} accepts is in --help.",
        ) from error


def _known_options(ctx: click.Context) -> dict[str, click.Option]:
    """Configuration key -> option, over every command, so that one file serves all."""
    known: dict[str, click.Option] = {}
    root = ctx.find_root().command
    for _, command in each_command(root) if isinstance(root, click.Group) else ():
        for parameter in command.params:
            if isinstance(parameter, click.Option) and parameter.envvar:
                known[str(parameter.envvar).removeprefix("SINGAUDIT_").lower()] = parameter
    return known


def _check_variables(known: Iterable[str]) -> None:
    """Raise ``ConfigError`` for a variable that is nearly an option's: a gate that is not heard would pass."""
    for name in sorted(os.environ):
        key = name.removeprefix("SINGAUDIT_").lower()
        near = [] if key == name.lower() or key in known else difflib.get_close_matches(key, known, 1, 0.8)
        if near:
            raise ConfigError(f"unknown variable {name}", hint=f"Did you mean SINGAUDIT_{near[0].upper()}?")


def load_settings(config: str | None, *, isolated: bool, known: dict[str, str]) -> dict[str, Any]:
    """Settings of the nearest configuration file, as parameter name -> value.

    ``known`` maps file keys to parameter names. ``config`` names the file; otherwise singaudit.toml in this folder,
    else the pyproject.toml of this folder or of the nearest one above that has one. Raises ``ConfigError``.
    """
    if isolated:
        return {}
    path = Path(config) if config else _find()
    if path is None:
        return {}
    if not path.is_file():
        raise ConfigError(
            f"expected a TOML configuration file, there is no file {path}", hint="Check --config, or pass --isolated."
        )
    if path.stat().st_size > _MAX_BYTES:
        raise ConfigError(
            f"expected at most {_MAX_BYTES} bytes of configuration, {path} is larger",
            hint="Name another file with --config, or pass --isolated.",
        )
    try:
        text = path.read_text(encoding="utf-8")
        table = tomllib.loads(text)
    except (ValueError, RecursionError, OSError) as error:  # numbers too long for Python are a ValueError too
        raise ConfigError(
            f"expected TOML in {path}: {str(error)[:300]}", hint="Correct the file, or pass --isolated."
        ) from error
    if path.name == "pyproject.toml" or (config and "tool" in table):
        for name in ("tool", "singaudit"):
            table = table.get(name, {})
            if not isinstance(table, dict):
                raise ConfigError(
                    f"expected a table [tool.singaudit] in {path}, found {type(table).__name__}",
                    hint='For example: [tool.singaudit] with images = "photos/".',
                )
    return _checked(table, path, known, text)


def _find() -> Path | None:
    try:
        here = Path.cwd()
    except OSError:  # the folder one is in was removed
        return None
    if (here / "singaudit.toml").is_file():
        return here / "singaudit.toml"
    return next((f / "pyproject.toml" for f in (here, *here.parents) if (f / "pyproject.toml").is_file()), None)


def _checked(table: dict[str, Any], path: Path, known: dict[str, str], text: str) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    spelled: dict[str, str] = {}
    for key, value in table.items():
        plain = key.replace("-", "_")
        if plain == "policy":
            settings["policy"] = _policy(value, path)
            continue
        if plain == "waivers":
            settings["waivers"] = waivers_of(value, path)
            continue
        if plain == "gates":
            plain = "gate"
        if plain in spelled:
            raise ConfigError(
                f"expected one spelling of a key, {spelled[plain]!r} and {key!r} are both in {path}",
                hint="Keep one of the two.",
            )
        spelled[plain] = key
        if plain not in known:
            near = difflib.get_close_matches(plain, [*known, *_TABLES], 1)
            raise ConfigError(
                f"unknown key {key!r} in {path}",
                hint=f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(sorted([*known, *_TABLES]))}.",
            )
        settings[known[plain]] = gates_of(value, path, text) if plain == "gate" else _value(key, value, path)
    return settings


def _value(key: str, value: Any, path: Path) -> Any:
    if value == "":
        raise ConfigError(f"expected a text for {key!r} in {path}, it is empty", hint="Leave the key out.")
    if isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ",".join(value)
    raise ConfigError(
        f"expected a text, number, true/false or list of texts for {key!r} in {path}",
        hint='For example: images = "photos/", limit = 1000, gates = ["default"].',
    )


def _policy(table: Any, path: Path) -> dict[str, tuple[str, ...]]:
    """The policy table as class -> concepts. Raises ``ConfigError``."""
    if not isinstance(table, dict):
        raise ConfigError(
            f"expected a table [policy] in {path}, got {type(table).__name__}",
            hint='For example: [tool.singaudit.policy] with car = ["colour", "object_part: wheel"].',
        )
    for owner, concepts in table.items():
        if not isinstance(concepts, list) or not all(isinstance(c, str) and c.strip() for c in concepts):
            raise ConfigError(f"expected a list of concepts and groups for {owner!r} in the policy of {path}")
    return {owner: tuple(concepts) for owner, concepts in table.items()}
