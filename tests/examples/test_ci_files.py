"""The CI files as they are copied: every command in them is one that singaudit takes, and what is read is written."""

import re
import shlex
from pathlib import Path

import click
import pytest
import yaml

from singaudit.cli.main import main
from singaudit.report.formats.table import FORMATS, chosen_formats
from singaudit.report.gates.rules import parse_rules

CI = Path(__file__).parents[2] / "examples/ci"
ACTION = yaml.safe_load((CI.parents[1] / "action.yml").read_text())


def shells() -> dict[str, str]:
    """File -> what its shell runs."""
    gitlab = yaml.safe_load((CI / "gitlab-ci.yml").read_text())["audit the classifier"]
    azure = yaml.safe_load((CI / "azure-pipelines.yml").read_text())
    jenkins = re.search(r"sh '''(.*?)'''", (CI / "Jenkinsfile").read_text(), re.DOTALL)
    return {
        "gitlab-ci.yml": "\n".join(gitlab["script"]),
        "azure-pipelines.yml": "\n".join(step["script"] for step in azure["steps"] if "script" in step),
        "Jenkinsfile": jenkins[1],
    }


def commands(shell: str) -> list[list[str]]:
    lines = re.sub(r"\\\n", " ", shell).splitlines()
    return [words for words in map(shlex.split, lines) if words[:1] == ["singaudit"]]


def parsed(words: list[str]) -> dict:
    """Options of a ``singaudit run``, as click reads them; a wrong one raises."""
    run = main.commands["run"]
    return run.make_context("run", list(words)).params


@pytest.mark.parametrize("name", sorted(shells()))
def test_the_command_is_one_that_singaudit_takes(name) -> None:
    (command,) = commands(shells()[name])
    assert command[:2] == ["singaudit", "run"]
    options = parsed(command[2:])
    parse_rules(options["gates"])
    assert chosen_formats(options["formats"])
    assert options["pack"]  # no network is needed
    assert options["baseline"]
    assert not options["exit_zero"]


@pytest.mark.parametrize("name", sorted(shells()))
def test_what_the_reader_is_told_to_read_is_written(name) -> None:
    (command,) = commands(shells()[name])
    options = parsed(command[2:])
    written = {f"{options['output']}/{FORMATS[each].file}" for each in chosen_formats(options["formats"])}
    text = (CI / name).read_text()
    read = set(re.findall(r"singaudit-out/[\w.-]+", text))
    assert read <= written
    assert "TEST-*.xml" in text or "singaudit-out/TEST-singaudit.xml" in read


def test_the_pack_of_the_comments_is_made_by_the_command_in_them() -> None:
    for path in CI.iterdir():
        (found,) = re.findall(r"`(singaudit pack .*?)`", path.read_text().replace("\n# ", " ").replace("\n// ", " "))
        words = shlex.split(found)
        options = main.commands["pack"].make_context("pack", words[2:]).params
        assert options["pack_file"] == "audits/pack.pack", path.name


def test_the_action_is_used_with_inputs_and_outputs_that_it_has() -> None:
    steps = yaml.safe_load((CI / "github.yml").read_text())["jobs"]["audit"]["steps"]
    (used,) = [step for step in steps if step.get("id") == "audit"]
    assert set(used["with"]) <= set(ACTION["inputs"])
    parse_rules([line for line in used["with"]["gates"].splitlines() if line.strip()])
    named = set(re.findall(r"steps\.audit\.outputs\.([\w-]+)", (CI / "github.yml").read_text()))
    assert named <= set(ACTION["outputs"])


def test_a_wrong_option_would_be_seen() -> None:
    with pytest.raises(click.UsageError):
        parsed(["m.onnx", "--baselin", "x"])
