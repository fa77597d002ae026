"""Labels as label tools export them beside a folder of images: FiftyOne's labels.json and CVAT's annotations.xml."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.parsers import expat

from singaudit.dataset.columns import MAX_TEXT_BYTES, TableFile, read_text_file
from singaudit.dataset.decode import UndecodableError, read_regular_file
from singaudit.dataset.sources.metadata_table import MetadataTable
from singaudit.errors import DatasetError

FIFTYONE, CVAT = "labels.json", "annotations.xml"
TOOL_FILES = (FIFTYONE, CVAT)
"""Names of such files."""
_LABEL = "label"
_MOST_CELLS = 50_000_000
"""Images times attributes of one file."""


def read_tool_table(root: Path, file: str, images: Sequence[str]) -> MetadataTable | None:
    """What the file (path below ``root``) says of the ``images`` (paths below it); None where it is another tool's.

    The column label holds an image's class, "" where it has none or more than one. Raises ``DatasetError``.
    """
    read = _READERS[Path(file).name](root / file)
    if read is None:
        return None
    said, table = read
    start = f"{file.rpartition('/')[0]}/" if "/" in file else ""
    places = _places(images, start, stems=file.endswith(FIFTYONE))
    rows: dict[str, int] = {}
    columns: dict[str, list[str]] = {_LABEL: [], **{name: [] for one in said.values() for name in one.more}}
    if len(columns) * len(said) > _MOST_CELLS:
        raise DatasetError(f"expected fewer attributes in {file}, its {len(said):,} images have {len(columns) - 1:,}")
    for name, one in said.items():
        rows[places.get(name, f"{start}{name}")] = len(columns[_LABEL])
        cells = {**one.more, _LABEL: one.labels[0] if len(one.labels) == 1 else ""}
        for column, found in columns.items():
            found.append(cells.get(column, ""))
    return MetadataTable(file, rows, columns, (table,))


def _places(images: Sequence[str], start: str, stems: bool) -> dict[str, str]:
    """Name in the file -> the image's path: beside the file, or in its folders data/ or images/, and their first level.

    ``stems``: names without suffix.
    """
    found: dict[str, str] = {}
    for path in sorted(images, key=lambda path: path.count("/"), reverse=True):
        inner = path.removeprefix(start)
        names = [inner]
        if inner.startswith(("data/", "images/")):
            names.append(inner.partition("/")[2])
        if inner.startswith("images/") and inner.count("/") > 1:  # CVAT puts the subset's name between
            names.append(inner.split("/", 2)[2])
        for name in names:
            found[name.rpartition(".")[0] if stems and "." in name else name] = path
    return found


@dataclass
class _Said:
    """Of one image."""

    labels: list[str] = field(default_factory=list)
    more: dict[str, str] = field(default_factory=dict)
    """Attributes of its label."""


def _fiftyone(path: Path) -> tuple[Mapping[str, _Said], TableFile] | None:
    """FiftyOneImageClassificationDataset: {"classes": [...], "labels": {image without suffix: class or its number}}."""
    try:
        text, file = read_text_file(path, "labels of FiftyOne as JSON")
        document = json.loads(text)
        labels = document.get("labels") if isinstance(document, dict) else None
        if not isinstance(labels, dict) or "classes" not in document:
            return None
        classes = document["classes"] if isinstance(document["classes"], list) else []
        return {str(name): _Said(_named(target, classes)) for name, target in labels.items()}, file
    except (ValueError, RecursionError):  # many files have this name
        return None


def _named(target: Any, classes: Sequence[Any]) -> list[str]:
    if isinstance(target, dict):  # with a confidence beside it
        target = target.get("label")
    if isinstance(target, list):  # of several classes
        return [name for item in target for name in _named(item, classes)]
    if isinstance(target, str):
        return [target]
    if type(target) is int and 0 <= target < len(classes):
        return [str(classes[target])]
    return []


def _cvat(path: Path) -> tuple[Mapping[str, _Said], TableFile] | None:
    """CVAT for images 1.1: <image name> with a <tag label> for its class, attributes in it; shapes are passed over."""
    try:
        data = read_regular_file(path, MAX_TEXT_BYTES)
    except UndecodableError as error:
        raise DatasetError(f"expected annotations as XML, but {path} {error}", hint="Check the file.") from error
    reader = _CvatReader()
    try:
        reader.parser.Parse(data, True)
    except _OtherError:
        return None
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise DatasetError(
            f"expected annotations of CVAT as XML in {path}: {str(error)[:100]}",
            hint="Export it again, or take it out of the folder.",
        ) from error
    return (reader.images, TableFile(path, hashlib.sha256(data).hexdigest())) if reader.is_cvats else None


class _OtherError(Exception):
    """XML of some other tool."""


class _CvatReader:
    """Takes what is read of a document as it comes; no tree is built, and a document type, with its entities, is
    refused."""

    def __init__(self) -> None:
        self.images: dict[str, _Said] = {}
        self.is_cvats = False
        self._image: _Said | None = None
        self._attribute: str | None = None
        self._in_tag = False
        self._depth = 0
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = self._doctype
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text

    def _doctype(self, *_: Any) -> None:
        raise ValueError("it declares a document type, whose entities are never read")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth == 1 and name != "annotations":
            raise _OtherError
        if self._depth == 2 and name == "image" and "name" in attributes:
            self.is_cvats = True
            self._image = self.images.setdefault(attributes["name"].replace("\\", "/"), _Said())
        elif self._depth == 3 and name == "tag" and self._image is not None:
            self._in_tag = True
            self._image.labels.append(attributes.get("label", ""))
        elif self._depth == 4 and name == "attribute" and self._in_tag:
            self._attribute = attributes.get("name", "")

    def _text(self, text: str) -> None:
        if self._attribute and self._image is not None and self._attribute != _LABEL:
            self._image.more[self._attribute] = (self._image.more.get(self._attribute, "") + text).strip()

    def _end(self, name: str) -> None:
        if self._depth == 4:
            self._attribute = None
        elif self._depth == 3:
            self._in_tag = False
        elif self._depth == 2:
            self._image = None
        self._depth -= 1


_READERS = {FIFTYONE: _fiftyone, CVAT: _cvat}
