"""A folder of images: flat, or one subfolder per class."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from singaudit.dataset.columns import label_column
from singaudit.dataset.decode import read_regular_file
from singaudit.dataset.formats import START, SUFFIXES, format_of, looked_into, unread
from singaudit.dataset.interface import OWN_LABELS, LabelKind, Skipped
from singaudit.dataset.sources.foreign import told
from singaudit.dataset.sources.label_tools import TOOL_FILES, read_tool_table
from singaudit.dataset.sources.listing import Listing
from singaudit.dataset.sources.metadata_table import METADATA_FILES, MetadataTable, read_metadata_tables
from singaudit.errors import DatasetError

_MAX_FILES = 20_000_000
_SPLITS = {"test": 0, "testing": 0, "val": 1, "valid": 1, "validation": 1, "dev": 1, "train": 2, "training": 2}
"""Names of splits, and which is taken first: images that the classifier was not trained on tell more."""
_EXPECTED = "expected a folder of images (flat, or one subfolder per class)"


def open_folder(text: str, label: str | None = None) -> Listing:
    """List the image files below the folder ``text``, names sorted by code point.

    Subfolders are walked to any depth; links to folders are followed, each real folder once, so that no link can
    loop. Images are told by their suffix, or by their first bytes where it says nothing. What cannot be listed or read
    is left out and counted. Labels are those of a metadata file (its column ``label``, where there is a choice) or of
    a label tool's export, else the subfolders, if there are any: the first level, or the second where the first are
    splits such as train and test, of which one is taken. Raises ``DatasetError`` when the folder is missing, unreadable
    or holds no image.
    """
    root = _readable_folder(text)
    walk = _Walk(root)
    walk.all()
    if not walk.files:
        first = f"; left out: {walk.left_out[0].name} {walk.left_out[0].reason}" if walk.left_out else ""
        other = told(sorted(path.name for path in root.iterdir()), beside=True)
        first = first or (f"; {other[0]} {other[1]}" if other else "")
        hint = other[2] if other else "Name the folder that holds the images."
        raise DatasetError(f"{_EXPECTED}, but {text} holds no file that is one{first}", hint=hint)
    split, files, others = taken_split(walk.files)
    walk.left_out += others
    files, metadata = _listed(walk, root, sorted(files), split)
    names = [readable(path) for path in files]
    labels, source = folder_labels(names, split), OWN_LABELS
    kind: LabelKind = "folders"
    columns: dict[str, list[str]] = {}
    if metadata is not None:
        rows = [metadata.rows[path] for path in files]
        columns = {name: [cells[row] for row in rows] for name, cells in metadata.columns.items()}
        chosen = label_column(columns, label, metadata.where)
        if chosen is not None:
            labels, kind = tuple(cell or None for cell in columns.pop(chosen)), "column"
            source = f"the column {chosen} of {metadata.where}"
    elif label is not None:
        raise DatasetError(
            f"expected a table with the column {label!r}, the folder {text} has no metadata file",
            hint="Leave it out: --label-column is for tables: CSV, Parquet, hf: and folders with metadata.csv.",
        )
    if split and kind == "folders":
        source = f"the subfolders of {split}"
    return Listing(
        text,
        names,
        lambda index: read_regular_file(root / files[index]),
        labels,
        kind,
        columns,
        labels_from=source,
        left_out=tuple(sorted(walk.left_out, key=lambda skipped: skipped.name)),
        tables=metadata.files if metadata is not None else (),
    )


def _readable_folder(text: str) -> Path:
    """The folder that ``text`` names. Raises ``DatasetError`` where it is none or cannot be read."""
    root = Path(os.path.expanduser(text))
    if not root.exists():
        raise DatasetError(
            f"{_EXPECTED}, but there is no {text}",
            hint="Check the path; a word in capitals, as MORE_PHOTOS, stands for a folder of yours.",
        )
    if not root.is_dir():
        _, what, hint = told([root.name]) or ("", "is not a folder", "Name the folder that holds the images.")
        raise DatasetError(f"{_EXPECTED}, but {text} {what}", hint=hint)
    if not os.access(root, os.R_OK | os.X_OK):
        raise DatasetError(f"{_EXPECTED}, but {text} cannot be read", hint="Check the folder's permissions.")
    return root


def taken_split(files: list[str]) -> tuple[str, list[str], list[Skipped]]:
    """Of paths whose first level are splits of a data set: the one that is taken, its files, and the other splits.

    "" and all files otherwise.
    """
    firsts = Counter(path.partition("/")[0] if "/" in path else "" for path in files)
    if not all(name.lower() in _SPLITS for name in firsts):
        return "", files, []
    if len(firsts) == 1 and all(path.count("/") == 1 for path in files):
        return "", files, []  # one folder of images, which may be a class
    taken = min(firsts, key=lambda name: (_SPLITS[name.lower()], name))
    others = [
        Skipped(readable(name), f"is another split, of {count} images: {taken} was taken")
        for name, count in firsts.items()
        if name != taken
    ]
    return taken, [path for path in files if path.startswith(f"{taken}/")], others


def _listed(walk: _Walk, root: Path, files: list[str], split: str) -> tuple[list[str], MetadataTable | None]:
    """The files that a metadata file lists, where there is one; others are left out, as the datasets library does."""
    tables = sorted(path for path in walk.metadata if not split or path.startswith(f"{split}/"))
    found = read_metadata_tables(root, [path for path in tables if not path.endswith(TOOL_FILES)])
    found = found or _of_label_tool(root, [path for path in tables if path.endswith(TOOL_FILES)], files)
    if found is None:
        return files, None
    present = set(files)
    walk.left_out += [Skipped(readable(p), f"is not listed in {found.where}") for p in files if p not in found.rows]
    walk.left_out += [
        Skipped(readable(p)[:500], f"is listed in {found.where}, but no such image is there")
        for p in found.rows
        if p not in present
    ]
    kept = [path for path in files if path in found.rows]
    if not kept:
        raise DatasetError(
            f"expected {found.where} to list images of the folder, it lists none of its {len(files)}",
            hint="Its column file_name holds paths relative to the metadata file.",
        )
    return kept, found


def _of_label_tool(root: Path, tables: list[str], files: list[str]) -> MetadataTable | None:
    """What the one file of a label tool says; None where there is none, or several, which label parts each."""
    read = [table for path in tables if (table := read_tool_table(root, path, files)) is not None]
    return read[0] if len(read) == 1 else None


def folder_labels(names: Sequence[str], split: str) -> tuple[str | None, ...] | None:
    """(n,) the subfolder of each image, below the ``split`` where there is one; None where all lie flat."""
    start = len(split) + 1 if split else 0
    labels = tuple(name[start:].split("/", 1)[0] if "/" in name[start:] else None for name in names)
    return labels if any(label is not None for label in labels) else None


def readable(path: str) -> str:
    """A path as valid text: bytes that are no UTF-8 are shown escaped."""
    return path if path.isascii() else os.fsencode(path).decode("utf-8", "backslashreplace")


@dataclass
class _Walk:
    """Every image file below ``root``: real folders first, then links to folders that were not seen yet."""

    root: Path
    files: list[str] = field(default_factory=list)
    left_out: list[Skipped] = field(default_factory=list)
    metadata: list[str] = field(default_factory=list)
    """Metadata files of the datasets library."""
    _seen: set[tuple[int, int]] = field(default_factory=set)
    _links: list[str] = field(default_factory=list)

    def all(self) -> None:
        """Walk the root, then what links point to; a link to a folder already seen is left out."""
        self._tree("")
        while self._links:
            link = self._links.pop(0)
            self._tree(link, "is a link to a folder that was read already")

    def _tree(self, start: str, seen_reason: str = "was read already") -> None:
        pending = [start]
        while pending:
            folder = pending.pop()
            try:
                status = os.stat(self.root / folder)
                if (status.st_dev, status.st_ino) in self._seen:
                    self.left_out.append(Skipped(readable(folder), seen_reason))
                    continue
                self._seen.add((status.st_dev, status.st_ino))
                with os.scandir(self.root / folder) as entries:
                    found = sorted(entries, key=lambda entry: entry.name)
            except OSError as error:
                self.left_out.append(Skipped(readable(folder), f"cannot be read: {error.strerror}"))
                continue
            pending += [path for entry in reversed(found) if (path := self._subfolder(folder, entry)) is not None]
            if len(self.files) > _MAX_FILES:
                raise DatasetError(f"expected at most {_MAX_FILES} images, found more below {self.root}")

    def _subfolder(self, folder: str, entry: os.DirEntry[str]) -> str | None:
        """Take the entry as what it is; the path of a real subfolder is handed back."""
        path = f"{folder}/{entry.name}" if folder else entry.name
        if entry.name.startswith("."):
            return None
        is_image = entry.name.lower().endswith(SUFFIXES)
        try:
            is_folder = entry.is_dir()
        except OSError:  # a link in a circle
            is_folder = False
        if is_folder and is_image:
            self.left_out.append(Skipped(readable(path), "is a folder"))
        elif is_folder and entry.is_symlink():
            self._links.append(path)
        elif is_folder:
            return path
        elif is_image:
            self.files.append(path)
        elif entry.name in (*METADATA_FILES, *TOOL_FILES):
            self.metadata.append(path)
        elif reason := unread(entry.name):
            self.left_out.append(Skipped(readable(path), reason))
        elif looked_into(entry.name) and format_of(self._start(entry)) is not None:
            self.files.append(path)
        return None

    def _start(self, entry: os.DirEntry[str]) -> bytes:
        """The first bytes of a regular file; none of anything else, or of what cannot be read."""
        try:
            if not entry.is_file():
                return b""
            with open(entry.path, "rb", opener=_without_waiting) as file:
                return file.read(START)
        except OSError:
            return b""


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
