"""Folders as people have them: any suffix, metadata files, splits; nothing vanishes without a word."""

import hashlib
import json

import pytest
from image_files import png, put, values

from singaudit.dataset.labels import resolve_labels
from singaudit.dataset.sources.table import open_source
from singaudit.errors import DatasetError


def test_images_are_told_by_their_content_where_the_suffix_says_nothing(tmp_path):
    root = put(tmp_path, **{
        "cat/hash": png(1), "cat/b.jfif": png(2), "dog/c.dat": png(3), "dog/d.ppm": png(4), "dog/note": "no image",
        "dog/readme.md": "x",
    })  # fmt: skip
    found = open_source(root)
    assert found.names == ["cat/b.jfif", "cat/hash", "dog/c.dat", "dog/d.ppm"]
    assert values(found) == [2, 1, 3, 4]
    assert found.left_out == ()


def test_what_shows_something_and_cannot_be_read_is_counted_with_its_reason(tmp_path):
    found = open_source(put(tmp_path, **{"a.png": png(1), "b.nef": b"II*\0", "c.svg": "<svg/>", "d.npy": b"\x93NUMPY"}))
    assert {skipped.name: skipped.reason.split(":")[0] for skipped in found.left_out} == {
        "b.nef": "is a camera's raw file",
        "c.svg": "is a drawing without pixels; save it as PNG",
        "d.npy": "is an array, of which nothing says how it becomes pixels",
    }


ROWS = [("x/1.png", "cat", "red"), ("x/2.png", "dog", ""), ("3.png", "cat", "blue")]


def metadata(kind, column):
    names = ("file_name", column, "colour")
    if kind == "csv":
        return "\n".join(",".join(row) for row in (names, *ROWS)) + "\n"
    if kind == "jsonl":
        return "\n".join(json.dumps(dict(zip(names, row, strict=True))) for row in ROWS) + "\n"
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.table({name: [row[i] for row in ROWS] for i, name in enumerate(names)}), buffer)
    return buffer.getvalue().to_pybytes()


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_metadata_file_labels_images_as_the_datasets_library_reads_it(kind, tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    root = put(tmp_path / "d", **{"x/1.png": png(1), "x/2.png": png(2), "3.png": png(3)})
    put(tmp_path / "d", **{f"metadata.{kind}": metadata(kind, "class_name")})
    found = open_source(root)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    table = datasets.load_dataset("imagefolder", data_dir=root, split="train", cache_dir=str(tmp_path / "cache"))
    theirs = sorted((row["image"].getpixel((0, 0))[0], row["class_name"], row["colour"] or "") for row in table)
    ours = sorted(zip(values(found), found.labels, found.columns["colour"], strict=True))
    assert ours == theirs == [(1, "cat", "red"), (2, "dog", ""), (3, "cat", "blue")]
    assert resolve_labels(found, "auto", ("cat", "dog"))[1] == f"the column class_name of metadata.{kind}"
    (read,) = found.tables
    assert read.sha256 == hashlib.sha256((tmp_path / "d" / f"metadata.{kind}").read_bytes()).hexdigest()
    assert not read.changed()
    with read.path.open("ab") as file:
        file.write(b" ")
    assert read.changed()


def test_images_that_a_metadata_file_does_not_list_are_left_out_and_those_it_lacks_named(tmp_path):
    root = put(tmp_path, **{"1.png": png(1), "2.png": png(2), "metadata.csv": "file_name,label\n1.png,a\nno.png,b\n"})
    found = open_source(root)
    assert found.names == ["1.png"]
    assert [(s.name, s.reason) for s in found.left_out] == [
        ("2.png", "is not listed in metadata.csv"),
        ("no.png", "is listed in metadata.csv, but no such image is there"),
    ]


@pytest.mark.parametrize(
    ("splits", "taken"), [(("train", "val", "test"), "test"), (("train", "valid"), "valid"), (("train",), "train")]
)
def test_of_splits_above_the_classes_one_is_taken_and_named(splits, taken, tmp_path):
    root = put(tmp_path, **{f"{split}/{label}/1.png": png(i) for i, split in enumerate(splits) for label in "ab"})
    found = open_source(root)
    assert found.names == [f"{taken}/a/1.png", f"{taken}/b/1.png"]
    assert resolve_labels(found, "auto", ("a", "b")) == ([0, 1], f"the subfolders of {taken}")
    assert [s.name for s in found.left_out] == sorted(set(splits) - {taken})
    assert all(f"2 images: {taken} was taken" in s.reason for s in found.left_out)


def test_classes_that_are_called_as_splits_stay_classes(tmp_path):
    root = put(tmp_path, **{"train/1.png": png(1), "car/1.png": png(2)})
    assert open_source(root).labels == ("car", "train")
    assert open_source(put(tmp_path / "one", **{"train/1.png": png(1)})).labels == ("train",)


def test_a_label_column_asked_of_a_folder_without_a_table_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="no metadata file"):
        open_source(put(tmp_path, **{"a/1.png": png(1)}), "class")


def test_a_tree_deeper_than_paths_may_be_is_left_out_and_counted(tmp_path):
    import os

    put(tmp_path, **{"a/1.png": png(1)})
    here = os.open(tmp_path, os.O_RDONLY)
    try:
        for _ in range(30):
            os.mkdir("d" * 200, dir_fd=here)
            deeper = os.open("d" * 200, os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = deeper
    finally:
        os.close(here)
    found = open_source(str(tmp_path))
    assert found.names == ["a/1.png"]
    assert len(found.left_out) == 1
    assert "cannot be read" in found.left_out[0].reason
