"""README, guides, --help and behaviour agree."""

import importlib.util
import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from singaudit.cli.command import each_command
from singaudit.cli.main import main
from singaudit.metrics.findings import decide
from singaudit.report.result.findings import FindingPart

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {path: path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *(ROOT / "examples").rglob("*.md"))}


COMMANDS = dict(each_command(main))


def help_text(*arguments):
    return CliRunner().invoke(main, [*arguments, "--help"], prog_name="singaudit", terminal_width=100).output


def test_the_readme_can_be_read_in_a_few_minutes():
    assert len(README.splitlines()) <= 200


def test_the_page_of_commands_shows_the_real_help():
    spec = importlib.util.spec_from_file_location("write_commands", ROOT / "examples" / "write_commands.py")
    writer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(writer)
    shown = writer.TARGET.read_text(encoding="utf-8")
    assert shown == writer.commands_text(), "out of date: run python examples/write_commands.py"


# Options of other programs that the pages name.
OTHERS = {"--upgrade", "--no-deps", "--index-url", "--torch-backend"}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_option_that_a_page_names_exists(path):
    known = {o for c in COMMANDS.values() for p in c.params for o in (*p.opts, *p.secondary_opts)}
    known |= {"--help", "--version", *OTHERS}
    lines = PAGES[path].splitlines()
    if path != ROOT / "README.md" and path.parent.name != "guides":  # elsewhere other programs have options too
        lines = [line for line in lines if "singaudit " in line]
    used = {option for line in lines for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", line)}
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


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_pictures_and_files_that_a_page_links_exist(path):
    for target in re.findall(r"\]\(([^)#\s]+)", PAGES[path]):
        assert target.startswith("http") or (path.parent / target).exists(), target


def test_every_guide_is_linked_from_the_readme():
    for guide in (ROOT / "examples" / "guides").glob("*.md"):
        assert f"(examples/guides/{guide.name})" in README, guide.name


def test_every_file_that_contributing_names_exists():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    known = {
        str(path.relative_to(ROOT))
        for path in (
            *ROOT.glob("*"),
            *(ROOT / "singaudit").rglob("*"),
            *(ROOT / "tests").rglob("*"),
            *(ROOT / "examples").rglob("*"),
        )
    }
    named = set(re.findall(r"`((?:[\w.]+/)+(?:\w+\.\w+)?)`", text))
    assert len(named) > 30
    missing = [name for name in named if not any(f"/{path}".endswith(f"/{name}".rstrip("/")) for path in known)]
    assert not missing


def test_the_two_first_commands_are_make_targets():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    commands = re.findall(r"^    (make \w+)$", README, re.MULTILINE)
    assert commands[:2] == ["make demo", "make test"]
    assert all(f"\n{c.split()[1]}:" in makefile for c in commands)
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
