"""Audits in CI through the real command: hostile names in every format, waivers, and bad input in one message."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from junitparser import JUnitXml
from report_factory import full
from verdict_cases import TEXTS

from singaudit.cli.main import main
from singaudit.report.formats.table import FORMATS, usual_formats
from singaudit.report.formats.writer import write_report

pytestmark = pytest.mark.usefixtures("kept")

MACHINES = ("junit", "sarif", "gitlab", "md", "cyclonedx", "json")
BROKEN = "geometry.null_dim < 3"


def run(folder: Path, *arguments: str, toml: str = "", code: int | None = None):
    (folder / "singaudit.toml").write_text(toml, encoding="utf-8")
    done = CliRunner().invoke(
        main,
        ["run", "builtin:leaky", "--config", str(folder / "singaudit.toml"), "--progress", "none", "-o",
         str(folder / "out"), "--report", ",".join(MACHINES), *arguments],
    )  # fmt: skip
    assert code is None or done.exit_code == code, done.output
    return done


def test_names_of_any_text_and_length_in_every_format(tmp_path) -> None:
    names = [text.replace("\0", "") for text in TEXTS]
    keys = [json.dumps(name, ensure_ascii=False).replace("\x7f", "\\u007f") for name in names]
    gates = "\n".join(f"{key} = {json.dumps(BROKEN)}" for key in keys)
    classes = names[:8]
    (tmp_path / "classes.json").write_text(json.dumps(classes), encoding="utf-8")
    run(tmp_path, "--classes", str(tmp_path / "classes.json"), toml=f"[gates]\n{gates}\n", code=1)
    out = {name: (tmp_path / "out" / FORMATS[name].file).read_bytes() for name in MACHINES}
    stored = json.loads(out["json"])
    assert [gate["name"] for gate in stored["gates"]] == names
    assert stored["model"]["class_names"] == classes
    (suite,) = JUnitXml.fromstring(out["junit"])
    assert (suite.failures, len(list(suite))) == (len(names) + 1, len(names) + 1)
    (sarif,) = json.loads(out["sarif"])["runs"]
    assert [found["ruleId"] for found in sarif["results"]] == ["singaudit/gate-failed"] * len(names)
    assert [entry["severity"] for entry in json.loads(out["gitlab"])] == ["major"] * len(names)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(out["cyclonedx"].decode()) is None
    assert out["md"].decode().startswith("## ❌ singaudit: Fail")


def test_a_class_name_without_end_is_refused_in_words(tmp_path) -> None:
    (tmp_path / "classes.json").write_text(json.dumps(["n" * 20_000, *"abcdefg"]))
    done = run(tmp_path, "--classes", str(tmp_path / "classes.json"), code=2)
    assert "at most 16384 characters" in done.output
    assert not (tmp_path / "out").exists()


def test_waivers_take_failures_away_until_their_day(tmp_path) -> None:
    other = BROKEN.replace("< 3", "< 2")
    entries = [(BROKEN, "9999-12-31"), (other, "2020-01-01"), ("no gate", "9999-12-31")]
    waivers = "".join(f'[[waivers]]\ngate = "{g}"\nuntil = {day}\nreason = "trained by then"\n' for g, day in entries)
    run(tmp_path, toml=f'gates = ["{BROKEN}", "{other}"]\n{waivers}', code=1)
    stored = json.loads((tmp_path / "out" / "result.json").read_text())
    assert [part["status"] for part in stored["waivers"]] == ["applied", "expired", "unmatched"]
    assert [gate["status"] for gate in stored["gates"]] == ["waived", "fail"]
    assert (tmp_path / "out" / "summary.md").read_text(encoding="utf-8").count("trained by then") >= 3


def test_without_report_the_default_stays_what_it_was() -> None:
    assert usual_formats() == ("html", "pdf", "json", "csv")
    assert {line.name: line.file for line in FORMATS.values() if not line.usual} == {
        "junit": "TEST-singaudit.xml",
        "sarif": "singaudit.sarif",
        "gitlab": "gl-code-quality-report.json",
        "md": "summary.md",
        "cyclonedx": "singaudit.cdx.json",
    }


IMAGES = ("--images", "shapes:60", "--vlm", "builtin:shapes")
BAD = {
    "no baseline there": ([*IMAGES, "--baseline", "none"], "", "not a file"),
    "a baseline that is no result": ([*IMAGES, "--baseline", "text.json"], "", "not a complete JSON"),
    "a baseline without images": ([*IMAGES, "--baseline", "bare.json"], "", "has none"),
    "a baseline and no images": (["--baseline", "good.json"], "", "images with --baseline"),
    "a gate over no baseline": (["--gate", "baseline.finding[colour] not worse"], "", "none was given"),
    "a baseline gate that names nothing": (
        [*IMAGES, "--baseline", "good.json", "--gate", "baseline.scores.x not worse"],
        "",
        "names nothing",
    ),
    "a format that is none": (["--report", "junit,sarf"], "", "'sarf'"),
    "a waiver without a date": ([], '[[waivers]]\ngate = "x"\nreason = "r"\n', "until as a date"),
    "a waiver without a reason": ([], '[[waivers]]\ngate = "x"\nuntil = 2027-01-01\n', "reason as a text"),
    "a waiver of a wrong model": (
        [],
        '[[waivers]]\ngate = "x"\nuntil = 2027-01-01\nreason = "r"\nmodel = "m"\n',
        "64 hex digits",
    ),
    "waivers that are a table": ([], '[waivers]\ngate = "x"\n', "waivers as tables"),
    "a key that is none": ([], '[[waiver]]\ngate = "x"\n', "'waivers'"),
    "a gate's rule that is no text": ([], '[gates]\n"a" = 3\n', "rule as text"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_message_and_nothing_is_written(tmp_path, name) -> None:
    arguments, toml, message = BAD[name]
    bare = full(points=40).model_copy(update={"scores": None})
    for file, result in (("good", full(points=40)), ("bare", bare)):
        write_report(result, {}, tmp_path / file, ("json",), run_info={})
        (tmp_path / file / "result.json").rename(tmp_path / f"{file}.json")
    (tmp_path / "text.json").write_text("no JSON")
    given = [str(tmp_path / word) if word.endswith(".json") or word == "none" else word for word in arguments]
    done = run(tmp_path, *given, toml=toml, code=2)
    assert message in done.output
    assert done.output.count("singaudit: ") == 1
    assert "Traceback" not in done.output
    assert not (tmp_path / "out").exists()
