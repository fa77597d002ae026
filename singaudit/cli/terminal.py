"""What a person sees in the terminal: progress on stderr, the audit's outcome on stdout."""

from __future__ import annotations

import os
import sys
import time
import unicodedata
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Literal, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID


ProgressKind = Literal["auto", "rich", "plain", "none"]

_PLAIN_SECONDS = 30.0
# Names come from files: control, format (bidi) and surrogate characters must not reach a terminal.
_UNSAFE = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")


def safe(text: str, limit: int = 200) -> str:
    """Text that cannot move the cursor, change direction or flood the line."""
    shown = "".join("�" if unicodedata.category(ch) in _UNSAFE else ch for ch in text)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def pointed_at(place: tuple[str, int] | None) -> list[str]:
    """The text that was read with a caret under the place where it went wrong; nothing without a place."""
    if place is None:
        return []
    text, at = place
    start = max(0, at - 60)
    return ["    " + safe(text[start : start + 100]), " " * (4 + at - start) + "^"]


def console(stream: TextIO) -> Console:
    """A rich console without markup; no control codes off a terminal, under CI or with NO_COLOR."""
    from rich.console import Console

    class Pipe(Console):
        """Rich would exit 1 where the reader of a pipe is gone, and that means a failed gate here."""

        def on_broken_pipe(self) -> None:
            """Raise the ``BrokenPipeError`` that is being handled."""
            raise

    plain = not interactive(stream)
    return Pipe(
        file=stream,
        markup=False,
        highlight=False,
        force_terminal=False if plain else None,
        soft_wrap=plain,
        no_color=True if plain or os.environ.get("NO_COLOR") else None,
        width=100 if plain else None,
    )


def interactive(stream: TextIO) -> bool:
    """True on a terminal outside CI."""
    return stream.isatty() and not os.environ.get("CI") and os.environ.get("TERM") != "dumb"


@contextmanager
def libraries_silent() -> Iterator[None]:
    """Keep what libraries in C and Rust print off the terminal; what Python prints still gets there.

    libtiff writes a line for every damaged strip, and the tokenizers library repeats unknown names of a file as they
    are, escape sequences included. What matters of it is said in the result.
    """
    with ExitStack() as stack:
        for number, name in ((1, "stdout"), (2, "stderr")):
            stack.enter_context(_silent(number, name))
        yield


@contextmanager
def _silent(number: int, name: str) -> Iterator[None]:
    """One standard stream of Python's through a copy of its descriptor, whose own number leads nowhere meanwhile."""
    before = getattr(sys, f"__{name}__")
    try:
        ours = before is not None and getattr(sys, name) is before and before.fileno() == number
    except (OSError, ValueError):
        ours = False
    if not ours:  # replaced by a test or a notebook, or closed
        yield
        return
    before.flush()
    kept, nowhere = os.dup(number), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)
    shown = open(kept, "w", encoding=before.encoding, errors=before.errors, buffering=1, closefd=False)  # noqa: SIM115
    setattr(sys, name, shown)
    try:
        yield
    finally:
        setattr(sys, name, before)
        os.dup2(kept, number)
        try:
            shown.flush()
        finally:
            os.close(kept)


class Reporter:
    """Shows (stage, done, total) as it advances: bars on a terminal, a line per 10 % or 30 s elsewhere."""

    def __init__(self, kind: ProgressKind, stream: TextIO | None = None, title: str = "") -> None:
        self._stream = stream or sys.stderr
        self._kind = ("rich" if interactive(self._stream) else "plain") if kind == "auto" else kind
        self._title = title
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._said: dict[str, tuple[float, float]] = {}
        self._started: dict[str, float] = {}
        self._notes: dict[str, str] = {}
        self._aside = ExitStack()

    def __enter__(self) -> Reporter:
        self._aside.enter_context(libraries_silent())
        if self._stream is sys.__stderr__:
            self._stream = sys.stderr
        if self._kind == "rich":
            from singaudit.cli.progress_columns import progress_bars

            self._bars = progress_bars(console(self._stream))
            self._bars.start()
        if self._title and self._kind != "none":
            self._line(self._title)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()
        self._aside.close()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Tell that ``done`` of ``total`` are done in ``stage``."""
        if self._bars is not None:
            self._show(stage, done, total)
        elif self._kind == "plain":
            self._say(stage, done, total)

    @property
    def listening(self) -> bool:
        """Whether anybody sees what is said."""
        return self._kind != "none"

    def say(self, text: str) -> None:
        """A line of its own, between the stages."""
        if self.listening:
            self._line(safe(text, 600))

    def note(self, stage: str, text: str) -> None:
        """Tell a detail of ``stage``, to be shown with its next advance in place of its rate."""
        self._notes[stage] = text

    def warn(self, text: str) -> None:
        """Tell at once what a person may want to stop for; nothing where no progress is shown."""
        if self._kind != "none":
            self._line(f"! {safe(text, 500)}")

    def _line(self, text: str) -> None:
        if self._bars is not None:
            self._bars.console.print(text)
        else:
            print(text, file=self._stream, flush=True)

    def _show(self, stage: str, done: int, total: int) -> None:
        assert self._bars is not None
        now = time.monotonic()
        started = self._started.setdefault(stage, now)
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(safe(stage), total=total, rate="", memory="")
        speed = done / (now - started) if done and now > started else 0.0
        rate = f"{speed:,.0f} images/s" if "images" in stage and speed else ""
        if _counts_bytes(stage):
            # Bars count whole numbers of one unit; a model's bytes are read more easily as MB.
            rate = f"MB, {speed / 1e6:,.1f} MB/s"
            done, total = done // 10**6, max(1, total // 10**6)
        rate = self._notes.get(stage, rate)
        self._bars.update(self._tasks[stage], completed=done, total=total, rate=rate, memory=_memory())

    def _say(self, stage: str, done: int, total: int) -> None:
        now, share = time.monotonic(), done / total if total else 1.0
        said_at, said_share = self._said.get(stage, (0.0, -1.0))
        if share < 1 and share - said_share < 0.1 and now - said_at < _PLAIN_SECONDS:
            return
        if said_share >= 1 or (share == 0 and total == 1):
            return
        self._said[stage] = (now, share)
        note = f", {self._notes[stage]}" if stage in self._notes else ""
        if _counts_bytes(stage):
            self._line(f"{stage}: {done / 1e6:,.1f}/{total / 1e6:,.1f} MB ({share:.0%}){note}")
        else:
            self._line(f"{stage}: done" if total == 1 else f"{stage}: {done}/{total} ({share:.0%}){note}")


def _counts_bytes(stage: str) -> bool:
    return stage.startswith("download ")


def _memory() -> str:
    """Resident memory of this process, where the system tells."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            pages = int(file.read().split()[1])
    except (OSError, ValueError, IndexError):
        return ""
    return f"{pages * os.sysconf('SC_PAGE_SIZE') / 2**30:.1f} GiB"
