"""The command line in this process: what is typed, printed and returned, without the second that a process takes to
start. That a process of its own does the same is for the tests that look at processes."""

import contextlib
from collections.abc import Mapping
from pathlib import Path

from click.testing import CliRunner, Result

from singaudit.cli.main import main


def typed(*words: object, cwd: Path, env: Mapping[str, str] | None = None) -> Result:
    """What ``singaudit`` with ``words`` prints and ends with, in the folder ``cwd`` and under more variables."""
    with contextlib.chdir(cwd):
        return CliRunner(env={"NO_COLOR": "1", **(env or {})}).invoke(main, [str(word) for word in words])
