"""Open an image source by the text a user gives: each kind is one file and one line in this table."""

from __future__ import annotations

import csv
from pathlib import Path

from singaudit.dataset.folder import open_folder
from singaudit.dataset.interface import ImageSource
from singaudit.dataset.shapes import ShapesSource, parse_shapes
from singaudit.errors import DatasetError

_MAX_LABEL_BYTES = 256 * 2**20


def open_source(text: str) -> ImageSource:
    """The image source that ``text`` names: ``shapes:N[:SEED]`` or a folder. Raises ``DatasetError``."""
    if text.startswith("shapes:"):
        return ShapesSource(*parse_shapes(text))
    return open_folder(text)


def resolve_labels(source: ImageSource, labels: str, class_names: tuple[str, ...]) -> tuple[list[int] | None, str]:
    """A class index per image, or None, and where the labels came from, in words.

    ``labels`` is ``auto`` (what the source knows; subfolders must be class names), ``none``, or a CSV file with
    the columns path and label. Raises ``DatasetError`` naming the labels that are no class.
    """
    if labels == "none":
        return None, "none: --labels none"
    if labels == "auto":
        if source.labels is None:
            return None, "none: the source has no labels"
        if not (set(source.labels) & set(class_names)) and source.name.startswith("shapes:"):
            # The generated world knows shapes; a classifier of anything else has no labels there.
            return None, "none: the generated world's shapes are not this model's classes"
        found, words = list(source.labels), "the source's own labels"
    else:
        found, words = _read_labels(source, Path(labels)), "the label file"
    index = {name: i for i, name in enumerate(class_names)}
    unknown = sorted({label for label in found if label not in index})
    if unknown:
        shown = ", ".join(repr(name) for name in unknown[:8]) + (", ..." if len(unknown) > 8 else "")
        raise DatasetError(
            f"expected every label to be a class name, but {len(unknown)} are not: {shown}",
            hint=f"The classes are {', '.join(class_names[:8])}{', ...' if len(class_names) > 8 else ''}; "
            "rename the subfolders, correct --classes, or pass --labels none.",
        )
    return [index[label] for label in found], words


def _read_labels(source: ImageSource, path: Path) -> list[str]:
    if not path.is_file():
        raise DatasetError(f"expected --labels auto, none or a CSV file with columns path,label; there is no {path}")
    if path.stat().st_size > _MAX_LABEL_BYTES:
        raise DatasetError(f"expected a label file of at most {_MAX_LABEL_BYTES} bytes, {path} is larger")
    names = getattr(source, "paths", None)
    if names is None:
        raise DatasetError(f"expected a folder with --labels FILE, got {source.name}")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if not {"path", "label"} <= set(reader.fieldnames or ()):
                raise DatasetError(f"expected the columns path,label in {path}, found {reader.fieldnames}")
            known = {str(row["path"]): str(row["label"]) for row in reader}
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"expected a UTF-8 CSV file in {path}: {error}") from error
    missing = [name for name in names if name not in known]
    if missing:
        raise DatasetError(
            f"expected a label for each of {len(names)} images, {len(missing)} have none, such as {missing[0]!r}",
            hint=f"Add them to {path}; paths are relative to the image folder.",
        )
    return [known[name] for name in names]
