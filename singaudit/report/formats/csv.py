"""scores.csv: a row per image, safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from singaudit.report.formats.interface import Files, Pages
from singaudit.report.result.audit import AuditResult

# A spreadsheet takes a cell that starts so for a formula, whatever its quoting.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def render(result: AuditResult, pages: Pages, files: Files) -> dict[str, bytes]:
    """The rows under their name; nothing where no image was measured."""
    return {"scores.csv": scores_csv(files.per_image)} if files.per_image else {}


def scores_csv(columns: Mapping[str, Sequence[Any]]) -> bytes:
    """``columns`` (name: one value per image) as UTF-8 CSV, in the order given.

    Floats are written by repr, so that reading gives them back exactly; a missing or non-finite value is an empty
    cell; text that a spreadsheet would run as a formula gets an apostrophe before it.
    Raises ValueError when columns differ in length.
    """
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([_cell(name) for name in columns])
    writer.writerows(zip(*(_cells(column) for column in columns.values()), strict=True))
    return file.getvalue().encode("utf-8", errors="backslashreplace")


def _cells(column: Sequence[Any]) -> list[str]:
    if isinstance(column, np.ndarray) and column.dtype == np.float64:
        return [repr(value) if math.isfinite(value) else "" for value in column.tolist()]
    return [_cell(value) for value in column]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if hasattr(value, "item"):  # a NumPy scalar
        value = value.item()
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else ""
    if isinstance(value, int):
        return str(value)
    text = str(value)
    return "'" + text if text.lstrip(" ").startswith(_FORMULA) else text
