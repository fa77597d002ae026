"""The columns of the progress bars: what fits the terminal, nothing cut in the middle of a number."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console

_WIDE = 100
"""Columns from which memory is shown as well."""


class Clock(ProgressColumn):
    """Time left while a stage runs, where it is known, and the time it took when it is done."""

    def render(self, task: Task) -> Text:
        """Minutes and seconds; hours where there are any."""
        seconds = task.finished_time if task.finished else task.time_remaining
        text = "" if seconds is None else _time(seconds)
        return Text(text if task.finished or not text else f"{text} left", style="progress.remaining")


class Count(ProgressColumn):
    """How many of how many; of a stage that is one step, nothing."""

    def render(self, task: Task) -> Text:
        """For example 1,024/4,000."""
        total = int(task.total or 0)
        text = f"{int(task.completed):,}/{total:,}" if total > 1 else ""
        return Text(text, style="progress.download", justify="right")


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


def progress_bars(console: Console) -> Progress:
    """Bars for ``console``'s width: the name gives way first, numbers are never cut."""
    wide = console.width >= _WIDE
    fixed = [
        SpinnerColumn(finished_text="[green]✓[/green]", table_column=Column(width=1)),
        TextColumn("{task.description}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis", min_width=16)),
        BarColumn(20 if wide else 8, table_column=Column(width=20 if wide else 8)),
        Count(table_column=Column(no_wrap=True, min_width=9)),
        TextColumn("{task.fields[rate]}", table_column=Column(no_wrap=True, overflow="ellipsis", max_width=30)),
        Clock(table_column=Column(no_wrap=True, min_width=9)),
    ]
    if wide:
        fixed.append(TextColumn("{task.fields[memory]}", table_column=Column(no_wrap=True, min_width=7)))
    return Progress(*fixed, console=console, transient=False, expand=True)
