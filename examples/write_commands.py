"""Writes examples/commands.md: the help of every command, as the command line prints it."""

import argparse
from pathlib import Path

from click.testing import CliRunner

from singaudit.cli.command import each_command
from singaudit.cli.main import main as command_line

TARGET = Path(__file__).with_name("commands.md")
_HEAD = """# Every command and option

Written by `python examples/write_commands.py` from the commands themselves; a test compares the two.
"""


def help_text(*words: str) -> str:
    """What ``singaudit WORDS --help`` prints on 100 columns."""
    shown = CliRunner().invoke(command_line, [*words, "--help"], prog_name="singaudit", terminal_width=100)
    return shown.output.rstrip()


def commands_text() -> str:
    """The whole page."""
    parts = [_HEAD]
    for name in ("", *(name for name, _ in each_command(command_line))):
        parts.append(f"## singaudit {name}".rstrip() + f"\n\n```text\n{help_text(*name.split())}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    TARGET.write_text(commands_text(), encoding="utf-8")
