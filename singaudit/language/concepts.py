"""Concepts: words and groups of words that features are compared with, and the prompts that carry them."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from singaudit.errors import LanguageError
from singaudit.language.encoders.table import BUILTIN
from singaudit.language.interface import Encoder
from singaudit.language.meaningless import WORDS

Array = NDArray[np.float64]

# Every prompt is said in several ways; the mean embedding depends less on the wording than any one of them.
LEADS = ("an image of", "a photo of", "a picture of")
ABSENT = "an image"
"""What a single concept is compared with: the value of images that do not show it."""
_MAX_BYTES = 4 * 2**20
_MAX_CONCEPTS = 20_000
_EXAMPLE = 'A text file holds one concept a line; TOML holds groups: [colour] with values = ["red", "green"].'


@dataclass(frozen=True)
class Group:
    """Mutually exclusive values of one attribute."""

    name: str
    """e.g. colour; "class" is the classes' own group."""
    values: tuple[str, ...]
    """e.g. red, blue, ..."""
    template: str
    """Contains {} where the value goes."""
    kind: Literal["class", "group", "concept"] = "group"
    """The classes' own group; values of one attribute; or one concept, whose values are itself and ``ABSENT``."""
    texts: tuple[str, ...] = ()
    """What stands for each value in prompts, where that is not the value itself."""

    @property
    def said(self) -> tuple[str, ...]:
        """What stands for each value in prompts."""
        return self.texts or self.values


@dataclass(frozen=True)
class Vocabulary:
    """What the audit looks for."""

    source: str
    """File name, or "built-in ...", for the report."""
    groups: tuple[Group, ...]
    """Attributes with mutually exclusive values."""
    concepts: tuple[str, ...]
    """Single concepts without a group."""


def open_vocabulary(path: str | None, encoder_name: str) -> Vocabulary:
    """Read concepts from a text file (one a line) or TOML groups; the built-in vocabulary when ``path`` is None.

    TOML: a table per attribute with ``values = [...]`` and an optional ``template = "a photo of a {} shape"``.
    Raises ``LanguageError`` naming the place.
    """
    if path is None:
        shapes = encoder_name == BUILTIN
        file = "demo/concepts.toml" if shapes else "language/vocabulary.toml"
        text = (resources.files("singaudit") / file).read_text(encoding="utf-8")
        return _parse_groups(text, "built-in, generated world" if shapes else "built-in, natural images")
    file_path = Path(path)
    if not file_path.is_file():
        raise LanguageError(
            f"expected a file of concepts, there is no file {path}", hint="Check the path given to --concepts."
        )
    if file_path.stat().st_size > _MAX_BYTES:
        raise LanguageError(f"expected at most {_MAX_BYTES} bytes of concepts, {path} is larger", hint=_EXAMPLE)
    try:
        text = file_path.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, OSError) as error:
        raise LanguageError(f"expected concepts as UTF-8 text in {path}: {error}", hint=_EXAMPLE) from error
    if file_path.suffix.lower() == ".toml":
        return _parse_groups(text, file_path.name)
    words = tuple(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))
    if not words:
        raise LanguageError(f"expected concepts in {path}, one a line, found none", hint=_EXAMPLE)
    return check_vocabulary(Vocabulary(file_path.name, (), words))


def _parse_groups(text: str, source: str) -> Vocabulary:
    try:
        tables = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # numbers too long for Python are a ValueError too
        raise LanguageError(f"expected TOML in {source}: {error}", hint=_EXAMPLE) from error
    groups = []
    for name, table in tables.items():
        where = f"group {name!r} of {source}"
        if not isinstance(table, dict):
            raise LanguageError(
                f"expected a table with values = [...] for {where}, found {type(table).__name__}", hint=_EXAMPLE
            )
        if unknown := sorted(set(table) - {"values", "template"}):
            raise LanguageError(
                f"expected only values and template in {where}, found {', '.join(unknown)}", hint=_EXAMPLE
            )
        values, template = table.get("values"), table.get("template", "a {}")
        if not isinstance(values, list) or not all(isinstance(v, str) for v in values):
            raise LanguageError(f"expected values = [...] of non-empty texts in {where}", hint=_EXAMPLE)
        if not isinstance(template, str):
            raise LanguageError(f"expected a template with one {{}} in {where}, found {template!r}", hint=_EXAMPLE)
        groups.append(Group(name, tuple(v.strip() for v in values), template))
    return check_vocabulary(Vocabulary(source, tuple(groups), ()))


def check_vocabulary(found: Vocabulary) -> Vocabulary:
    """The vocabulary as it is, wherever it was read. Raises ``LanguageError`` for one that no audit can look for."""
    source = found.source
    names = [*(group.name for group in found.groups), *found.concepts]
    if not 1 <= sum(len(group.values) for group in found.groups) + len(found.concepts) <= _MAX_CONCEPTS:
        raise LanguageError(f"expected some and at most {_MAX_CONCEPTS} concepts in {source}", hint=_EXAMPLE)
    if "class" in names:
        raise LanguageError(f"the name class is kept for the model's own classes; rename it in {source}", hint=_EXAMPLE)
    for group in found.groups:
        where = f"group {group.name!r} of {source}"
        if len(group.values) < 2 or len(set(group.values)) < len(group.values):
            raise LanguageError(
                f"expected at least two different values in {where}, found {len(set(group.values))}", hint=_EXAMPLE
            )
        if not all(value.strip() for value in group.values):
            raise LanguageError(f"expected values = [...] of non-empty texts in {where}", hint=_EXAMPLE)
        if group.template.count("{}") != 1:
            raise LanguageError(
                f"expected a template with one {{}} in {where}, found {group.template!r}", hint=_EXAMPLE
            )
    if len(set(names)) < len(names) or not all(name.strip() for name in names):
        raise LanguageError(f"expected different names that are not empty in {source}", hint=_EXAMPLE)
    return found


def class_group(class_names: tuple[str, ...], texts: tuple[str, ...] = ()) -> Group:
    """The classes as a group, with underscores read as spaces; ``texts`` stand for them where they are no words."""
    return Group("class", class_names, "{}" if texts else "a {}", "class", texts)


def numbered_group(name: str, count: int, kind: Literal["class", "group", "concept"] = "group") -> Group:
    """A group whose values are known by their number alone, as where there are arrays and no words."""
    return Group(name, tuple(map(str, range(count))), "{}", kind)


def concept_group(concept: str) -> Group:
    """One concept as a group of two values: present or absent."""
    return Group(concept, (concept, ABSENT), "{}", "concept")


def prompts(template: str, value: str, leads: tuple[str, ...] = LEADS) -> list[str]:
    """The ways in which a value is said: its template after each lead, with the right article."""
    said = template.replace("{}", value.replace("_", " "))
    for lead in LEADS:
        if said.startswith(lead + " "):
            said = said[len(lead) + 1 :]
            break
    first, _, rest = said.partition(" ")
    if first in ("a", "an") and rest:
        said = ("an " if rest[0].lower() in "aeiou" else "a ") + rest
    return [f"{lead} {said}" for lead in leads]


def embed_group(encoder: Encoder, group: Group, leads: tuple[str, ...] = LEADS) -> Array:
    """Unit text embeddings (values, d) of a group: the normalised mean over the leads. float64."""
    texts = [text for value in group.said for text in prompts(group.template, value, leads)]
    each = encoder.encode_texts(texts).reshape(len(group.values), len(leads), -1)
    mean = each.mean(axis=1)
    return mean / np.linalg.norm(mean, axis=1, keepdims=True)


def all_prompts(groups: tuple[Group, ...], concepts: tuple[str, ...]) -> list[str]:
    """Every text that an audit with these groups and single concepts asks a vision-language model for, once each."""
    said = [(group.template, value) for group in groups for value in group.said] + [("{}", c) for c in concepts]
    texts = [text for template, value in said for text in prompts(template, value)]
    templates = dict.fromkeys(group.template for group in groups)
    texts += [text for template in templates for text in meaningless_prompts(template)]
    return list(dict.fromkeys(texts + (absent_prompts(LEADS) if concepts else [])))


def meaningless_prompts(template: str) -> list[str]:
    """Words that no image shows, said once each as the values of a group with that template are."""
    return [text for word in WORDS for text in prompts(template, word, LEADS[:1])]


def embed_meaningless(encoder: Encoder, group: Group) -> Array:
    """(k, d) unit embeddings of the words that no image shows, as the group's values are said."""
    each = encoder.encode_texts(meaningless_prompts(group.template)).astype(np.float64)
    result: Array = each / np.linalg.norm(each, axis=1, keepdims=True)
    return result


def absent_prompts(leads: tuple[str, ...]) -> list[str]:
    """What single concepts are compared with: "an image of" without anything it is of."""
    return [lead.removesuffix(" of") for lead in leads]


def embed_groups(encoder: Encoder, groups: Sequence[Group]) -> list[tuple[Array, Array]]:
    """Per group its values' embeddings (values, d) by all leads, and by all but the first: another way to say them."""
    single = [group for group in groups if group.kind == "concept"]
    words = Group("", tuple(group.values[0] for group in single), "{}")
    ways = []
    for leads in (LEADS, LEADS[1:]):
        present = embed_group(encoder, words, leads) if single else np.zeros((0, 0))
        absent = encoder.encode_texts(absent_prompts(leads)).astype(np.float64).mean(axis=0) if single else np.ones(1)
        absent /= np.linalg.norm(absent)
        rows = iter(present)
        ways.append(
            [
                np.stack([next(rows), absent]) if group.kind == "concept" else embed_group(encoder, group, leads)
                for group in groups
            ]
        )
    return list(zip(*ways, strict=True))
