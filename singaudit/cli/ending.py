"""How a process of singaudit ends, whatever happens in it: 1 means that a gate failed, and nothing else ever gives 1.

Python, click and the libraries end a program with 1 for many things: an exception, a signal outside of a command, a
panic of a library in Rust, a message that cannot be written; a full disk behind standard output gives 120. Here all of
it is 3, and a signal gives 128 and its number.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, TextIO

import click

from singaudit.errors import ExitCode


class Ended(SystemExit):
    """The exit of a command that has said all it had to say; what else raises SystemExit is a failure."""


class Interrupted(KeyboardInterrupt):
    """A signal that asks for the end, as Ctrl-C does."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class StreamError(Exception):
    """A standard stream that could not be written, outside of a command; its cause says why."""


def ended_by(error: BaseException | None) -> int:
    """The exit code for a KeyboardInterrupt: 130, of SIGTERM 143, of SIGHUP 129."""
    return 128 + (error.number if isinstance(error, Interrupted) else signal.SIGINT)


def told(error: BaseException | None) -> str:
    """What to say to one."""
    what = signal.Signals(error.number).name if isinstance(error, Interrupted) else "Interrupted"
    return f"{what}; no report was written."


def exit_code(command: Callable[[], Any]) -> int:
    """Run a click command in its own words (``standalone_mode=False``) and settle what the process ends with."""
    with signals_interrupt():
        try:
            code = _run(command)
        except BaseException as error:  # a message that cannot be written, or a signal while one is
            code = ended_by(error) if isinstance(error, KeyboardInterrupt) else ExitCode.MACHINE_FAILED
    return _flushed(code)


def _run(command: Callable[[], Any]) -> int:
    try:
        found = command()
        return found if isinstance(found, int) else 0
    except Ended as error:
        return int(error.code or 0)
    except click.ClickException as error:
        error.show()
        return error.exit_code if error.exit_code != ExitCode.GATE_FAILED else ExitCode.WRONG
    except (KeyboardInterrupt, click.Abort) as error:
        cause = error if isinstance(error, KeyboardInterrupt) else error.__cause__
        click.echo(told(cause), err=True)
        return ended_by(cause)
    except StreamError as error:
        if isinstance(error.__cause__, BrokenPipeError):  # singaudit --help | head: the reader has had enough
            silence(sys.stdout, sys.stderr)
            return 0
        click.echo(f"singaudit: the output could not be written: {error.__cause__}\n  try: Free space.", err=True)
        return ExitCode.MACHINE_FAILED
    except BaseException as error:
        import traceback

        traceback.print_exception(error)
        click.echo(f"singaudit: a bug in singaudit: {type(error).__name__}: {error}", err=True)
        click.echo("  try: Please report the traceback above.", err=True)
        return ExitCode.MACHINE_FAILED


def _flushed(code: int) -> int:
    """Write out what is still held back; the interpreter would end with 120 where it cannot."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            silence(stream)
        except (OSError, ValueError):
            silence(stream)
            code = ExitCode.MACHINE_FAILED
    return code


def silence(*streams: TextIO) -> None:
    """Lead streams nowhere: nothing more can be written there, and what they hold must not fail at the very end."""
    for stream in streams:
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """Within the block SIGTERM and SIGHUP, which CI and clusters send, do what Ctrl-C does.

    A signal that is ignored, as by nohup, stays so; outside of the main thread nothing changes.
    """
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    ours = [n for n in numbers if signal.getsignal(n) is signal.SIG_DFL]
    if threading.current_thread() is not threading.main_thread():
        ours = []

    def handle(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    for number in ours:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
