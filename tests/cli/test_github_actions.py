"""GitHub Actions: the real command with the runner's variables, and nothing of it without them."""

import json
import os
import subprocess
import sys

import pytest
from verdict_cases import TEXTS, cases, gate, with_gates

from singaudit.cli.github_actions import annotation_lines
from singaudit.report.formats.interface import Files, Pages, Place

pytestmark = pytest.mark.usefixtures("kept")

CASES = cases()
FILES = Files(model="models/leaky.onnx", places=(Place("pyproject.toml", 12),))


def lines(result):
    return annotation_lines(Pages(result).shown, FILES)


def run(tmp_path, *arguments, **variables):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GITHUB_")}
    return subprocess.run(
        [sys.executable, "-m", "singaudit", "run", "builtin:clean", "-o", str(tmp_path / "out"), "--report", "json",
         *arguments],
        env={**environment, **variables}, capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip


def test_the_real_command_says_it_under_github_actions(tmp_path) -> None:
    summary = tmp_path / "summary"
    summary.write_text("# before\n")
    (tmp_path / "singaudit.toml").write_text('[gates]\n"a: b, 100 %" = "geometry.null_dim < 3"\n')
    done = run(
        tmp_path,
        "--format",
        "json",
        GITHUB_ACTIONS="true",
        GITHUB_STEP_SUMMARY=str(summary),
        GITHUB_WORKSPACE=str(tmp_path),
    )
    assert done.returncode == 1, done.stderr
    found = [line for line in done.stderr.splitlines() if line.startswith("::")]
    assert found[0].startswith(
        "::error file=singaudit.toml,line=2,title=singaudit%3A a%3A b%2C 100 %25 failed::geometry.null_dim < 3: found"
    )
    assert json.loads(done.stdout)["verdict"]["status"] == "fail"  # stdout is the result's alone
    text = summary.read_text(encoding="utf-8")
    assert text.startswith("# before\n## ❌ singaudit")


def test_elsewhere_there_is_nothing_of_it(tmp_path) -> None:
    done = run(tmp_path, "--gate", "geometry.null_dim < 3")
    assert done.returncode == 1
    assert "::error" not in done.stderr + done.stdout


def test_a_summary_that_cannot_be_written_changes_no_outcome(tmp_path) -> None:
    done = run(tmp_path, "--gate", "geometry.null_dim < 3", GITHUB_STEP_SUMMARY=str(tmp_path))
    assert done.returncode == 1
    assert "summary cannot be written" in done.stderr


def test_only_what_did_not_pass_is_annotated() -> None:
    found = {name: [line.split()[0] for line in lines(result)] for name, result in CASES.items()}
    assert found["pass"] == found["waived"] == found["no gates"] == []
    assert found["fail"] == ["::error", "::warning"]
    assert found["undecided"] == found["doubtful"] == found["no images"] == ["::warning"]


def test_no_file_is_named_that_is_not_in_the_repository() -> None:
    # A built-in model, one of a hub, one outside of the repository: none has a path here.
    elsewhere = Files(
        model="",
        places=(
            None,
            None,
            Place("pyproject.toml", 12),
        ),
    )
    first, second = annotation_lines(Pages(CASES["fail"]).shown, elsewhere)
    assert first.startswith("::error file=pyproject.toml,line=12,title=singaudit%3A ")
    assert second.startswith("::warning title=singaudit%3A ")
    (only,) = annotation_lines(Pages(CASES["no images"]).shown, Files(model=""))
    assert only.startswith("::warning title=singaudit%3A ")
    assert "file=" not in second + only
    (whole,) = annotation_lines(Pages(CASES["doubtful"]).shown, elsewhere)
    assert whole.startswith("::warning file=pyproject.toml,line=12,title=")
    assert lines(CASES["fail"])[1].startswith("::warning file=models/leaky.onnx,line=1,title=")


def test_a_name_cannot_end_its_command_or_start_another() -> None:
    for line in lines(CASES["hostile"]):
        assert "\n" not in line
        assert "\r" not in line
        properties = line.split("::")[1]
        assert properties.count(",") == 2
        assert "%0Aowned" not in line


def test_more_than_ten_are_counted() -> None:
    many = with_gates([gate("fail", name=f"{i} {TEXTS[0]}") for i in range(25)], "fail")
    assert len(lines(many)) == 10
    assert "16 more gates did not pass" in lines(many)[-1]
