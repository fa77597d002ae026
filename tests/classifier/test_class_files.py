"""Class names as people keep them, read as what they are and never whole into a prompt."""

import json

import pytest

from singaudit.classifier.class_files import parse_classes
from singaudit.errors import ConfigError


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("a.txt", "tench\ncat, domestic\ndog\n"),
        ("a.txt", "0 tench\n1 cat, domestic\n2 dog\n"),
        ("a.txt", "0: tench\n2: dog\n1: cat, domestic\n"),
        ("a.txt", "0, tench\n1, cat, domestic\n2, dog\n"),
        ("a.txt", "1\ttench\n2\tcat, domestic\n3\tdog\n"),
        ("a.txt", "n01440764 tench\nn02121808 cat, domestic\nn02084071 dog\n"),
        ("a.csv", 'id,name\n1,"cat, domestic"\n0,tench\n2,dog\n'),
        ("a.json", json.dumps(["tench", "cat, domestic", "dog"])),
        ("a.json", json.dumps({"0": "tench", "2": "dog", "1": "cat, domestic"})),
        ("a.json", json.dumps({"dog": 2, "tench": 0, "cat, domestic": 1})),
        ("a.json", json.dumps({"0": ["n01440764", "tench"], "1": ["n0", "cat, domestic"], "2": ["n1", "dog"]})),
        ("a.json", json.dumps({"id2label": {"0": "tench", "1": "cat, domestic", "2": "dog"}})),
        ("a.json", json.dumps({"categories": [{"id": 2, "name": "cat, domestic"}, {"id": 1, "name": "tench"},
                                              {"id": 9, "name": "dog"}]})),
        ("a", json.dumps(["tench", "cat, domestic", "dog"])),
        ("data.yaml", "nc: 3\nnames: [tench, 'cat, domestic', dog]\n"),
        ("data.yaml", "names:\n  0: tench\n  1: cat, domestic\n  2: dog\n"),
    ],
)  # fmt: skip
def test_files_of_class_names(file, text, tmp_path):
    (tmp_path / file).write_text(text, encoding="utf-8")
    assert parse_classes(str(tmp_path / file)) == ("tench", "cat, domestic", "dog")


@pytest.mark.parametrize("text", ["1 euro\n2 euro\n", "2 cm\n5 cm\n", "0 degrees\n90 degrees\n", "7up\n8up\n"])
def test_numbers_that_are_no_positions_stay_in_the_names(text, tmp_path):
    (tmp_path / "a.txt").write_text(text)
    assert parse_classes(str(tmp_path / "a.txt")) == tuple(text.splitlines())


def test_names_that_occur_twice_get_their_number(tmp_path):
    (tmp_path / "a.txt").write_text("crane\nmaillot\nmaillot\nlimpkin\ncrane\n")
    assert parse_classes(str(tmp_path / "a.txt")) == ("crane (0)", "maillot (1)", "maillot (2)", "limpkin", "crane (4)")


def test_timms_lists_go_by_name(tmp_path):
    names = parse_classes("timm:imagenet")
    assert len(names) == 1000
    assert names[1] == "goldfish, Carassius auratus"
    with pytest.raises(ConfigError, match="no list 'timm:imagine'"):
        parse_classes("timm:imagine")
    (tmp_path / "synsets.txt").write_text("n01443537\nn01440764\n")
    assert parse_classes(str(tmp_path / "synsets.txt")) == ("goldfish, Carassius auratus", "tench, Tinca tinca")


@pytest.mark.parametrize(
    ("file", "text", "match"),
    [
        ("a.json", "{", "JSON"),
        ("a.json", '{"1": "a"}', "numbers from 0"),
        ("a.json", "[]", "list of class names"),
        ("a.yaml", "a: [", "YAML"),
        ("a.txt", "a\0b\nc\n", "characters that print"),
    ],
)
def test_what_holds_no_class_names_is_refused(file, text, match, tmp_path):
    (tmp_path / file).write_text(text)
    with pytest.raises(ConfigError, match=match):
        parse_classes(str(tmp_path / file))
