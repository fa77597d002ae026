"""Parquet: bytes in a column as the datasets library stores them, or paths that stay in the file's folder."""

import json
import os

import numpy as np
import pytest
from image_files import png, values

from singaudit.dataset.interface import Image
from singaudit.dataset.labels import resolve_group_labels, resolve_labels
from singaudit.dataset.sources.table import open_source
from singaudit.errors import DatasetError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def write(path, columns, rows_per_group=2, metadata=None):
    table = pa.table(columns)
    if metadata:
        table = table.replace_schema_metadata(metadata)
    pq.write_table(table, path, row_group_size=rows_per_group)
    return str(path)


@pytest.mark.parametrize("struct", [True, False])
def test_embedded_bytes_are_read_by_row_group_in_any_order(tmp_path, struct):
    images = [{"bytes": png(i), "path": f"{i}.png"} if struct else png(i) for i in range(7)]
    columns = {"image": images, "label": [0, 1] * 3 + [0], "colour": ["red", None, "blue"] * 2 + ["red"]}
    source = open_source(write(tmp_path / "a.parquet", columns))
    assert values(source) == list(range(7))
    assert [source.load(i).pixels[0, 0, 0] for i in (6, 0, 3)] == [6, 0, 3]
    assert resolve_labels(source, "auto", ("dog", "cat"))[0] == [0, 1, 0, 1, 0, 1, 0]
    own = resolve_group_labels(source, "auto", {"colour": ("red", "blue")})["colour"]
    np.testing.assert_array_equal(own, [0, -1, 1, 0, -1, 1, 0])


def test_class_names_that_the_datasets_library_keeps_in_the_file_are_the_labels(tmp_path):
    features = {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}, "image": {"_type": "Image"}}
    metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    path = write(tmp_path / "a.parquet", {"image": [png(1), png(2)], "label": [1, 0]}, metadata=metadata)
    assert open_source(path).labels == ("dog", "cat")


def test_several_files_are_one_source(tmp_path):
    for i in range(2):
        write(tmp_path / f"train-{i}.parquet", {"image": [png(2 * i), png(2 * i + 1)]})
    assert values(open_source(str(tmp_path))) == [0, 1, 2, 3]
    write(tmp_path / "train-2.parquet", {"picture": [png(9)]})
    with pytest.raises(DatasetError, match="same columns"):
        open_source(str(tmp_path / "train-*.parquet"))


def test_paths_stay_in_the_folder(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for place in (folder, tmp_path):
        (place / "a.png").write_bytes(png(5))
    (folder / "out.png").symlink_to(tmp_path / "a.png")
    paths = ["a.png", "../a.png", str(tmp_path / "a.png"), "out.png", "a\0.png", "", "file:///etc/passwd"]
    source = open_source(write(folder / "a.parquet", {"path": paths}))
    assert values(source)[0] == 5
    assert not any(isinstance(source.load(i), Image) for i in range(1, len(paths)))
    embedded = [{"bytes": None, "path": path} for path in paths]
    source = open_source(write(folder / "b.parquet", {"image": embedded}))
    assert [isinstance(source.load(i), Image) for i in range(len(paths))] == [True] + [False] * (len(paths) - 1)


def test_rows_without_an_image_are_skipped(tmp_path):
    source = open_source(write(tmp_path / "a.parquet", {"image": [png(1), None, b"nonsense"]}))
    assert values(source)[0] == 1
    assert values(source)[1] == "has no bytes"
    assert "no image" in values(source)[2]


def test_files_that_are_wrong_are_explained(tmp_path):
    write(tmp_path / "a.parquet", {"image": [png(1)]})
    whole = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    write(tmp_path / "none.parquet", {"x": [1.5]})
    write(tmp_path / "two.parquet", {"left": [png(1)], "right": [png(1)]})
    write(tmp_path / "empty.parquet", {"image": pa.array([], pa.binary())})
    for name, match in (("cut", "cannot be read"), ("none", "found x"), ("two", "one column"), ("empty", "rows")):
        with pytest.raises(DatasetError, match=match):
            open_source(str(tmp_path / f"{name}.parquet"))


def test_a_row_group_that_claims_too_much_is_skipped(tmp_path, monkeypatch):
    from singaudit.dataset.sources import parquet

    source = open_source(write(tmp_path / "a.parquet", {"image": [png(1)]}))
    monkeypatch.setattr(parquet, "_MAX_GROUP_BYTES", 10)
    assert "row groups" in source.load(0).reason


def test_labels_that_pandas_made_floating_are_positions(tmp_path):
    path = write(tmp_path / "x.parquet", {"image": [png(1), png(2), png(3)], "label": [2.0, None, 0.0]})
    assert open_source(path).labels == ("2", None, "0")


@pytest.mark.parametrize("name", ["a.parquet", "b.parquet"])
def test_of_a_file_that_changed_nothing_more_is_read(tmp_path, name):
    path = write(tmp_path / "a.parquet", {"image": [png(i) for i in range(6)], "label": [0] * 6})
    source = open_source(path)
    assert source.load(0).pixels[0, 0, 0] == 0
    os.replace(write(tmp_path / name, {"image": [png(9)] * 6, "label": [1] * 6}), path)
    assert "changed since" in source.load(5).reason
