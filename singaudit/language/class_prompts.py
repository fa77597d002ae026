"""Texts that stand for classes whose names are no words, such as codes or synsets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from singaudit.dataset.columns import named_column, read_csv, read_text
from singaudit.errors import ConfigError, DatasetError
from singaudit.language.concepts import Group, class_group

_WHAT = "texts for the classes"
_MAX_TEXT = 1000
_EXAMPLE = "One line a class in the order of the logits, or a CSV file with the columns class,prompt."


def worded_classes(names: tuple[str, ...], path: str | None) -> Group:
    """The classes' own group, said by the texts of the file ``path`` where there is one, else by their names."""
    return class_group(names, class_prompts(path, names) if path is not None else ())


def class_prompts(path: str, names: Sequence[str]) -> tuple[str, ...]:
    """(c,) the text that stands for each of ``names`` by the file ``path``.

    A .csv file has the columns class and prompt and a line for every class, in any order; any other file is text, a
    line a class in the order of the logits. Raises ``ConfigError`` naming what is missing, unknown or said twice.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise ConfigError(f"expected a file of {_WHAT}, there is no file {path}", hint="Check --class-prompts.")
    try:
        texts = _of_table(file, names) if file.suffix.lower() == ".csv" else _of_lines(file, names)
    except DatasetError as error:
        raise ConfigError(error.message, hint=_EXAMPLE) from error
    empty = [name for name, text in zip(names, texts, strict=True) if not text or len(text) > _MAX_TEXT]
    if empty:
        raise ConfigError(
            f"expected a text of 1 to {_MAX_TEXT} characters for each class, {empty[0]!r} has none in {path}",
            hint=_EXAMPLE,
        )
    said: dict[str, str] = {}
    for name, text in zip(names, texts, strict=True):
        if (other := said.setdefault(text.casefold(), name)) != name:
            raise ConfigError(
                f"expected a text of its own for each class, {other!r} and {name!r} are both {text!r}",
                hint="Tell the classes apart, e.g. by an added word.",
            )
    return texts


def _of_lines(file: Path, names: Sequence[str]) -> tuple[str, ...]:
    lines = [line.strip() for line in read_text(file, _WHAT).splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    if len(lines) != len(names):
        raise ConfigError(f"expected {len(names)} lines of {_WHAT} in {file}, found {len(lines)}", hint=_EXAMPLE)
    return tuple(lines)


def _of_table(file: Path, names: Sequence[str]) -> tuple[str, ...]:
    columns = read_csv(file, _WHAT)
    owner, text = named_column(columns, ("class", "name", "label")), named_column(columns, ("prompt", "text"))
    if owner is None or text is None:
        raise ConfigError(f"expected the columns class,prompt in {file}, found {', '.join(columns)}", hint=_EXAMPLE)
    owners = [name.strip() for name in columns[owner]]
    if unknown := sorted(set(owners) - set(names)):
        raise ConfigError(f"expected names of classes in {file}, {unknown[0]!r} is none", hint=_EXAMPLE)
    if len(set(owners)) < len(owners):
        twice = next(name for name in owners if owners.count(name) > 1)
        raise ConfigError(f"expected one text a class in {file}, {twice!r} has several", hint=_EXAMPLE)
    found = dict(zip(owners, columns[text], strict=True))
    return tuple(found.get(name, "").strip() for name in names)
