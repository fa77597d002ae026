"""Lists and tables of images: the user's own paths are taken at their word, URLs are never fetched."""

import json

import numpy as np
import PIL.Image
import pytest
from image_files import values

from singaudit.dataset.interface import Skipped
from singaudit.dataset.labels import resolve_group_labels, resolve_labels
from singaudit.dataset.sources.table import open_source
from singaudit.errors import DatasetError


@pytest.fixture
def photos(tmp_path):
    for i, name in enumerate(["a b.png", "sub/c.png"]):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(np.full((4, 4, 3), 50 * (i + 1), np.uint8)).save(tmp_path / "photos" / name)
    return tmp_path / "photos"


def test_a_list_names_images_in_its_own_order_relative_to_itself_or_absolute(photos):
    (photos / "list.txt").write_text(f"sub/c.png\n\n  a b.png  \n{photos / 'a b.png'}\n../photos/sub/c.png\n")
    source = open_source(str(photos / "list.txt"))
    assert values(source) == [100, 50, 50, 100]
    assert source.labels is None


def test_a_label_may_follow_each_path(photos):
    (photos / "list.txt").write_text("sub/c.png 1\na b.png\t0\n")
    source = open_source(str(photos / "list.txt"))
    assert values(source) == [100, 50]
    assert resolve_labels(source, "auto", ("dog", "cat"))[0] == [1, 0]


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/x.png", "https://example.org/x.png", "file:///etc/hostname", "s3://b/x.png", "data:,x"]
)
def test_urls_are_left_out_and_never_fetched(photos, url):
    (photos / "list.txt").write_text(f"{url}\na b.png\n")
    source = open_source(str(photos / "list.txt"))
    assert source.left_out == (Skipped(url, "is a URL; nothing is fetched"),)
    assert values(source) == [50]
    (photos / "list.txt").write_text(f"{url}\n")
    with pytest.raises(DatasetError, match="is a URL"):
        open_source(str(photos / "list.txt"))


def test_what_is_no_image_is_skipped_wherever_it_lies(photos):
    (photos / "list.txt").write_text("/etc/passwd\n/dev/zero\nmissing.png\n.\na b.png\n")
    found = values(open_source(str(photos / "list.txt")))
    assert found[-1] == 50
    assert "no image" in found[0]
    assert found[1] == found[3] == "is not a regular file"
    assert "No such file" in found[2]


@pytest.mark.parametrize(
    ("data", "match"),
    [(b"", "found none"), (b"a\0b\n", "NUL"), ("ä".encode("latin-1"), "UTF-8"), ("a.png\n".encode("utf-16"), "UTF-16")],
)
def test_lists_that_are_no_text_are_explained(photos, data, match):
    (photos / "list.txt").write_bytes(data)
    with pytest.raises(DatasetError, match=match) as info:
        open_source(str(photos / "list.txt"))
    assert info.value.hint


def test_a_table_gives_labels_and_own_values(photos):
    (photos / "table.csv").write_text('path,label,colour\nsub/c.png,cat,red\n"a b.png",dog,\nhttp://x/y.png,dog,red\n')
    source = open_source(str(photos / "table.csv"))
    assert values(source) == [100, 50]
    assert len(source.left_out) == 1
    assert resolve_labels(source, "auto", ("dog", "cat"))[0] == [1, 0]
    own = resolve_group_labels(source, "auto", {"colour": ("blue", "red")})
    np.testing.assert_array_equal(own["colour"], [1, -1])


@pytest.mark.parametrize(
    ("text", "match"),
    [("name,label\na,b\n", "column path"), ("path,label\n", "found none"), ("path,label\na b.png\n", "line 2 has 1")],
)
def test_tables_that_are_wrong_are_explained(photos, text, match):
    (photos / "table.csv").write_text(text)
    with pytest.raises(DatasetError, match=match):
        open_source(str(photos / "table.csv"))


def test_a_table_of_json_lines_is_read_as_one_of_commas(photos):
    rows = [{"file_name": "sub/c.png", "label": "cat", "box": [1, 2]}, {"file_name": "a b.png", "label": "dog"}]
    (photos / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    source = open_source(str(photos / "data.jsonl"))
    assert values(source) == [100, 50]
    assert resolve_labels(source, "auto", ("dog", "cat"))[0] == [1, 0]


@pytest.mark.parametrize("path", ["filepath", "image_name", "img_path", "image"])
@pytest.mark.parametrize("label", ["choice", "label"])
def test_columns_of_label_tools_go_by_their_names(photos, path, label):
    (photos / "export.csv").write_text(f"id,{path},{label}\n7,sub/c.png,cat\n8,a b.png,dog\n")
    assert resolve_labels(open_source(str(photos / "export.csv")), "auto", ("dog", "cat"))[0] == [1, 0]


@pytest.mark.parametrize("one", ["1", "1.0", " 1"])
def test_a_column_for_each_class_with_one_1_in_each_row_is_labels(photos, one):
    (photos / "_classes.csv").write_text(f"filename, Cat, dog\nsub/c.png, {one}, 0\na b.png, 0, {one}\n")
    found, words = resolve_labels(open_source(str(photos / "_classes.csv")), "auto", ("dog", "cat"))
    assert found == [1, 0]
    assert "named as the classes" in words
    (photos / "flat").mkdir()
    for name in ("x.png", "y.png"):
        PIL.Image.new("RGB", (4, 4)).save(photos / "flat" / name)
    (photos / "truth.csv").write_text("image,cat,dog\nx.png,1,0\ny.png,0,1\n")
    assert resolve_labels(open_source(str(photos / "flat")), str(photos / "truth.csv"), ("dog", "cat"))[0] == [1, 0]


@pytest.mark.parametrize("rows", ["1,1\na b.png,0,1", "0,0\na b.png,0,1", "0.9,0.1\na b.png,0,1", ",1\na b.png,0,1"])
def test_columns_that_are_not_one_1_a_row_are_no_labels_and_that_is_said(photos, rows):
    (photos / "scores.csv").write_text(f"path,cat,dog\nsub/c.png,{rows}\n")
    found, words = resolve_labels(open_source(str(photos / "scores.csv")), "auto", ("dog", "cat"))
    assert found is None
    assert "--label-column" in words
    assert "'cat'" in words


@pytest.mark.parametrize(
    ("name", "match", "way"),
    [("photos.zip", "an archive", "Unpack"), ("a.tfrecord-00000-of-00002", "TensorFlow", "one folder a class"),
     ("pathmnist.npz", "array", "PNG"), ("train.rec", "training library", "PNG"), ("coco.json", "label tool", "CSV"),
     ("t10k-images-idx3-ubyte", "MNIST", "PNG"), ("data_batch_1", "never loaded", "PNG"),
     ("out.manifest", "SageMaker", "Download"), ("data-00000-of-00001.arrow", "datasets library", "to_parquet"),
     ("photos.tar.zst", "compressed archive", "Unpack"), ("shard.00000.mds", "training library", "PNG"),
     ("labels.xlsx", "spreadsheet", "CSV"), ("photos.feather", "Parquet", "PNG"), ("drive.bag", "ROS", "Take"),
     ("photos.sqfs", "disk", "Mount")],
)  # fmt: skip
def test_containers_that_are_not_read_are_told_with_what_to_do(tmp_path, name, match, way):
    (tmp_path / name).write_bytes(b"x")
    for given in (tmp_path / name, tmp_path):
        if given == tmp_path and name.endswith(".json"):
            continue  # beside images a document may be anything
        with pytest.raises(DatasetError, match=match) as info:
            open_source(str(given))
        assert way in info.value.hint


def test_a_list_that_is_a_folder_fifo_or_missing(photos):
    import os

    os.mkfifo(photos / "pipe.txt")
    for name, match in (("pipe.txt", "not a regular file"), ("none.csv", "No such file")):
        with pytest.raises(DatasetError, match=match):
            open_source(str(photos / name))


def test_hundreds_of_thousands_of_lines_are_listed(photos):
    (photos / "list.txt").write_text("a b.png\n" * 300_000)
    source = open_source(str(photos / "list.txt"))
    assert len(source) == 300_000


def test_mxnets_list_puts_number_and_label_before_each_path(photos):
    (photos / "list.lst").write_text("0\t1.000000\tsub/c.png\n7\t0\ta b.png\n")
    source = open_source(str(photos / "list.lst"))
    assert values(source) == [100, 50]
    assert resolve_labels(source, "auto", ("dog", "cat"))[0] == [1, 0]


def test_paths_written_on_windows_name_the_same_files(photos):
    (photos / "list.csv").write_text("path,label\nsub\\c.png,cat\n.\\a b.png,dog\n")
    assert values(open_source(str(photos / "list.csv"))) == [100, 50]
