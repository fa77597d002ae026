"""Class names as people keep them: a,b,c; a list that timm knows; lines, numbered lines, synsets, CSV, JSON or YAML."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from singaudit.classifier.class_lists import PREFIX, described, timm_class_names
from singaudit.config import check_class_names, told_apart
from singaudit.errors import ConfigError

_LARGEST_FILE = 64 * 2**20
_MOST_CLASSES = 1_000_000
_NUMBERED = re.compile(r"(\d{1,7})(?:\s*[,:;\t]\s*|\s+)(\S.*)", re.ASCII)
_SYNSET = re.compile(r"(n\d{8})(?:(?:\s*[,:;\t]\s*|\s+)(\S.*))?", re.ASCII)
_LISTS = (
    "names",
    "id2label",
    "classes",
    "class_names",
    "label_names",
    "labels",
    "categories",
    "idx_to_class",
    "CLASSES",
)
"""Keys under which documents keep their class names."""
_NAMES = ("name", "class_name", "class", "label", "label_name", "description")
_NUMBERS = ("index", "id", "idx", "class_id", "class_index", "label_id", "")


def parse_classes(text: str) -> tuple[str, ...]:
    """Class names in logit order from ``a,b,c``, ``timm:LIST`` or a file.

    A file holds one name a line; lines numbered from 0, or from 1 where there are three and more ("0 cat", "0, tench");
    synsets ("n01440764 tench", or alone, as timm describes them); CSV with a number and a name; JSON (a list, numbers
    to names, or names to numbers); or YAML with ``names:``. Names that occur more than once in a file get their logit's
    number. Raises ``ConfigError``.
    """
    if text.startswith(PREFIX):
        return told_apart(timm_class_names(text))
    path = Path(text)
    try:
        is_file = path.is_file()
    except (OSError, ValueError):  # a long list of names is no valid path
        is_file = False
    if not is_file:
        if "," not in text and ("/" in text or text.lower().endswith((".txt", ".csv", ".json", ".yaml", ".yml"))):
            raise ConfigError(
                f"expected class names a,b,c or a file of names, there is no file {text}",
                hint="Check the path given to --classes.",
            )
        return check_class_names(tuple(text.split(",")))
    return told_apart(_in_file(path))


def _in_file(path: Path) -> tuple[str, ...]:
    if path.stat().st_size > _LARGEST_FILE:
        raise ConfigError(
            f"expected at most {_LARGEST_FILE} bytes of class names, {path} is larger",
            hint="Name a text file with one class name a line.",
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, OSError) as error:
        raise ConfigError(
            f"expected class names as UTF-8 text, one a line, in {path}: {error}", hint="Save the file as UTF-8."
        ) from error
    suffix = path.suffix.lower()
    if suffix == ".json" or text.lstrip()[:2] in ('["', '{"', "{\n", "[\n", "{\r", "[\r"):
        names = _document(_json(text, path), path)
    elif suffix in (".yaml", ".yml"):
        names = _document(_yaml(text, path), path)
    else:
        lines = text.splitlines()
        while lines and not lines[-1].strip():
            lines.pop()
        names = (suffix in (".csv", ".tsv") and _of_table(lines)) or names_of_lines(lines)
    if len(names) > _MOST_CLASSES:
        raise ConfigError(f"expected at most {_MOST_CLASSES} class names, {path} has {len(names)}")
    return names


def names_of_lines(lines: Sequence[str]) -> tuple[str, ...]:
    """Class names of lines that hold a name each, a number and a name, or a synset and perhaps a name."""
    lines = [line.strip() for line in lines]
    synsets = [_SYNSET.fullmatch(line) for line in lines]
    if lines and all(synsets):
        found = [match for match in synsets if match]
        if all(match[2] for match in found):
            return tuple(match[2].strip() for match in found)
        return described([match[1] for match in found]) or tuple(lines)
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    if lines and all(numbered):
        pairs = sorted((int(match[1]), match[2].strip().strip('"')) for match in numbered if match)
        numbers, names = [number for number, _ in pairs], tuple(name for _, name in pairs)
        # "1 euro" and "2 euro" are names: counted from 1 it takes three, and names that stay apart.
        from_zero = numbers == list(range(len(lines)))
        from_one = numbers == list(range(1, len(lines) + 1)) and len(lines) > 2 and len(set(names)) == len(names)
        if from_zero or from_one:
            return names
    return tuple(lines)


def _of_table(lines: Sequence[str]) -> tuple[str, ...] | None:
    """Class names of a CSV file with a header, where two of its columns are a number and a name; None otherwise."""
    import csv

    if not lines:
        return None
    separator = next((c for c in "\t;," if c in lines[0]), ",")
    rows = list(csv.reader(lines, delimiter=separator))
    header = [cell.strip().casefold() for cell in rows[0]]
    name = next((header.index(word) for word in _NAMES if word in header), None)
    number = next((header.index(word) for word in _NUMBERS if word in header), None)
    if name is None or number is None or not all(len(row) == len(header) for row in rows[1:]):
        return None
    return _ordered({row[number].strip(): row[name].strip() for row in rows[1:]})


def _json(text: str, path: Path) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"expected class names as JSON in {path}: {str(error)[:150]}", hint="Correct it.") from error


def _yaml(text: str, path: Path) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:150]
        raise ConfigError(f"expected class names as YAML in {path}: {reason}", hint="Correct it.") from error


def _document(value: Any, path: Path) -> tuple[str, ...]:
    names = names_of(value)
    if names is None:
        raise ConfigError(
            f"expected a list of class names in {path}, or an object of numbers from 0 and names",
            hint='For example ["cat", "dog"], {"0": "cat", "1": "dog"}, or one name a line in a .txt file.',
        )
    return names


def names_of(value: Any) -> tuple[str, ...] | None:
    """Class names in logit order of a document: a list of names or of {id, name}, numbers to names (or to [synset,
    name]), names to numbers, or an object that holds one of these under a usual key. None for anything else."""
    if isinstance(value, Mapping):
        return next((found for key in _LISTS if (found := names_of(value.get(key))) is not None), None) or _ordered(
            value
        )
    if not isinstance(value, list | tuple) or not value:
        return None
    if all(isinstance(item, str) for item in value):
        return names_of_lines(value)
    if all(isinstance(item, Mapping) and isinstance(item.get("name"), str) for item in value):
        numbers = [item.get("id", at) for at, item in enumerate(value)]
        return _ordered(dict(zip(numbers, (item["name"] for item in value), strict=True))) or tuple(
            item["name"] for item in sorted(value, key=lambda item: str(item.get("id")).zfill(9))
        )
    return None


def _ordered(value: Mapping[Any, Any]) -> tuple[str, ...] | None:
    """Names of a mapping between 0..c-1 and names, in either direction; None for anything else."""
    if value and all(type(item) is int for item in value.values()):
        value = {number: name for name, number in value.items()}
    named: dict[int, str] = {}
    for key, item in value.items():
        if isinstance(item, list | tuple) and len(item) == 2:  # [synset, name]
            item = item[1]
        try:
            number = int(key)
        except (TypeError, ValueError):
            return None
        if not isinstance(item, str):
            return None
        named[number] = item
    if len(named) != len(value) or sorted(named) != list(range(len(named))):
        return None
    return tuple(named[number] for number in range(len(named))) or None
