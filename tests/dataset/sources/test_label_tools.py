"""Folders as label tools export them: FiftyOne's labels.json, CVAT's annotations.xml."""

import json

import pytest
from image_files import png, put, values

from singaudit.dataset.labels import resolve_labels
from singaudit.dataset.sources.table import open_source
from singaudit.errors import DatasetError

CLASSES = ("cat", "big dog")


def labelled(source):
    return dict(zip(source.names, source.labels, strict=True))


def fiftyone(labels, classes=CLASSES):
    return json.dumps({"classes": list(classes), "labels": labels})


@pytest.mark.parametrize(
    "labels",
    [
        {"a.b": 1, "sub/c": 0},
        {"a.b": "big dog", "sub/c": "cat"},
        {"a.b": {"label": 1, "confidence": 0.9}, "sub/c": {"label": "cat", "attributes": {}}},
    ],
)
def test_a_fiftyone_export_labels_its_images_by_name_or_number(labels, tmp_path):
    root = put(tmp_path, **{"data/a.b.jpg": png(1), "data/sub/c.png": png(2), "labels.json": fiftyone(labels)})
    found = open_source(root)
    assert labelled(found) == {"data/a.b.jpg": "big dog", "data/sub/c.png": "cat"}
    assert values(found) == [1, 2]
    assert resolve_labels(found, "auto", CLASSES) == ([1, 0], "the column label of labels.json")


def test_images_without_a_label_in_it_are_told_and_those_not_in_it_left_out(tmp_path):
    root = put(tmp_path, **{
        "data/a.png": png(1), "data/b.png": png(2), "data/c.png": png(3),
        "labels.json": fiftyone({"a": None, "b": 0, "z": 1}),
    })  # fmt: skip
    found = open_source(root)
    assert labelled(found) == {"data/a.png": None, "data/b.png": "cat"}
    assert [(s.name, s.reason) for s in found.left_out] == [
        ("data/c.png", "is not listed in labels.json"),
        ("z", "is listed in labels.json, but no such image is there"),
    ]
    with pytest.raises(DatasetError, match=r"1 have none, such as 'data/a\.png'"):
        resolve_labels(found, "auto", CLASSES)


def test_of_splits_with_a_file_each_that_of_the_one_taken_counts(tmp_path):
    root = put(tmp_path, **{
        f"{split}/{name}": data
        for split, label in (("train", 0), ("val", 1))
        for name, data in (("data/a.png", png(label)), ("labels.json", fiftyone({"a": label})))
    })  # fmt: skip
    assert labelled(open_source(root)) == {"val/data/a.png": "big dog"}


def test_other_json_of_that_name_is_no_label_file(tmp_path):
    for other in ('{"a": 1}', '["cat"]', '{"labels": ["cat"]}', '{"a": 1}\n{"b": 2}', "[" * 100_000):
        root = put(tmp_path, **{"cat/a.png": png(1), "labels.json": other})
        assert labelled(open_source(root)) == {"cat/a.png": "cat"}


CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><task><labels><label><name>cat</name></label></labels></task></meta>
  <image id="0" name="a.png" width="4" height="4"><tag label="cat" source="manual">
    <attribute name="colour">red</attribute></tag>
    <box label="ear" xtl="0"><attribute name="x">1</attribute></box></image>
  <image id="1" name="sub\\b.png" width="4" height="4"><tag label="big dog" source="manual"/></image>
  <image id="2" name="c.png" width="4" height="4"><tag label="cat"/><tag label="big dog"/></image>
  <image id="3" name="d.png" width="4" height="4"><box label="cat" xtl="0"/></image>
</annotations>"""


@pytest.mark.parametrize("where", ["", "images/", "images/default/"])
def test_cvats_tags_are_labels_and_their_attributes_columns(where, tmp_path):
    files = {f"{where}{name}.png": png(i) for i, name in enumerate(("a", "sub/b", "c", "d"))}
    found = open_source(put(tmp_path, **files, **{"annotations.xml": CVAT}))
    assert labelled(found) == {
        f"{where}a.png": "cat",
        f"{where}sub/b.png": "big dog",
        f"{where}c.png": None,  # two tags are no class
        f"{where}d.png": None,
    }
    assert dict(zip(found.names, found.columns["colour"], strict=True))[f"{where}a.png"] == "red"
    assert "x" not in found.columns


def test_an_xml_file_of_another_tool_is_no_label_file(tmp_path):
    for other in ("<annotation><filename>a</filename></annotation>", "<annotations><a/></annotations>"):
        root = put(tmp_path, **{"cat/a.png": png(1), "annotations.xml": other})
        assert labelled(open_source(root)) == {"cat/a.png": "cat"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('<!DOCTYPE a [<!ENTITY e "&e1;">]><annotations><image name="&e;"/></annotations>', "document type"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotations/>', "document type"),
        ("<annotations><image name='a.png'>", "no element found"),
        ("<annotations>" + "<a>" * 200_000, "no element found"),
        ("", "no element found"),
    ],
)
def test_hostile_and_damaged_xml_is_one_message(text, reason, tmp_path):
    root = put(tmp_path, **{"a.png": png(1), "annotations.xml": text})
    with pytest.raises(DatasetError, match=reason):
        open_source(root)


def test_the_file_itself_is_told_to_be_given_with_its_folder(tmp_path):
    put(tmp_path, **{"data/a.png": png(1), "labels.json": fiftyone({"a": 0})})
    with pytest.raises(DatasetError) as info:
        open_source(str(tmp_path / "labels.json"))
    assert "Give the folder that holds it" in info.value.hint
