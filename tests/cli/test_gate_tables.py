"""Gates and waivers in a configuration file: any name, the line they stand in, and mistakes in words."""

from datetime import date
from pathlib import Path

import pytest

from singaudit.cli.settings import load_settings
from singaudit.config import make_config
from singaudit.errors import ConfigError
from singaudit.report.gates.rules import parse_rules

KNOWN = {"gate": "gates", "images": "images"}


def load(tmp_path: Path, text: str, name: str = "singaudit.toml") -> dict:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return load_settings(str(path), isolated=False, known=KNOWN)


def test_a_gate_may_have_any_name_and_knows_its_line(tmp_path) -> None:
    text = (
        '# gates\n[tool.singaudit.gates]\nplain = "a.b < 1"\n"<b> \\"q\\" & \\u001b 🙂 = x" = "a.c < 2"\n'
        '"" = "a.b < 1"\n'
    )
    with pytest.raises(ConfigError, match="1 to 16,384 characters"):
        load(tmp_path, text, "pyproject.toml")
    gates = load(tmp_path, text.rsplit("\n", 2)[0], "pyproject.toml")["gates"]
    rules = parse_rules(make_config(model="m", gates=gates).gates)
    assert [(r.name, r.text, r.source[1]) for r in rules] == [
        ("plain", "a.b < 1", 3),
        ('<b> "q" & \x1b 🙂 = x', "a.c < 2", 4),
    ]
    again = parse_rules([g.written() for g in make_config(model="m", gates=gates).gates])
    assert [(r.name, r.text) for r in again] == [(r.name, r.text) for r in rules]


def test_rules_of_a_list_know_their_lines(tmp_path) -> None:
    gates = load(tmp_path, 'gates = [\n  "default",\n  "a.b < 1",\n]\n')["gates"]
    assert [g["line"] for g in gates] == [2, 3]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('gate = "colour"\nreason = "r"', "until as a date"),
        ('gate = "colour"\nreason = "r"\nuntil = "2027-13-01"', "'2027-13-01'"),
        ('gate = "colour"\nreason = "r"\nuntil = "tomorrow"', "'tomorrow'"),
        ('gate = "colour"\nreason = "r"\nuntil = 2027-01-01T10:00:00Z', "until as a date"),
        ('gate = "colour"\nuntil = 2027-01-01', "reason as a text"),
        ('gate = "colour"\nreason = " "\nuntil = 2027-01-01', "reason as a text"),
        ('reason = "r"\nuntil = 2027-01-01', "gate as a text"),
        ('gate = 3\nreason = "r"\nuntil = 2027-01-01', "gate as a text"),
        ('gate = "c"\nreason = "r"\nuntil = 2027-01-01\nmodel = "leaky.onnx"', "64 hex digits"),
        ('gate = "c"\nreason = "r"\nuntil = 2027-01-01\nuntill = 2027-01-01', "unknown key 'untill'"),
    ],
)
def test_a_wrong_waiver_is_one_message(tmp_path, text, message) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, f"[[waivers]]\n{text}\n")


def test_waivers_are_read_from_either_file(tmp_path) -> None:
    entry = 'gate = "colour"\nreason = "r"\nuntil = "2027-01-31"\n'
    for head, name in (("[[waivers]]", "singaudit.toml"), ("[[tool.singaudit.waivers]]", "pyproject.toml")):
        found = make_config(model="m", waivers=load(tmp_path, f"{head}\n{entry}", name)["waivers"]).waivers
        assert [(w.gate, w.until, w.reason) for w in found] == [("colour", date(2027, 1, 31), "r")]


def test_a_table_that_is_no_list_is_one_message(tmp_path) -> None:
    with pytest.raises(ConfigError, match="waivers as tables"):
        load(tmp_path, "[waivers]\ngate = 'x'\n")
    with pytest.raises(ConfigError, match="rule as text"):
        load(tmp_path, "[gates]\na.b = 'x < 1'\n")
