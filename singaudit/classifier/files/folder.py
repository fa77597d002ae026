"""Which files a model folder may lead to: plain files inside it, or links as the hub's cache lays them out."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from singaudit.classifier.files.content import check_regular
from singaudit.errors import ModelError

_LARGEST_DOCUMENT = 16 << 20
"""Bytes of a JSON document, a safetensors header among them; 50,000 tensors take some 5 MB."""
_MOST_SHARDS = 1000


def inner_file(folder: Path, name: str) -> Path:
    """The file ``name`` of a model folder. Raises ModelError unless it is a regular file that lies inside.

    In the hub's cache a file is a link from ``snapshots/REVISION/`` to ``blobs/`` of the same repository; no other
    link out of the folder is followed.
    """
    _check_plain(name)
    path = folder / name
    target, root = path.resolve(), folder.resolve()
    if root not in target.parents and blobs(root) not in target.parents:
        raise ModelError(
            f"{name} in {folder} is a link out of the model's folder", hint="Copy the file to where the link stands."
        )
    check_regular(path)
    return path


def _check_plain(name: str) -> None:
    if name in ("", ".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise ModelError(
            f"the model folder names the file {name[:80]!r}; expected a plain file name",
            hint="Keep all files of the model in its folder.",
        )


def blobs(folder: Path) -> Path | None:
    """Where the hub's cache keeps what the links in ``folder``, resolved, point to; None for other folders."""
    for inner in (folder, *folder.parents):
        repository = inner.parent.parent
        if inner.parent.name == "snapshots" and repository.name.startswith(("models--", "datasets--")):
            return repository / "blobs"
    return None


_LARGEST_NUMBER = 2**24
"""In the description of a network: sizes, counts and token numbers are smaller."""
_REPEATED = ("layers", "depth", "blocks")
"""Parts of the keys that say how often something with weights is repeated."""


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises ModelError for anything else, or more than 16 MiB of it."""
    check_regular(path)
    if path.stat().st_size > _LARGEST_DOCUMENT:
        raise ModelError(f"{path.name} has {path.stat().st_size:,} bytes; expected at most 16 MiB of JSON")
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path.name} is not JSON: {str(error)[:120]}", hint="Save or download it again.") from error
    if not isinstance(document, dict):
        raise ModelError(f"{path.name} holds a {type(document).__name__}; expected a JSON object")
    return document


def shards(folder: Path, index: str) -> list[Path]:
    """The files that a shard index (``model.safetensors.index.json``) lists, sorted. Raises ModelError."""
    return [inner_file(folder, name) for name in shard_names(folder, index)]


def shard_names(folder: Path, index: str) -> list[str]:
    """Names of the files that a shard index lists, sorted; plain names all of them. Raises ModelError."""
    listed = read_json(inner_file(folder, index)).get("weight_map")
    if not isinstance(listed, dict) or not listed or not all(isinstance(name, str) for name in listed.values()):
        raise ModelError(f"{index} holds no weight_map from tensors to files", hint="Download the repository again.")
    names = sorted(set(listed.values()))
    if len(names) > _MOST_SHARDS:
        raise ModelError(f"{index} lists {len(names)} files; expected at most {_MOST_SHARDS}")
    for name in names:
        _check_plain(name)
    return names


@dataclass(frozen=True)
class Held:
    """How much a file of weights holds, by its header."""

    tensors: int
    numbers: int


def check_safetensors(path: Path) -> Held:
    """What a safetensors file holds. ModelError unless its header is within bounds and its tensors within the file."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if length > min(_LARGEST_DOCUMENT, size - 8):
            raise ModelError(
                f"{path.name} claims a header of {length:,} bytes; the file has {size:,}",
                hint="It is damaged or cut short: download it again.",
            )
        text = stream.read(length)
    try:
        header = json.loads(text)
        header.pop("__metadata__", None)
        ends = [int(item["data_offsets"][1]) for item in header.values()]
        numbers = sum(math.prod(int(side) for side in item["shape"]) for item in header.values())
    except (ValueError, RecursionError, TypeError, LookupError, AttributeError, OverflowError) as error:
        raise ModelError(f"the header of {path.name} is not what safetensors writes", hint="Save it again.") from error
    if not ends or max(ends) + 8 + length != size:
        raise ModelError(
            f"{path.name} is damaged or cut short: {size:,} bytes, its header promises "
            f"{max(ends, default=0) + 8 + length:,}",
            hint="Download or save it again.",
        )
    return Held(len(header), numbers)


def check_numbers(document: Any, name: str, tensors: int) -> None:
    """ModelError where the description of a network asks for more than the weights beside it can be.

    A network is built before weights are put into it: a size of 10^12, or 2^63 layers where the file holds ``tensors``
    tensors, would take the machine's memory or never end.
    """
    found: list[tuple[str, Any]] = [("", document)]
    while found:
        key, value = found.pop()
        if isinstance(value, dict):
            found += value.items()
        elif isinstance(value, list):
            if any(word in key for word in _REPEATED) and sum(n for n in value if type(n) is int) > tensors:
                raise _too_many(name, key, "more", tensors)
            found += [(key, item) for item in value]
        elif type(value) is int and (
            abs(value) > _LARGEST_NUMBER or (any(word in key for word in _REPEATED) and value > tensors)
        ):
            raise _too_many(name, key, f"{value:.6g}" if abs(value) < 1e300 else "more", tensors)


def _too_many(name: str, key: str, value: str, tensors: int) -> ModelError:
    return ModelError(
        f"{name} states {value} for {key[:60]!r}, which no network of the {tensors} tensors beside it has",
        hint="Download or save the model again.",
    )
