"""Lists and tables of images: the user's own paths are taken at their word, URLs are never fetched."""

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
