"""Images in tar archives named as webdataset does: KEY.jpg beside KEY.cls, KEY.json or KEY.txt, in many shards."""

from __future__ import annotations

import glob
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from singaudit.dataset.columns import label_column
from singaudit.dataset.decode import UndecodableError
from singaudit.dataset.formats import SUFFIXES
from singaudit.dataset.interface import LabelKind, Skipped
from singaudit.dataset.sources.listing import Listing
from singaudit.dataset.sources.tar_index import Member, Shard, index_tar
from singaudit.dataset.sources.tar_samples import read_samples
from singaudit.errors import DatasetError

_MAX_SHARDS = 100_000
_MAX_BESIDE = 2**20
_BRACE = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d{1,9})\.\.(\d{1,9})")


def open_shards(text: str, label: str | None = None) -> Listing:
    """Images of one or more tar archives: a path, a glob (``*``), a brace pattern (``{000..012}``) or a folder.

    Members are reached in place: nothing is unpacked, links are not followed, names are only shown. A label is
    KEY.cls (a class name or position), else "label" of KEY.json (or its ``label``), else the text of KEY.txt where that
    is a class name; where nothing lies beside any image, its folder where that is one; further texts and numbers of
    KEY.json are columns. A sample's second image, such as KEY.mask.png,
    is left out and counted. Order: shards by name, members as stored. Raises ``DatasetError``.
    """
    shards = [index_tar(path) for path in expand(text, ".tar")]
    places: list[tuple[int, Member]] = []
    beside: list[Mapping[str, Member]] = []
    left_out: list[Skipped] = []
    for number, shard in enumerate(shards):
        found = read_samples(shard)
        places += [(number, sample.image) for sample in found.samples]
        beside += [sample.beside for sample in found.samples]
        left_out += found.left_out
    if not places:
        first = f"; left out: {left_out[0].name} {left_out[0].reason}" if left_out else ""
        raise DatasetError(
            f"expected images in the {len(shards)} tar archives of {text}, found none{first}",
            hint=f"Their members' names must end in {', '.join(SUFFIXES)}.",
        )
    labels, kind, columns = _known(text, shards, [number for number, _ in places], beside, label)
    if labels is None and not any(beside):
        labels, kind = _folders([member.name for _, member in places]), "beside"
    several = len(shards) > 1
    names = [f"{shards[number].name}/{m.name}" if several else m.name for number, m in places]
    which = np.array([number for number, _ in places], np.int32)
    where = np.array([(m.offset, m.size) for _, m in places], np.int64)

    def fetch(index: int) -> bytes:
        offset, size = where[index]
        return shards[which[index]].read(int(offset), int(size))

    return Listing(text, names, fetch, labels, kind, columns=columns, left_out=tuple(left_out))


def expand(text: str, suffix: str) -> list[Path]:
    """The files that a path, glob, brace pattern or folder names, those ending in ``suffix``, by name.

    Raises ``DatasetError`` where there are none, or where a brace pattern names one that is missing.
    """
    patterns = list(_braces(os.path.expanduser(text)))
    found: dict[str, None] = {}
    for pattern in patterns:
        if Path(pattern).is_dir():
            found |= dict.fromkeys(str(p) for p in Path(pattern).iterdir() if p.name.lower().endswith(suffix))
        elif Path(pattern).exists() or not glob.has_magic(pattern):
            found[pattern] = None
        else:
            found |= dict.fromkeys(p for p in glob.iglob(pattern) if p.lower().endswith(suffix))
    missing = [path for path in found if not Path(path).exists()]
    if missing or not found:
        raise DatasetError(
            f"expected {suffix} files at {text}, there is no {missing[0] if missing else 'such file'}",
            hint="Check the path; several are given by a folder, a glob in quotes, or braces: 'data-{000..011}.tar'.",
        )
    return [Path(path) for path in sorted(found)]


def _braces(text: str) -> Iterator[str]:
    """The texts that ``{a,b}`` and ``{000..012}`` stand for."""
    pending, made = [text], 0
    while pending:
        pattern = pending.pop()
        match = _BRACE.search(pattern)
        if match is None or Path(pattern).exists():
            made += 1
            if made > _MAX_SHARDS:
                raise DatasetError(f"expected at most {_MAX_SHARDS} shards, {text[:200]} names more")
            yield pattern
            continue
        between = _RANGE.fullmatch(match[1])
        if between is None:
            words: Sequence[str] = match[1].split(",")
        else:
            low, high = int(between[1]), int(between[2])
            if high - low >= _MAX_SHARDS:
                raise DatasetError(f"expected at most {_MAX_SHARDS} shards, {text[:200]} names more")
            words = [str(i).zfill(len(between[1])) for i in range(low, high + 1)]
        pending += [pattern[: match.start()] + word + pattern[match.end() :] for word in reversed(words)]


def _known(
    text: str,
    shards: Sequence[Shard],
    numbers: Sequence[int],
    beside: Sequence[Mapping[str, Member]],
    wanted: str | None,
) -> tuple[tuple[str | None, ...] | None, LabelKind, dict[str, list[str]]]:
    """Labels, where they stand, and columns of the images whose samples are ``beside``."""
    facts = [_json(shards[n], members.get(".json")) for n, members in zip(numbers, beside, strict=True)]
    table = {name: [fact.get(name, "") for fact in facts] for name in sorted({name for fact in facts for name in fact})}
    if wanted is None and any(".cls" in members for members in beside):
        found = [_text(shards[n], members.get(".cls")) for n, members in zip(numbers, beside, strict=True)]
        return tuple(text or None for text in found), "column", table
    label = label_column(table, wanted, f"the JSON members of {text}")
    if label is not None:
        return tuple(cell or None for cell in table.pop(label)), "column", table
    if any(".txt" in members for members in beside):
        found = [_text(shards[n], members.get(".txt")) for n, members in zip(numbers, beside, strict=True)]
        return tuple(text or None for text in found), "beside", table
    return None, "column", table


def _folders(names: Sequence[str]) -> tuple[str | None, ...] | None:
    """Of each member its first folder below those that all share, as an image folder put into an archive has them."""
    ways = [name.removeprefix("./").split("/")[:-1] for name in names]
    first, last = min(ways), max(ways)
    shared = next((at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))
    found = tuple(way[shared] if len(way) > shared else None for way in ways)
    return found if any(found) else None


def _text(shard: Shard, member: Member | None) -> str:
    if member is None or member.reason or member.size > _MAX_BESIDE:
        return ""
    try:
        return shard.read(member.offset, member.size).decode("utf-8", "replace").strip()
    except UndecodableError:
        return ""


def _json(shard: Shard, member: Member | None) -> dict[str, str]:
    try:
        document: Any = json.loads(_text(shard, member) or "{}")
    except (ValueError, RecursionError):
        return {}
    if not isinstance(document, dict):
        return {}
    kept = {name: value for name, value in document.items() if isinstance(value, str | int | float)}
    return {name: str(value).strip() for name, value in list(kept.items())[:100]}
