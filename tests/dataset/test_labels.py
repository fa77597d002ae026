"""Labels and the images' own values: read from files as people write them, every slip named."""

import numpy as np
import pytest

from singaudit.classifier.class_files import parse_classes
from singaudit.dataset.labels import resolve_group_labels, resolve_labels
from singaudit.dataset.sources.listing import Listing
from singaudit.dataset.sources.table import open_source
from singaudit.errors import DatasetError

CLASSES = ("dog", "cat")
COLOURS = {"colour": ("red", "light blue")}


def source(names=("dog/a.png", "dog/b.png", "cat/deep/c.png"), **known):
    return Listing("made", names, lambda index: b"", **known)


@pytest.fixture
def write(tmp_path):
    def file(text, encoding="utf-8"):
        (tmp_path / "labels.csv").write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
        return str(tmp_path / "labels.csv")

    return file


def test_a_path_may_be_a_folder_and_then_holds_for_every_image_below(write):
    file = write("path,label\ndog,cat\n./dog/b.png,dog\ncat/,cat\n")
    assert resolve_labels(source(), file, CLASSES) == ([1, 0, 1], "the label file")


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_quotes_separators_and_byte_order_marks_of_spreadsheets(write, separator):
    rows = [("Path", "Label"), ('"dog/a.png"', "dog"), ("dog/b.png", '"cat"'), ("cat", "cat")]
    file = write("\r\n".join(separator.join(row) for row in rows) + "\r\n", encoding="utf-8-sig")
    assert resolve_labels(source(), file, CLASSES)[0] == [0, 1, 1]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (b"path,label\na\0b,dog\n", "NUL byte at position 12"),
        ("path,label\ndog,dog\n".encode("utf-16"), "UTF-16"),
        (b"path,label\n\xff\xfe\xfa,dog\n", "UTF-8"),
        ("path,label\ndog\n", "line 2 has 1"),
        ("path,label\ndog,dog,dog\n", "line 2 has 3"),
        ("path,path\ndog,dog\n", "distinct names"),
        ("path,label\nsomewhere/else.png,dog\n", "names none"),
        ('path,label\n"dog,dog\n', "no CSV"),
        ("path\ndog\n", "columns path,label"),
        ("name,label\ndog,dog\n", "columns path,label"),
        ("", "header line"),
        ("path,label\ndog,dog\n", "1 have none, such as 'cat/deep/c.png'"),
        ("path,label\ndog,dog\ncat,cow\n", "not: 'cow'"),
    ],
)
def test_files_that_are_wrong_are_explained(write, text, match):
    with pytest.raises(DatasetError, match=match) as info:
        resolve_labels(source(), write(text), CLASSES)
    assert info.value.hint


@pytest.mark.parametrize("place", ["none", "folder"])
def test_a_label_file_that_is_no_file(tmp_path, place):
    (tmp_path / "folder").mkdir()
    with pytest.raises(DatasetError, match="there is no file"):
        resolve_labels(source(), str(tmp_path / place), CLASSES)


def test_a_column_may_hold_positions_and_a_folder_may_not():
    numbers = ("1", "0", "1")
    assert resolve_labels(source(labels=numbers, label_kind="column"), "auto", CLASSES)[0] == [1, 0, 1]
    with pytest.raises(DatasetError, match="3 are not"):
        resolve_labels(source(labels=("0", "1", "2"), label_kind="column"), "auto", CLASSES)
    with pytest.raises(DatasetError, match="2 are not") as info:
        resolve_labels(source(labels=numbers, label_kind="folders"), "auto", CLASSES)
    assert "numbers" in info.value.hint
    # A class that is called "1" keeps its name.
    named = source(labels=numbers, label_kind="column")
    assert resolve_labels(named, "auto", ("1", "0"))[0] == [0, 1, 0]


def test_synset_folders_are_recognised_in_the_hint():
    with pytest.raises(DatasetError) as info:
        resolve_labels(source(labels=("n01440764", "n01443537", "n01440764")), "auto", CLASSES)
    assert "WordNet" in info.value.hint
    assert "--labels FILE" in info.value.hint


def test_captions_are_no_labels_unless_some_are_classes():
    captions = source(labels=("a dog", "a cat", "two"), label_kind="beside")
    assert resolve_labels(captions, "auto", CLASSES)[0] is None
    with pytest.raises(DatasetError, match="1 are not: 'cow'"):
        resolve_labels(source(labels=("dog", "cat", "cow"), label_kind="beside"), "auto", CLASSES)


def test_composed_and_decomposed_names_are_the_same():
    assert resolve_labels(source(names=("a", "b"), labels=("cafe\u0301",) * 2), "auto", ("café",))[0] == [0, 0]


def test_mixed_folders_need_labels_none(tmp_path):
    mixed = source(names=("a.png", "dog/b.png"), labels=(None, "dog"))
    with pytest.raises(DatasetError, match="1 have none") as info:
        resolve_labels(mixed, "auto", CLASSES)
    assert "--labels none" in info.value.hint
    assert resolve_labels(mixed, "none", CLASSES)[0] is None


def test_further_columns_are_own_values_of_groups(write):
    file = write("path,label,Colour,weight\ndog/a.png,dog,Red,3\ndog/b.png,dog,,2\ncat,cat,light_blue,1\n")
    found = resolve_group_labels(source(), file, COLOURS | {"size": ("small", "large")})
    assert set(found) == {"colour"}
    np.testing.assert_array_equal(found["colour"], [0, -1, 1])


def test_a_label_file_may_state_values_alone(write):
    file = write("path,colour\ndog/a.png,red\n")
    labelled = source(labels=("dog", "dog", "cat"))
    assert resolve_labels(labelled, file, CLASSES) == ([0, 0, 1], "the source's own labels")
    np.testing.assert_array_equal(resolve_group_labels(labelled, file, COLOURS)["colour"], [0, -1, -1])


def test_values_that_are_none_of_the_group_are_named(write):
    file = write("path,colour\ndog/a.png,teal\ncat,red\n")
    with pytest.raises(DatasetError, match="'teal'") as info:
        resolve_group_labels(source(), file, COLOURS)
    assert "light blue" in info.value.hint


def test_columns_of_the_source_serve_without_a_file_and_the_file_goes_first(write):
    own = source(columns={"colour": ("red", "red", ""), "class": ("x", "y", "z")})
    for labels in ("auto", "none"):
        np.testing.assert_array_equal(resolve_group_labels(own, labels, COLOURS)["colour"], [0, 0, -1])
    file = write("path,colour\ndog,light blue\n")
    np.testing.assert_array_equal(resolve_group_labels(own, file, COLOURS)["colour"], [1, 1, -1])


def test_a_column_without_any_value_states_nothing():
    assert resolve_group_labels(source(columns={"colour": ("", "", "")}), "auto", COLOURS) == {}


@pytest.mark.parametrize("name", ["class_name", "target", "category", "class_id", "cls", "label_name", "Label"])
def test_columns_of_labels_go_by_many_names(name, tmp_path):
    (tmp_path / "t.csv").write_text(f"path,{name},note\na.png,cat,x\nb.png,dog,y\n")
    found = open_source(str(tmp_path / "t.csv"))
    assert resolve_labels(found, "auto", CLASSES)[0] == [1, 0]
    assert list(found.columns) == ["note"]


def test_of_columns_that_say_the_same_the_one_of_names_is_read(tmp_path):
    (tmp_path / "t.csv").write_text("path,label,class_name\na.png,7,cat\nb.png,3,dog\nc.png,7,cat\n")
    assert resolve_labels(open_source(str(tmp_path / "t.csv")), "auto", CLASSES)[0] == [1, 0, 1]


def test_columns_that_say_different_things_have_to_be_chosen_from(tmp_path):
    (tmp_path / "t.csv").write_text("path,label,target\na.png,cat,dog\nb.png,cat,cat\n")
    with pytest.raises(DatasetError, match="label, target could all be meant") as info:
        open_source(str(tmp_path / "t.csv"))
    assert "--label-column" in info.value.hint
    assert resolve_labels(open_source(str(tmp_path / "t.csv"), "TARGET"), "auto", CLASSES)[0] == [0, 1]
    with pytest.raises(DatasetError, match="'wrong' of labels"):
        open_source(str(tmp_path / "t.csv"), "wrong")


def test_the_column_of_a_label_file_is_chosen_too(write):
    file = write("path,label,target\ndog,cat,dog\ncat,cat,cat\n")
    assert resolve_labels(source(), file, CLASSES, "target")[0] == [0, 0, 1]
    with pytest.raises(DatasetError, match="could all be meant"):
        resolve_labels(source(), file, CLASSES)


def test_positions_may_be_written_as_floats():
    found = source(labels=("0.0", "1.0", "0.0"), label_kind="column")
    assert resolve_labels(found, "auto", CLASSES)[0] == [0, 1, 0]


def test_letter_case_and_underscores_do_not_matter_where_classes_stay_apart():
    names = ("golden retriever", "Cat", "cat")
    found = source(("Golden_Retriever/a.png", "Cat/b.png", "cat/c.png"), labels=("Golden_Retriever", "Cat", "cat"))
    assert resolve_labels(found, "auto", names)[0] == [0, 1, 2]
    with pytest.raises(DatasetError, match="'CAT'"):
        resolve_labels(source(("CAT/a.png",), labels=("CAT",)), "auto", names)


def test_synset_folders_are_classes_of_a_list_that_timm_knows():
    names = parse_classes("timm:imagenet")
    plain = tuple(f"{name.partition(',')[0]} ({i})" for i, name in enumerate(names))
    found = source(
        ("n01443537/a.png", "n01440764/b.png", "n02012849/c.png"), labels=("n01443537", "n01440764", "n02012849")
    )
    assert resolve_labels(found, "auto", names)[0] == resolve_labels(found, "auto", plain)[0] == [1, 0, 134]


@pytest.mark.parametrize("text", ["id,label\na,cat\nb,dog\nc,dog\n", "image_id;label\na;cat\nb;dog\nc;dog\n",
                                  "path,label\na.png,cat\nb.png,dog\nc.png,dog\n"])  # fmt: skip
def test_images_may_be_named_without_folder_and_suffix_where_that_tells_them_apart(write, text):
    assert resolve_labels(source(), write(text), CLASSES)[0] == [1, 0, 0]
    with pytest.raises(DatasetError, match="names none"):  # two images called a
        resolve_labels(source(("dog/a.png", "cat/a.png", "cat/deep/c.png")), write(text), CLASSES)


def test_rows_that_contradict_one_another_are_refused_and_repeated_ones_not(write):
    again = "path,label\ndog/a.png,cat\ndog/b.png,dog\ncat,dog\ndog/a.png,cat\n"
    assert resolve_labels(source(), write(again), CLASSES)[0] == [1, 0, 0]
    openimages = "ImageID,Source,LabelName,Confidence\na,v,dog,1\na,v,cat,0\nb,v,dog,1\nc,v,cat,1\n"
    with pytest.raises(DatasetError, match="expected one row an image") as info:
        resolve_labels(source(), write(openimages), CLASSES, "LabelName")
    assert "'a' has several" in info.value.message


def test_a_label_file_whose_column_has_another_name_is_said_to_have_no_labels(write):
    found, words = resolve_labels(source(), write("path,breed\ndog,cat\ncat,dog\n"), CLASSES)
    assert found is None
    assert words.startswith("none: the label file has no labels: of its columns ('breed')")
    assert "--label-column" in words


def test_one_folder_above_the_classes_is_told_to_be_left_out():
    with pytest.raises(DatasetError) as info:
        resolve_labels(source(("all/dog/a.png", "all/cat/b.png"), labels=("all", "all")), "auto", CLASSES)
    assert "all images are in 'all': name that folder itself" in info.value.hint
