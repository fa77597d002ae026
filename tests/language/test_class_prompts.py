"""Texts apart from class names."""

from __future__ import annotations

from pathlib import Path

import pytest

from singaudit.errors import ConfigError
from singaudit.language.class_prompts import class_prompts
from singaudit.language.concepts import all_prompts, class_group

NAMES = ("n02085620", "n02123045")


def _file(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def test_lines_stand_in_the_order_of_the_logits_and_rows_by_class(tmp_path: Path) -> None:
    lines = _file(tmp_path, "p.txt", "a chihuahua\na tabby cat\n\n")
    table = _file(tmp_path, "p.csv", 'class,prompt\nn02123045,a tabby cat\nn02085620,"a chihuahua"\n')
    assert class_prompts(lines, NAMES) == class_prompts(table, NAMES) == ("a chihuahua", "a tabby cat")


def test_they_are_said_in_place_of_the_names_whatever_way_they_begin() -> None:
    group = class_group(NAMES, ("chihuahua", "a photo of a tabby cat"))
    assert group.values == NAMES
    said = all_prompts((group,), ())
    assert "an image of chihuahua" in said
    assert "an image of a tabby cat" in said
    assert not any("n0" in text for text in said)


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("p.txt", "one\n", "2 lines"),
        ("p.txt", "one\n\nthree\n", "2 lines"),
        ("p.txt", "dog\nDog\n", "of its own"),
        ("p.csv", "class,prompt\nn02085620,x\n", "n02123045"),
        ("p.csv", "class,prompt\nn1,x\n", "'n1' is none"),
        ("p.csv", "class,prompt\nn02085620,x\nn02085620,y\n", "several"),
        ("p.csv", "a,b\n1,2\n", "columns class,prompt"),
    ],
)
def test_what_is_missing_unknown_or_said_twice_is_named(tmp_path: Path, name: str, text: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        class_prompts(_file(tmp_path, name, text), NAMES)


def test_a_file_that_is_not_there_is_said() -> None:
    with pytest.raises(ConfigError, match="no file"):
        class_prompts("nowhere.txt", NAMES)
