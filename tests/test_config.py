"""Settings are validated once, in words."""

import pytest

from singaudit.classifier.class_files import parse_classes
from singaudit.cli.settings import load_settings
from singaudit.config import make_config
from singaudit.errors import ConfigError

KNOWN = {"batch_size": "batch_size", "images": "images", "gate": "gates", "report": "formats"}


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({}, "model"),
        ({"model": "m", "seed": -1}, "seed"),
        ({"model": "m", "batch_size": 0}, "batch_size"),
        ({"model": "m", "nonsense": 1}, "nonsense"),
        ({"model": "m", "gate_on": "middle"}, "gate_on"),
        ({"model": "m", "limit": float("nan")}, "limit"),
    ],
)
def test_wrong_values_are_named(values, match):
    with pytest.raises(ConfigError, match=match):
        make_config(**values)


def test_class_names_from_text_and_file(tmp_path):
    assert parse_classes("dog, cat") == ("dog", "cat")
    path = tmp_path / "names.txt"
    path.write_text("\ufeffgolden retriever, adult\ncat\n\n", encoding="utf-8")
    assert parse_classes(str(path)) == ("golden retriever, adult", "cat")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="UTF-8"):
        parse_classes(str(path))


@pytest.mark.parametrize(
    ("text", "match"), [("a,a", "more than once"), ("a,,b", "position 2"), ("é,e\u0301", "more than")]
)
def test_class_names_must_be_distinct_and_not_empty(text, match):
    with pytest.raises(ConfigError, match=match):
        parse_classes(text)


def test_settings_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_settings(None, isolated=False, known=KNOWN) == {}
    (tmp_path / "pyproject.toml").write_text('[tool.singaudit]\nimages = "a"\ngates = ["x < 1", "default"]\n')
    found = load_settings(None, isolated=False, known=KNOWN)
    assert (found["images"], [g["rule"] for g in found["gates"]]) == ("a", ["x < 1", "default"])
    (tmp_path / "singaudit.toml").write_text('images = "b"\nreport = ["html", "json"]\n')
    assert load_settings(None, isolated=False, known=KNOWN) == {"images": "b", "formats": "html,json"}
    assert load_settings(None, isolated=True, known=KNOWN) == {}


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("imges = 'x'", "imges"),
        ("images = {a = 1}", "images"),
        ("images = [1]", "images"),
        ("images =", "TOML"),
        ("images = ''", "empty"),
        ("gate = 'default'\ngates = 'default'", "one spelling"),
        ("batch-size = 1\nbatch_size = 2", "one spelling"),
    ],
)
def test_bad_settings_files_name_the_key(tmp_path, content, match):
    path = tmp_path / "s.toml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=match):
        load_settings(str(path), isolated=False, known=KNOWN)
    with pytest.raises(ConfigError, match="no file"):
        load_settings(str(tmp_path / "none.toml"), isolated=False, known=KNOWN)


def test_gates_may_be_a_text_a_list_or_a_table_of_names(tmp_path):
    path = tmp_path / "s.toml"
    path.write_text('[gates]\n"colour is kept" = "finding[colour] not in (strong)"\nready = "default"\n')
    gates = load_settings(str(path), isolated=False, known=KNOWN)["gates"]
    assert [(g["name"], g["rule"], g["line"]) for g in gates] == [
        ("colour is kept", "finding[colour] not in (strong)", 2),
        ("ready", "default", 3),
    ]
    path.write_text('gates = "default"')
    assert [g["rule"] for g in load_settings(str(path), isolated=False, known=KNOWN)["gates"]] == ["default"]
    for wrong in ("[gates]\na = 3", '[gates]\n" " = "scores.ratio < 3"'):
        path.write_text(wrong)
        with pytest.raises(ConfigError, match="gate"):
            load_settings(str(path), isolated=False, known=KNOWN)


def test_a_policy_is_a_table_of_lists(tmp_path):
    path = tmp_path / "s.toml"
    path.write_text('[policy]\n"*" = ["colour"]\ncar = ["wheel", "part: door"]')
    assert load_settings(str(path), isolated=False, known=KNOWN) == {
        "policy": {"*": ("colour",), "car": ("wheel", "part: door")}
    }
    for wrong in ("policy = 3", "[policy]\ncar = 'wheel'", "[policy]\ncar = [3]"):
        path.write_text(wrong)
        with pytest.raises(ConfigError, match="policy"):
            load_settings(str(path), isolated=False, known=KNOWN)


def test_a_name_that_is_no_text_is_refused_in_words():
    """Names of files are bytes; what a report cannot record is not audited."""
    with pytest.raises(ConfigError, match="cache: Input should be text in UTF-8"):
        make_config(model="builtin:leaky", cache="/cache/\udcff\udcfe")
