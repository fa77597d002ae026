"""Redaction, for reports that leave the house: no pictures, names of images as short hashes, no paths of a machine.

Numbers, findings, gates, class names and the sha256 of the model and of images' contents stay: without them nobody can
tell what was audited, nor compare it with the next release.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from singaudit.config import AuditConfig
from singaudit.report.result.audit import AuditResult

REDACTED = "(redacted)"
_NAME_KEYS = {
    "gallery": ("name",),
    "near_original": ("name",),
    "near_equivalent": ("name",),
    "skipped": ("name",),
    "notes": ("first",),
    "pictures": ("image", "partner"),
}
_PICTURE_KEYS = ("thumbnail", "other_thumbnail")
_FILE_KEYS = ("file", "original_file")
_SENTENCES = frozenset(
    ["reason", "reasons", "sentence", "warnings", "not_evaluated", "source", "class_names_source", "runtime", "ran_on",
     "unsupported", "note", "why"]
)  # fmt: skip
"""Keys whose texts may quote a path or the name of an image."""
_HASHED = re.compile(r"image-[0-9a-f]{10}")
_FIRST = re.compile(r"(; the first: )(image-[0-9a-f]{10})?(.*)$", re.DOTALL)
_PATH = re.compile(
    r"(?<![\w/.:<-])(?:~?(?:/[^\s/'\",;:()]+){2,}/?|~/[^\s'\",;()]*|[A-Za-z]:\\[^\s'\",;()]+|\\\\[^\s'\",;()]+)"
)
_PLACES = ("images", "probe", "labels", "translator", "vlm", "class-prompts", "concepts", "pack", "baseline", "decode",
           "ray-address")  # fmt: skip
"""Options that name what lies on a machine or belongs to a house."""
_FLAGS = frozenset(name.replace("_", "-") for name, field in AuditConfig.model_fields.items() if field.default is False)
_PUBLIC = re.compile(r"auto|none|(?:shapes:\d+(?::\d+)?|(?:builtin|timm|torchvision|open_clip):[\w./-]+)")
_ON_THE_HUB = re.compile(r"[\w.-]+/[\w.-]+(?:@[\w.-]+)?")


def short_hash(name: str) -> str:
    """What stands for the name of an image. Who can guess the name can tell that it is meant."""
    if _HASHED.fullmatch(name):
        return name
    return f"image-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:10]}"


def redacted(result: AuditResult) -> AuditResult:
    """The result without thumbnails, names of images, paths, and the places that models and images came from.

    Redacting twice changes nothing more. The checksum is another one's, and ``redacted`` says so.
    """
    plain = result.model_dump(mode="json")
    local = _local_names(plain)
    said = _Sentences(plain, local)
    command = redacted_command(result.reproduce.command, result.model.name, local)
    plain = _without(plain, "", said)
    for part in _image_sets(plain):
        part["source"] = REDACTED
    if plain["data"] is not None:
        for units in filter(None, (plain["data"]["units"], plain["data"]["probe_units"])):
            units["joined"] = [[short_hash(name) for name in unit] for unit in units["joined"]]
        plain["data"]["labels_source"] = REDACTED
        for table in plain["data"]["tables"]:
            table["name"] = REDACTED
    if plain["encoder"] is not None and plain["encoder"]["name"] in local:
        plain["encoder"]["name"] = REDACTED
    if plain["encoder"] is not None and plain["encoder"]["pack"] is not None:
        plain["encoder"]["pack"]["name"] = REDACTED
    if plain["decoding"] is not None and plain["decoding"]["decoder"] in local:
        plain["decoding"]["decoder"] = REDACTED
    plain["reproduce"]["command"] = command
    return AuditResult.model_validate({**plain, "checksum": "", "redacted": True})


def redacted_rows(per_image: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
    """Columns of scores.csv with the names of images as short hashes."""
    return {
        key: [short_hash(str(name)) for name in column] if key == "image" else column
        for key, column in per_image.items()
    }


def redacted_run(run: Mapping[str, Any]) -> dict[str, Any]:
    """What run.json may say: when and how long; not where, by whom, nor from what."""
    return {key: run[key] for key in ("started", "seconds", "tool") if key in run}


def redacted_command(command: str, model: str, local: Collection[str] = ()) -> str:
    """The command with a word in capitals for every place of this machine; still one that can be typed.

    ``model`` is the model's name, ``local`` further words that are places.
    """
    try:
        words = shlex.split(command)
    except ValueError:
        return REDACTED
    if words[:2] != ["singaudit", "run"] or len(words) < 3:
        return REDACTED
    out, i = ["singaudit", "run", words[2] if _PUBLIC.fullmatch(words[2]) else model], 3
    while i < len(words):
        option = words[i].removeprefix("--")
        out.append(words[i])
        i += 1
        if option not in _FLAGS and i < len(words):
            out.append(_kept(option, words[i], local))
            i += 1
    return shlex.join(out)


def _kept(option: str, value: str, local: Collection[str]) -> str:
    """An option's value where it names no place, else a word for what stands there."""
    return option.upper().replace("-", "_") if _is_place(option, value, local) else _PATH.sub(REDACTED, value)


def _is_place(option: str, value: str, local: Collection[str] = ()) -> bool:
    if value in local:
        return True
    if _PUBLIC.fullmatch(value) or (option in ("vlm", "decode") and _ON_THE_HUB.fullmatch(value)):
        return False
    return option in _PLACES or (option == "classes" and "," not in value)


def _local_names(plain: dict[str, Any]) -> set[str]:
    """Texts that name what lies on this machine, as the command and the result have them."""
    found = {part["source"] for part in _image_sets(plain) if not _PUBLIC.fullmatch(part["source"])}
    encoder, decoding = plain["encoder"], plain["decoding"]
    # A commit of the hub has 40 digits, the weights of a folder a sha256.
    if encoder is not None and re.fullmatch("[0-9a-f]{64}", encoder["revision"]) and ":" not in encoder["name"]:
        found.add(encoder["name"])
    if decoding is not None and decoding["revision"] is None:
        found.add(decoding["decoder"])
    try:
        words = shlex.split(plain["reproduce"]["command"])
    except ValueError:
        words = []
    found |= {value for option, value in pairwise(words[3:]) if _is_place(option.removeprefix("--"), value)}
    if len(words) > 2 and not _PUBLIC.fullmatch(words[2]):
        found.add(words[2])
    return found - {REDACTED, plain["model"]["name"], *plain["model"]["class_names"]}


def _image_sets(plain: dict[str, Any]) -> list[dict[str, Any]]:
    data = plain["data"]
    return [] if data is None else [part for part in (data["audit"], data["probe"]) if part is not None]


def _names(node: Any, inside: str) -> Iterator[str]:
    """Every name of an image in the result."""
    if isinstance(node, dict):
        for key, value in node.items():
            if isinstance(value, str) and value and key in _NAME_KEYS.get(inside, ()):
                yield value
            elif inside in ("units", "probe_units") and key == "joined":
                yield from (name for unit in value for name in unit)
            elif isinstance(value, dict | list):
                yield from _names(value, key)
    elif isinstance(node, list):
        for item in node:
            yield from _names(item, inside)


def _without(node: Any, inside: str, said: _Sentences) -> Any:
    if isinstance(node, list):
        return [_without(item, inside, said) for item in node]
    if isinstance(node, str):
        return said(node) if inside in _SENTENCES else node
    if not isinstance(node, dict):
        return node
    out: dict[str, Any] = {}
    for key, value in node.items():
        if key in _PICTURE_KEYS:
            out[key] = ""
        elif key in _FILE_KEYS and value is not None:
            out[key] = None
        elif isinstance(value, str) and value and key in _NAME_KEYS.get(inside, ()):
            out[key] = short_hash(value)
        else:
            out[key] = _without(value, key, said)
    return out


class _Sentences:
    """Sentences without what must not leave; made once for a result."""

    def __init__(self, plain: dict[str, Any], local: Collection[str]) -> None:
        # A word of one's own language is no path, though a folder may be called so.
        self._words = dict.fromkeys((name for name in local if re.search(r"[/\\.]", name)), REDACTED)
        self._words |= {name: short_hash(name) for name in _names(plain, "")}
        for name in plain["model"]["class_names"]:
            self._words.pop(name, None)
        ordered = sorted(self._words, key=len, reverse=True)
        self._known = re.compile("|".join(rf"(?<!\w){re.escape(word)}(?!\w)" for word in ordered)) if ordered else None
        self._reasons = {self._plain(skipped["reason"]) for part in _image_sets(plain) for skipped in part["skipped"]}

    def __call__(self, text: str) -> str:
        # What comes after it may name an image that stands nowhere else.
        found = _FIRST.sub(
            lambda m: f"{m[1]}{m[2] or REDACTED}{m[3] if m[3].strip() in self._reasons else ''}", self._plain(text)
        )
        return found if found == text else found[: max(4000, len(text))]

    def _plain(self, text: str) -> str:
        if self._known is not None:
            text = self._known.sub(lambda match: self._words[match[0]], text)
        return _PATH.sub(REDACTED, text)
