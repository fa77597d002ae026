"""Redaction, for reports that leave the house: no pictures, and names of images as short hashes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from singaudit.report.result.audit import AuditResult

_NAME_KEYS = {"gallery": ("name",), "near_original": ("name",), "near_equivalent": ("name",), "skipped": ("name",),
              "notes": ("first",), "pictures": ("image", "partner")}  # fmt: skip
_PICTURE_KEYS = ("thumbnail", "other_thumbnail")
_FILE_KEYS = ("file", "original_file")


def short_hash(name: str) -> str:
    """What stands for the name of an image. Who can guess the name can tell that it is meant."""
    return f"image-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:10]}"


def redacted(result: AuditResult) -> AuditResult:
    """The result without thumbnails, without names of images, and without the place that they came from.

    The numbers, findings and gates stay as they are; the checksum is another one's.
    """
    plain = result.model_dump(mode="json")
    names = set(_names(plain, ""))
    plain = _without_pictures(plain, "")
    if plain["data"] is not None:
        for part in ("audit", "probe"):
            if plain["data"][part] is not None:
                plain["data"][part]["source"] = "(redacted)"
        for part in ("units", "probe_units"):
            if plain["data"][part] is not None:
                joined = plain["data"][part]["joined"]
                plain["data"][part]["joined"] = [[short_hash(name) for name in unit] for unit in joined]
        plain["data"]["labels_source"] = "(redacted)"
    plain["reproduce"]["command"] = "(redacted)"
    plain["warnings"] = [_said(text, names) for text in plain["warnings"]]
    return AuditResult.model_validate({**plain, "checksum": ""})


def redacted_rows(per_image: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
    """Columns of scores.csv with the names of images as short hashes."""
    return {key: [short_hash(str(name)) for name in column] if key == "image" else column
            for key, column in per_image.items()}  # fmt: skip


def _names(node: Any, inside: str) -> Iterator[str]:
    """Every name of an image in the result."""
    if isinstance(node, dict):
        for key, value in node.items():
            if isinstance(value, str) and value and key in _NAME_KEYS.get(inside, ()):
                yield value
            elif isinstance(value, dict | list):
                yield from _names(value, key)
    elif isinstance(node, list):
        for item in node:
            yield from _names(item, inside)


def _without_pictures(node: Any, inside: str) -> Any:
    if isinstance(node, list):
        return [_without_pictures(item, inside) for item in node]
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
            out[key] = _without_pictures(value, key) if isinstance(value, dict | list) else value
    return out


def _said(text: str, names: set[str]) -> str:
    """A sentence with the names of images in it as hashes; "the first: NAME" may name one that stands nowhere else."""
    for name in sorted(names, key=len, reverse=True):
        if name in text:
            text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", short_hash(name), text)
    return re.sub(r"(; the first: )(?!image-[0-9a-f]{10})(.*)$", r"\1(redacted)", text)
