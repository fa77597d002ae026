"""A folder of arrays, one .npy file each, and names.json: read without copying, and without trusting what is there.

Arrays are mapped read-only into memory. Pickled objects are never loaded, links and pipes never followed, and a file
that is not expected is refused: a mistyped name would leave out what it holds without a word.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from singaudit.classifier.interface import Activation
from singaudit.config import told_apart
from singaudit.errors import ConfigError

NAMES = "names.json"
_REQUIRED = ("weight", "bias", "features", "embeddings", "class_texts")
_OPTIONAL = ("class_labels", "units", "probe_features", "probe_embeddings", "probe_units")
_OF_GROUPS = ("group", "second", "labels", "meaningless")
_MAX_NAMES_BYTES = 64 * 2**20
_MAX_FILES = 20_000
_HINT = (
    "weight.npy, bias.npy, features.npy, embeddings.npy, class_texts.npy, group.NAME.npy, labels.NAME.npy, ... and "
    "names.json; see the guide on arrays."
)

AnyArray = NDArray[np.generic]


class Names(BaseModel):
    """What names.json says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    classes: tuple[str, ...] = Field(min_length=1, description="In the order of the logits.")
    groups: dict[str, tuple[str, ...]] = Field(default={}, description="The values of each group, in its texts' order.")
    images: tuple[str, ...] | None = Field(default=None, description="Of the features' rows, for scores.csv.")
    model: str | None = Field(default=None, min_length=1, max_length=1000, description="What the head is called.")
    encoder: str | None = Field(default=None, min_length=1, max_length=1000, description="What made the embeddings.")
    activation: Activation | None = Field(default=None, description="What follows the logits.")


@dataclass(frozen=True)
class Folder:
    """What a folder of arrays holds, shapes and values not checked yet."""

    path: Path
    """Where."""
    names: Names
    """What things are called."""
    arrays: Mapping[str, AnyArray]
    """By the files' names without .npy, of those that belong to no group."""
    groups: Mapping[str, Mapping[str, AnyArray]]
    """Per group its arrays: group, second, labels, meaningless."""


def open_folder(path: str) -> Folder:
    """Open a folder of arrays. Raises ``ConfigError`` for whatever in it is not as it should be; nothing is copied."""
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise ConfigError(f"expected a folder of arrays, there is no folder {path}", hint=_HINT)
    names = _names(folder)
    files = sorted(folder.iterdir())
    if len(files) > _MAX_FILES:
        raise ConfigError(f"expected at most {_MAX_FILES:,} files in {path}, found {len(files):,}", hint=_HINT)
    arrays: dict[str, AnyArray] = {}
    groups: dict[str, dict[str, AnyArray]] = {name: {} for name in names.groups}
    for file in files:
        if file.suffix != ".npy":
            continue
        kind, dot, group = file.stem.partition(".")
        if dot and kind in _OF_GROUPS and group in groups:
            groups[group][kind] = _mapped(file)
        elif not dot and kind in (*_REQUIRED, *_OPTIONAL):
            arrays[kind] = _mapped(file)
        else:
            known = f"; {NAMES} names the groups {', '.join(groups) or 'none'}" if dot and kind in _OF_GROUPS else ""
            raise ConfigError(f"expected no file {file.name!r} in {path}: it would not be used{known}", hint=_HINT)
    missing = [f"{name}.npy" for name in _REQUIRED if name not in arrays]
    missing += [f"group.{name}.npy" for name, parts in groups.items() if "group" not in parts]
    if missing:
        raise ConfigError(f"expected {missing[0]} in {path}, it is not there", hint=_HINT)
    _check_names(names, arrays, groups)
    return Folder(folder, names, arrays, groups)


def _names(folder: Path) -> Names:
    file = folder / NAMES
    try:
        if not stat.S_ISREG(file.lstat().st_mode):
            raise ConfigError(f"expected {NAMES} to be a file, in {folder} it is none", hint=_HINT)
        if file.stat().st_size > _MAX_NAMES_BYTES:
            raise ConfigError(f"expected at most {_MAX_NAMES_BYTES:,} bytes of {NAMES}, it has more", hint=_HINT)
        found = json.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise ConfigError(f"expected {NAMES} in {folder}, it is not there", hint=_HINT) from error
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"expected JSON in {file}: {error}", hint=_HINT) from error
    try:
        names = Names.model_validate(found)
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}"[:200] for e in error.errors()[:5])
        raise ConfigError(
            f"expected classes, and the values of groups, in {file}: {said}",
            hint='For example {"classes": ["cat", "dog"], "groups": {"colour": ["red", "blue"]}}',
        ) from error
    for group, values in names.groups.items():
        if len(set(values)) < len(values) or not all(v.strip() for v in (group, *values)):
            raise ConfigError(
                f"expected different values, none empty, of the group {group[:200]!r} in {file}", hint="Rename them."
            )
    return names.model_copy(update={"classes": told_apart(names.classes)})


def _mapped(file: Path) -> AnyArray:
    """The array of ``file``, mapped read-only."""
    if not stat.S_ISREG(file.lstat().st_mode):
        raise ConfigError(f"expected a file of one array, {file.name!r} is a link or no file", hint="Copy it there.")
    try:
        found: AnyArray = np.load(file, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # what hostile headers raise is any of a dozen kinds
        if isinstance(error, MemoryError):
            raise
        raise ConfigError(
            f"expected an array of numbers in {file.name!r}, it cannot be read as one: {str(error)[:300]}",
            hint="Write one with np.save(file, array); objects are not loaded.",
        ) from error
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "fiu":
        raise ConfigError(
            f"expected an array of numbers in {file.name!r}, found {getattr(found, 'dtype', 'an archive')}",
            hint="Write it with np.save(file, array.astype(np.float32)), or integers for labels and units.",
        )
    return found


def _check_names(names: Names, arrays: Mapping[str, AnyArray], groups: Mapping[str, Mapping[str, AnyArray]]) -> None:
    """Raise ``ConfigError`` where names and arrays count differently."""
    counted: list[tuple[str, int, AnyArray]] = [("classes", len(names.classes), arrays["weight"])]
    counted += [(f"the group {name!r}", len(names.groups[name]), parts["group"]) for name, parts in groups.items()]
    if names.images is not None:
        counted.append(("images", len(names.images), arrays["features"]))
    for what, count, array in counted:
        rows = array.shape[0] if array.ndim else 0
        if rows != count:
            raise ConfigError(
                f"expected as many names of {what} in {NAMES} as its array has rows, found {count} and {rows}",
                hint=_HINT,
            )


def arguments(folder: Folder) -> dict[str, Any]:
    """The folder's arrays as ``check_arrays`` takes them."""
    groups = folder.groups
    return {
        **folder.arrays,
        "groups": {n: (g["group"], g["second"]) if "second" in g else g["group"] for n, g in groups.items()},
        "labels": {name: parts["labels"] for name, parts in groups.items() if "labels" in parts},
        "meaningless": {name: parts["meaningless"] for name, parts in groups.items() if "meaningless" in parts},
    }
