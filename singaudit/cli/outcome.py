"""One place that turns an outcome into what is shown and into the exit code, for every command."""

from __future__ import annotations

import errno
import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from singaudit.cli.ending import Ended, ended_by, silence, told
from singaudit.errors import ConfigError, ExitCode, MachineError, SingauditError
from singaudit.machine import memory_ran_out

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FAILED = (errno.EIO, errno.ESTALE, errno.ENODEV)
# What a path of the user's own can provoke, wherever it is first used.
_PATHS = (
    errno.ENAMETOOLONG, errno.ELOOP, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENOENT,
    errno.ENXIO, errno.EINVAL,
)  # fmt: skip

_ASIDE = "singaudit.cache", "singaudit.pipeline"
"""Loggers of what changes no result and leaves nothing out: quiet, they keep silent."""


def as_ours(error: BaseException) -> SingauditError:
    """What a user is told: their own mistake, a failing machine, or a bug; only the last keeps its traceback."""
    if isinstance(error, SingauditError):
        return error
    if memory_ran_out(error):
        return MachineError("the machine ran out of memory", hint="Try a smaller --batch-size or fewer images.")
    if isinstance(error, OSError) and error.filename is not None and error.errno in _PATHS:
        return ConfigError(f"cannot use {error.filename!r}: {error.strerror}", hint="Check this path.")
    if isinstance(error, ValueError) and "null byte" in str(error):
        return ConfigError("expected a path, got one with a zero byte in it", hint="Check the paths given.")
    if isinstance(error, OSError) and error.errno in _FULL:
        return MachineError("the disk is full; nothing half-written was left", hint="Free space, or set TMPDIR.")
    if isinstance(error, OSError) and error.errno in _FAILED:
        return MachineError(
            f"reading or writing failed: {error.strerror}", hint="Check the disk or drive that holds the files."
        )
    bug = MachineError(
        f"a bug in singaudit: {type(error).__name__}: {error}", hint="Please report the traceback above."
    )
    bug.code = "bug"
    return bug


class Outcome:
    """One place that turns errors into messages and exit codes, for every command."""

    def __init__(self, given: dict[str, Any]) -> None:
        self._json = given.get("output_format") == "json"
        self._verbose = bool(given.get("verbose"))
        self._quiet = bool(given.get("quiet"))
        self._code: int = ExitCode.PASSED
        self._reached = False  # whether what the command is for was done, and only remains to be shown

    def __enter__(self) -> Outcome:
        if self._quiet:
            for name in _ASIDE:
                logging.getLogger(name).setLevel(logging.ERROR)
        return self

    def heeds(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Show what follows as the settings say, a configuration file's included; the settings."""
        self._json = settings.get("output_format") == "json"
        return settings

    def done(self, result: Any, code: int, files: Sequence[Path] = (), exit_zero: bool = False) -> None:
        """Show an audit's result and where its ``files`` are, and remember its exit code.

        With ``exit_zero`` what a gate says does not decide it. Quiet, a line on stderr says that a gate did not pass.
        """
        from singaudit.cli.summary import quiet_line, show_result

        gated = code in (ExitCode.GATE_FAILED, ExitCode.INCONCLUSIVE)
        self._code, self._reached = ExitCode.PASSED if gated and exit_zero else code, True
        if self._json:
            from singaudit.report.result.checksum import sealed

            click.echo(sealed(result).model_dump_json())
        elif not self._quiet:
            show_result(result, files=files)
        if self._quiet and quiet_line(result):
            click.echo(quiet_line(result), err=True)
        elif self._json:
            self._where(files)

    def print(self, facts: Any, text: Callable[[], None], code: int = 0, files: Sequence[Path] = ()) -> None:
        """Print facts as JSON, or by ``text``, and where ``files`` are, and remember the exit code."""
        self._reached = True
        self._code = code
        if self._json:
            click.echo(json.dumps(facts))
        elif not self._quiet:
            text()
        self._where(files)

    def _where(self, files: Sequence[Path]) -> None:
        """Where the files are: beside the text, or on stderr beside JSON."""
        from singaudit.cli.summary import file_line

        if files and not self._quiet:
            click.echo(file_line(files), err=self._json)

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if self._quiet:
            for name in _ASIDE:
                logging.getLogger(name).setLevel(logging.NOTSET)
        if (lock := sys.modules.get("singaudit.cli.lock")) is not None:  # loaded only where something is held
            lock.release()
        if error is None:
            raise Ended(self._code)
        if isinstance(error, KeyboardInterrupt):
            click.echo(told(error), err=True)
            raise Ended(ended_by(error))
        if isinstance(error, BrokenPipeError):
            # The reader of stdout went away (| head): the outcome stands, and exit code 1 would mean a failed gate.
            # Where progress lost its reader, there is no outcome yet, and exit code 0 would mean one.
            silence(sys.stdout, sys.stderr)
            raise Ended(self._code if self._reached else ExitCode.MACHINE_FAILED)
        if isinstance(error, Ended | GeneratorExit | click.ClickException | click.exceptions.Exit):
            return
        self._fail(as_ours(error), error)

    def _fail(self, error: SingauditError, cause: BaseException) -> NoReturn:
        if self._verbose or error.code == "bug":
            import traceback

            traceback.print_exception(cause)
        self.say(error)
        raise Ended(error.exit_code)

    def say(self, error: SingauditError) -> None:
        """Show an error, and end nothing."""
        from singaudit.cli.terminal import pointed_at, safe

        if self._json:
            facts = {"code": error.code, "message": error.message, "hint": error.hint}
            click.echo(json.dumps(facts), err=True)
        else:
            click.echo(f"singaudit: {safe(error.message, 1500)}", err=True)
            for line in pointed_at(error.place):
                click.echo(line, err=True)
            if error.hint:
                click.echo(f"  try: {safe(error.hint, 1500)}", err=True)
