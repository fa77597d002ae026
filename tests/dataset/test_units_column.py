"""Which images show the same scene, as people say it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from singaudit.dataset.labels import resolve_units
from singaudit.dataset.sources.table import open_source
from singaudit.errors import DatasetError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in "abcd":
        PIL.Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / f"{name}.png")
    return tmp_path


def _labels(folder: Path, text: str) -> str:
    path = folder / "labels.csv"
    path.write_text(text)
    return str(path)


def test_a_column_called_unit_is_taken_unasked_and_empty_cells_stand_alone(folder: Path) -> None:
    labels = _labels(folder, "path,Unit\na.png,s1\nb.png,\nc.png,s1\nd.png,\n")
    found = resolve_units(open_source(str(folder)), labels, "auto")
    assert found is not None
    assert found[0] == found[2]
    assert len(set(found.tolist())) == 3


def test_another_column_may_be_named_and_none_ignores_it(folder: Path) -> None:
    labels = _labels(folder, "path,patient,unit\na.png,p,1\nb.png,p,2\nc.png,q,3\nd.png,q,4\n")
    source = open_source(str(folder))
    named = resolve_units(source, labels, "patient")
    assert named is not None
    assert named.tolist() == [0, 0, 1, 1]
    assert resolve_units(source, labels, "none") is None
    assert resolve_units(source, "auto", "auto") is None


def test_a_column_that_is_not_there_is_refused_with_those_that_are(folder: Path) -> None:
    labels = _labels(folder, "path,patient\na.png,p\nb.png,p\nc.png,q\nd.png,q\n")
    with pytest.raises(DatasetError, match="patient"):
        resolve_units(open_source(str(folder)), labels, "patent")
    with pytest.raises(DatasetError, match="no columns"):
        resolve_units(open_source(str(folder)), "auto", "scene")
