"""One hostile input: what is made, what is typed, and which of the three allowed outcomes it must have."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner, Result

from singaudit.cli.main import main

Make = Callable[[Path], Sequence[str]]
"""Told an empty folder, which is also the current one: makes files there and returns what is typed."""
_SECONDS = 110.0
"""Less than a model's process may take for one answer: no case is refused only because it was ended."""
_CONTROL = [chr(i) for i in range(32) if chr(i) not in "\n"] + ["\x7f", "\x9b", "\u202e", "\u2066", "\u200f"]


@dataclass(frozen=True)
class Case:
    """A hostile input."""

    name: str
    """In words."""
    make: Make
    """What it is."""
    says: str | Sequence[str] = ""
    """Words of the message, letter case aside; of several, one is enough."""
    code: int = 2
    """Exit code."""
    variables: tuple[tuple[str, str], ...] = ()
    """Environment."""


def typed(*words: str, **files: bytes | str) -> Make:
    """What is typed beside files of these names; ``__`` in a name stands for a dot."""

    def make(folder: Path) -> Sequence[str]:
        for name, content in files.items():
            data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
            (folder / name.replace("__", ".")).write_bytes(data)
        return words

    return make


def run(words: Sequence[str], variables: Sequence[tuple[str, str]] = ()) -> Result:
    """The command line in this process."""
    environment = {"NO_COLOR": "1", **dict(variables)}
    return CliRunner(env=environment).invoke(main, list(words), catch_exceptions=True)


def seen(folder: Path) -> dict[str, object]:
    """Everything below ``folder``: kind, and content where it is a small file."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content: object = stat.S_IFMT(status.st_mode)
        if stat.S_ISREG(status.st_mode) and status.st_size < 2**24 and os.access(path, os.R_OK):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        found[str(path.relative_to(folder))] = content
    return found


def refuse(case: Case, folder: Path) -> None:
    """Assert that the case is refused: its exit code, one clear message with a hint, no traceback, nothing written."""
    words = case.make(folder)
    before, began = seen(folder), time.monotonic()
    found = run(words, case.variables)
    told = f"{case.name}: exit {found.exit_code}\nstdout {found.stdout[-500:]!r}\nstderr {found.stderr[-1500:]}"
    assert found.exit_code == case.code, told
    assert time.monotonic() - began < _SECONDS, f"{case.name} took too long"
    assert "Traceback" not in found.stderr, told
    assert not found.stdout.strip(), told
    says = [case.says] if isinstance(case.says, str) else case.says
    assert any(word.lower() in found.stderr.lower() for word in says), told
    lines = found.stderr.strip().splitlines()
    assert 1 <= len(lines) <= 4, told
    assert len(found.stderr) < 4000, told
    assert "try" in lines[-1].lower() or any("try" in line.lower() for line in lines), f"no hint: {told}"
    assert not [c for c in _CONTROL if c in found.stderr], told
    assert seen(folder) == before, f"{case.name} left files: {sorted(set(seen(folder)) ^ set(before))}"
