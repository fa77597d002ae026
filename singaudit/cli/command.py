"""Commands: options under headings in --help, a runnable example at its end, what was typed repeated as inert text."""

from __future__ import annotations

import difflib
import io
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import click

from singaudit.cli.ending import StreamError, exit_code
from singaudit.cli.terminal import safe


class _Inert(click.Command):
    """A command whose usage errors repeat what was typed as short, inert text."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Parse the arguments; raises click's errors with their text made safe for a terminal."""
        try:
            return super().make_context(*args, **kwargs)
        except click.UsageError as error:
            error.message = safe(error.message, 600)  # type: ignore[misc]
            raise
        except OSError as error:  # --help, which click would end with 1
            raise StreamError from error

    def get_help_option_names(self, ctx: click.Context) -> list[str]:
        """Of every command, whatever context it is parsed in: click remembers the first answer for good."""
        return ["-h", "--help"]


class CommandGroup(_Inert, click.Group):
    """Commands in the order of use; a mistyped one is answered with what was close."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command, whatever of its streams is closed; what an encoding lacks is shown escaped."""
        _open_streams()
        run: Callable[..., Any] = super().main
        if kwargs.pop("standalone_mode", True):
            sys.exit(exit_code(lambda: run(*args, standalone_mode=False, **kwargs)))
        return run(*args, standalone_mode=False, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command named. Raises click's error where libraries would fail in many ways.

        That is where the current folder is gone, and without docstrings, which some read when they are imported.
        """
        if sys.flags.optimize > 1:
            raise click.UsageError(
                "Python runs without docstrings (-OO, or PYTHONOPTIMIZE=2), which transformers reads. Run "
                "python -O, or without.",
                ctx,
            )
        try:
            os.getcwd()
        except OSError as error:
            raise click.UsageError(
                "The current folder was removed, or cannot be entered. Change into another one.", ctx
            ) from error
        try:
            return super().invoke(ctx)
        except OSError as error:  # of a command that has no outcome, such as schema
            raise StreamError from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order in which they were added."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; an unknown name raises click's error with the nearest known one."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = difflib.get_close_matches(args[0], self.commands, 1)
            if near:
                raise click.UsageError(f"No such command {args[0]!r}. Did you mean {near[0]!r}?", ctx) from error
            error.message = safe(error.message, 600)  # type: ignore[misc]
            raise


class Command(_Inert):
    """A command whose --help lists its options under headings and ends with a runnable example."""

    def __init__(self, *args: Any, example: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.example = example

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under their headings, and the example."""
        headings: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if not isinstance(parameter, click.Option):
                continue
            record = parameter.get_help_record(ctx)
            if record is not None:
                headings.setdefault(_HEADINGS.get(str(parameter.name), "Other"), []).append(record)
        for heading in sorted(headings, key=_ORDER.index):
            with formatter.section(heading):
                formatter.write_dl(headings[heading])
        if self.example:
            with formatter.section("Example"):
                formatter.write_text(self.example)


def _open_streams() -> None:
    """Lead standard streams that are closed nowhere: files would get their numbers, and output meant for a stream."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


_ORDER = ["Model", "Images", "Language", "Pictures", "Gates", "Output", "Machine", "Other"]
_HEADINGS = {
    **dict.fromkeys(("classes", "arch", "logits", "features", "activation", "preprocess", "allow_code"), "Model"),
    **dict.fromkeys(("images", "labels", "probe", "limit", "anyway"), "Images"),
    **dict.fromkeys(("balance", "holdout", "most_lost", "keep", "erase"), "Images"),
    **dict.fromkeys(("vlm", "translator", "concepts", "pack"), "Language"),
    **dict.fromkeys(("generate", "toward", "decode"), "Pictures"),
    **dict.fromkeys(("gates", "gate_on", "baseline", "exit_zero", "check", "remove"), "Gates"),
    **dict.fromkeys(
        (
            "anyway",
            "output",
            "pack_file",
            "translator_file",
            "new_model",
            "with_images",
            "formats",
            "force",
            "output_format",
            "progress",
        ),
        "Output",
    ),
    **dict.fromkeys(("quiet", "verbose"), "Output"),
    **dict.fromkeys(("precision", "device", "batch_size", "seed", "cache", "no_cache"), "Machine"),
    **dict.fromkeys(("model_seconds", "model_memory", "pdf_seconds", "pdf_memory", "pdf_appendix"), "Machine"),
}


def each_command(group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    """(name as typed after singaudit, command) of every command, those of sub-groups included."""
    for name, command in group.commands.items():
        yield prefix + name, command
        if isinstance(command, click.Group):
            yield from each_command(command, f"{prefix}{name} ")
