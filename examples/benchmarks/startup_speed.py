"""How long the command line takes to answer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from measuring import Outcome, in_turn


def speed(quick: bool) -> Outcome:
    """Median wall time of ``singaudit --help`` and of an interpreter that does nothing."""
    program = Path(sys.executable).with_name("singaudit")
    command = [str(program)] if program.exists() else [sys.executable, "-m", "singaudit"]

    def call(*arguments: str) -> None:
        subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)

    calls = {
        "singaudit --help": lambda: call(*command, "--help"),
        "python -c pass": lambda: call(sys.executable, "-c", "pass"),
    }
    seconds = in_turn(calls, 3 if quick else 11)
    outcome = Outcome("Start-up", [{"command": name, "seconds": s} for name, s in seconds.items()])
    outcome.expect("singaudit --help (s)", seconds["singaudit --help"], at_most=0.3)
    return outcome
