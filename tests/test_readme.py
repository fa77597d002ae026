"""README, --help and behaviour agree."""

import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from singaudit.cli.command import each_command
from singaudit.cli.main import main
from singaudit.metrics.findings import decide
from singaudit.report.result.findings import FindingPart

LICENCE = """
## Licence

Apache-2.0. The method is from "Make it SING: Analyzing Semantic Invariants in Classifiers"
([arXiv 2603.14610](https://arxiv.org/abs/2603.14610)); what goes beyond it is described in the code.
"""
ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


COMMANDS = dict(each_command(main))


def help_text(*arguments):
    return CliRunner().invoke(main, [*arguments, "--help"], prog_name="singaudit", terminal_width=100).output


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_readme_shows_the_real_help(command):
    shown = "\n".join(f"    {line}" if line else "" for line in help_text(*command.split()).rstrip().splitlines())
    assert shown in README, (
        f"README's help of {command or 'singaudit'!r} is out of date: run python tests/test_readme.py"
    )


def test_every_option_in_the_readme_exists():
    known = {o for c in COMMANDS.values() for p in c.params for o in (*p.opts, *p.secondary_opts)}
    known |= {"--help", "--version"}
    used = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README))
    assert used <= known, used - known


def test_every_command_has_an_example_that_parses():
    import shlex

    for name, command in COMMANDS.items():
        if isinstance(command, click.Group):
            continue
        example = command.example
        assert example.startswith(f"singaudit {name}"), name
        words = shlex.split(example.split(" > ")[0])[1 + len(name.split()) :]
        with click.Context(command, info_name=name) as context:
            command.parse_args(context, words)


def test_every_finding_is_explained():
    findings = FindingPart.model_fields["finding"].annotation.__args__
    assert all(f"| {finding} |" in README for finding in findings)
    assert decide  # the rules live where the README says
    assert "THRESHOLDS" in README


def test_every_exit_code_is_in_readme_and_help():
    for code in (0, 1, 2, 3, 4, 130):
        assert f"| {code} |" in README
    shown = " ".join(help_text().split())
    assert all(f" {code} " in shown for code in (0, 1, 2, 3, 4))


def test_the_picture_and_the_files_it_links_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("http") or (ROOT / target).exists(), target


def test_the_two_first_commands_are_make_targets():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    commands = re.findall(r"^    (make \w+)$", README, re.MULTILINE)
    assert commands[:2] == ["make demo", "make test"]
    assert all(f"\n{c.split()[1]}:" in makefile for c in commands)
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def write_readme():
    """Put the real help into README.md."""
    head = README.split("\n## Commands\n")[0]
    texts = [help_text(*name.split()).rstrip() for name in ("", *COMMANDS)]
    blocks = ["\n".join(f"    {line}" if line else "" for line in text.splitlines()) for text in texts]
    text = head + "\n## Commands\n\n" + "\n\n".join(blocks) + "\n" + LICENCE
    (ROOT / "README.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write_readme()
