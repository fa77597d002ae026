"""What people say of their images: a class each, and values of concept groups, checked against what is known."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from singaudit.dataset.columns import LABEL_COLUMNS, TableFile, label_column, one_hot
from singaudit.dataset.interface import ImageSource
from singaudit.dataset.label_file import LabelFile, read_label_file
from singaudit.errors import DatasetError

_SYNSET = re.compile(r"n\d{8}")
_POSITION = re.compile(r"\d{1,9}(?:\.0+)?", re.ASCII)
"""A class's position, as tables with gaps write it too: 3.0."""


def read_labels(source: ImageSource, labels: str) -> str | LabelFile:
    """``auto`` and ``none`` as they are, else the file that ``labels`` names. Raises ``DatasetError``."""
    return labels if labels in ("auto", "none") else read_label_file(source, labels)


def tables_of(source: ImageSource, labels: str | LabelFile) -> tuple[TableFile, ...]:
    """The text files that say which images there are and what they show, the label file last."""
    return (*getattr(source, "tables", ()), *((labels.file,) if isinstance(labels, LabelFile) else ()))


def resolve_labels(
    source: ImageSource, labels: str | LabelFile, class_names: Sequence[str], column: str | None = None
) -> tuple[list[int] | None, str]:
    """A class index per image, (n,), or None, and where the labels came from, in words.

    ``labels`` is ``auto`` (what the source knows; subfolders must be class names), ``none``, or a CSV file with the
    columns path and label (or ``column``), by its name or as it was read. Labels in columns may also be positions of
    classes, from 0, when all of them are and no class has such a name. Letter case and underscores do not matter where
    no two classes differ in them alone, and WordNet synsets name the classes of the lists that timm knows. Raises
    ``DatasetError`` naming the labels that are no class, or an image without one.
    """
    if labels == "none":
        return None, "none: --labels none"
    index = {name: i for i, name in enumerate(class_names)}
    given = None if labels == "auto" else _cells(source, labels)
    if given is not None and (chosen := label_column(given, column, str(labels))):
        return _indices(given[chosen], index, source, True, f"add it to {labels}"), "the label file"
    found = source.labels
    hot = one_hot(given if given is not None else source.columns if found is None else {}, class_names)
    if hot is not None:
        where = labels if given is not None else source.name
        return [index[name] for name in hot], f"the columns of {where} named as the classes, one of them 1 in each row"
    if found is None:
        where, columns = ("the source", source.columns) if given is None else ("the label file", given)
        return None, f"none: {where} has no labels{_unused(columns)}"
    if source.label_kind == "beside" and not {key(label) for label in found if label} & {key(name) for name in index}:
        return None, f"none: no text beside the images of {source.name} is a class name"
    mend = "move these images into a class's subfolder" if source.label_kind == "folders" else "fill them in"
    return _indices(found, index, source, source.label_kind != "folders", mend), source.labels_from


def _unused(columns: Mapping[str, Sequence[str]]) -> str:
    """What a table has in the place of labels, in words."""
    if not columns:
        return ""
    return (
        f": of its columns ({_some(list(columns))}) none is called label, class or the like; --label-column names one"
    )


def resolve_group_labels(
    source: ImageSource, labels: str | LabelFile, groups: Mapping[str, Sequence[str]]
) -> dict[str, NDArray[np.intp]]:
    """The images' own values of concept groups, as far as their user states them.

    ``groups`` maps a group's name to its values. A column of the label file ``labels`` (or of the source, where the
    file has none; ``auto`` and ``none`` name no file) with a group's name gives each image's value. Returns per
    group with such a column (n,) positions in its values, -1 where the cell is empty; letter case does not matter.
    Raises ``DatasetError`` naming cells that are no value of their group.
    """
    columns: dict[str, Sequence[str]] = {key(name): column for name, column in source.columns.items()}
    if labels not in ("auto", "none"):
        columns |= {key(name): column for name, column in _cells(source, labels).items()}
    found = {}
    for group, values in groups.items():
        column = columns.get(key(group))
        if column is None:
            continue
        index = {"": -1, **{key(value): i for i, value in enumerate(values)}}
        keys = [key(cell) for cell in column]
        if unknown := sorted(set(keys) - set(index)):
            raise DatasetError(
                f"expected the column {group!r} to hold values of that concept group, but {len(unknown)} are none: "
                f"{_some(unknown)}",
                hint=f"Its values are {_some(values)}; correct the cells, add values with --concepts, leave cells "
                "empty where the value is not known, or rename the column.",
            )
        indices = np.array([index[k] for k in keys], dtype=np.intp)
        if (indices >= 0).any():
            found[group] = indices
    return found


UNIT_COLUMN = "unit"
"""A column of this name says which images show the same scene, without being asked for."""


def resolve_units(source: ImageSource, labels: str | LabelFile, units: str) -> NDArray[np.int64] | None:
    """The scene of each image by a column, (n,) numbers, one of its own for an image with an empty cell.

    ``units`` is a column's name, or ``auto``: the column called unit where there is one. None where no column says.
    Raises ``DatasetError`` for a column that does not exist.
    """
    if units == "none":
        return None
    columns: dict[str, Sequence[str]] = {key(name): column for name, column in source.columns.items()}
    if labels not in ("auto", "none"):
        columns |= {key(name): column for name, column in _cells(source, labels).items()}
    column = columns.get(key(UNIT_COLUMN if units == "auto" else units))
    if column is None and units == "auto":
        return None
    if column is None:
        there = f"there are {_some(sorted(columns))}" if columns else "there are no columns"
        raise DatasetError(
            f"expected --units to name a column of {source.name} or of its label file, got {units!r}; {there}",
            hint="Give --labels FILE, a CSV with the columns path and one that names the scene of each image; or "
            "--units auto, or none.",
        )
    known = {cell: number for number, cell in enumerate(dict.fromkeys(cell for cell in column if cell))}
    return np.array([known[cell] if cell else len(known) + row for row, cell in enumerate(column)], np.int64)


def label_columns(source: ImageSource, labels: str | LabelFile) -> dict[str, tuple[Sequence[str], str]]:
    """Everything that is stated of each image beside its class: column name -> ((n,) texts, where they stand).

    Columns of the label file ``labels`` before those of the source, and those before what a generated world knows of
    its own images. An empty text is unknown. Raises ``DatasetError``.
    """
    found: dict[str, tuple[Sequence[str], str]] = {}
    for name, column in getattr(source, "attributes", {}).items():
        found[name] = column, f"the attributes of {source.name}"
    for name, column in source.columns.items():
        found[name] = column, f"the columns of {source.name}"
    if labels not in ("auto", "none"):
        for name, cells in _cells(source, labels).items():
            if name.casefold() not in LABEL_COLUMNS:
                found[name] = cells, "the label file"
    return found


def key(text: str) -> str:
    """A name or value as it is compared: letter case, underscores and outer spaces do not matter."""
    return unicodedata.normalize("NFC", text).strip().casefold().replace("_", " ")


def _indices(
    found: Sequence[str | None], index: Mapping[str, int], source: ImageSource, positions: bool, mend: str
) -> list[int]:
    """The class of every label; ``positions``: labels may be class positions. ``mend``: what to do for missing ones."""
    # Class names are composed (NFC); folders of some file systems are not.
    found = [label and unicodedata.normalize("NFC", label).strip() for label in found]
    without = [i for i, label in enumerate(found) if not label]
    if without:
        raise DatasetError(
            f"expected a label for each of {len(found)} images of {source.name}, {len(without)} have none, such as "
            f"{source.names[without[0]]!r}",
            hint=f"Please {mend}, or pass --labels none.",
        )
    wanted: set[str] = {str(label) for label in found}
    known = {label: index[label] for label in wanted if label in index}
    numbers = all(_POSITION.fullmatch(label) for label in wanted)
    if positions and numbers and not known and max(int(float(label)) for label in wanted) < len(index):
        return [int(float(str(label))) for label in found]
    loosely = _by_key(index)
    known |= {label: loosely[key(label)] for label in wanted - known.keys() if key(label) in loosely}
    if wanted - known.keys() and all(_SYNSET.fullmatch(label) for label in wanted):
        from singaudit.classifier.class_lists import synset_positions

        known = {label: at for label, at in synset_positions(list(index)).items() if label in wanted}
    if unknown := sorted(wanted - known.keys()):
        raise DatasetError(
            f"expected every label to be a class name, but {len(unknown)} are not: {_some(unknown)}",
            hint=f"The classes are {_some(list(index), quoted=False)}; {_inside(wanted, positions)}"
            f"{_advice(unknown, numbers)}",
        )
    return [known[str(label)] for label in found]


def _by_key(index: Mapping[str, int]) -> dict[str, int]:
    """Classes by their name without letter case and underscores, those left out that differ in nothing else."""
    counts = Counter(key(name) for name in index)
    return {key(name): at for name, at in index.items() if counts[key(name)] == 1}


def _inside(wanted: set[str], positions: bool) -> str:
    """What to try where all images lie in one subfolder."""
    return (
        "" if positions or len(wanted) > 1 else f"all images are in {next(iter(wanted))!r}: name that folder itself; "
    )


def _advice(unknown: Sequence[str], numbers: bool) -> str:
    way = "give --labels FILE, a CSV with the columns path,label in which a path may be a whole subfolder"
    if all(_SYNSET.fullmatch(label) for label in unknown):
        return f"these are WordNet synsets, as ImageNet names its folders: {way} (n01440764,tench), or --labels none."
    if numbers:
        return f"these are numbers, whose order no folder states: {way} (0,tench), or --labels none."
    return f"rename the subfolders, correct --classes, {way}, or pass --labels none."


def _some(names: Sequence[str], quoted: bool = True, count: int = 8) -> str:
    shown = ", ".join((repr(name) if quoted else name)[:80] for name in names[:count])
    return shown + (", ..." if len(names) > count else "")


def _cells(source: ImageSource, labels: str | LabelFile) -> Mapping[str, Sequence[str]]:
    return (labels if isinstance(labels, LabelFile) else read_label_file(source, labels)).columns
