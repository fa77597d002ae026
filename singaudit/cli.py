"""Click at the edge: commands parse, make one call, show the outcome, and choose the exit code."""

from __future__ import annotations

import difflib
import errno
import json
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import click

from singaudit import __version__
from singaudit.errors import ConfigError, MachineError, SingauditError
from singaudit.settings import load_settings

FORMATS = ("html", "pdf", "json", "csv")
_INTERRUPTED = 130


class _Group(click.Group):
    """Commands in the order of use; a mistyped one is answered with what was close."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = difflib.get_close_matches(args[0], self.commands, 1)
            if near:
                raise click.UsageError(f"No such command {args[0]!r}. Did you mean {near[0]!r}?", ctx) from error
            raise


class _Grouped(click.Command):
    """A command whose --help lists its options under headings and ends with a runnable example."""

    def __init__(self, *args: Any, example: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.example = example

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
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


_ORDER = ["Model", "Images", "Language", "Gates", "Output", "Machine", "Other"]
_HEADINGS = {
    **dict.fromkeys(("classes", "logits", "features", "activation", "preprocess"), "Model"),
    **dict.fromkeys(("images", "labels", "probe", "limit"), "Images"),
    **dict.fromkeys(("vlm", "concepts"), "Language"),
    **dict.fromkeys(("gates", "gate_on", "exit_zero"), "Gates"),
    **dict.fromkeys(("output", "formats", "force", "output_format", "progress", "quiet", "verbose"), "Output"),
    **dict.fromkeys(("device", "batch_size", "seed"), "Machine"),
}


def _option(*names: str, **settings: Any) -> Callable[[Any], Any]:
    """An option that can also be set by SINGAUDIT_<NAME> and in the configuration file."""
    long = next(name for name in names if name.startswith("--"))
    variable = "SINGAUDIT_" + long.split("/")[0].removeprefix("--").replace("-", "_").upper()
    return click.option(*names, envvar=variable, show_envvar=False, **settings)


_MODEL_OPTIONS = [
    _option("--logits", metavar="NAME", help="Output that holds the logits, where the graph leaves a choice."),
    _option("--features", metavar="NAME", help="Tensor that holds the features, where the graph leaves a choice."),
    _option("--activation", type=click.Choice(["auto", "softmax", "sigmoid"]), help="What follows the logits."),
    _option(
        "--preprocess",
        metavar="KEY=VALUE,...",
        help="size=224 or HxW, mode=crop|squash|pad, crop=0.95, mean=, std= (per channel joined by /), "
        "scale=1/255|1, channels=rgb|bgr|gray, layout=nchw|nhwc, interpolation=. Default: the file's metadata.",
    ),
]
_OUTPUT_OPTIONS = [
    _option("--format", "output_format", type=click.Choice(["text", "json"]), default="text", show_default=True,
            help="What stdout carries; with json, errors are {code, message, hint}."),
    _option("--progress", type=click.Choice(["auto", "rich", "plain", "none"]), default="auto", show_default=True,
            help="How progress is shown on stderr."),
    click.option("-q", "--quiet", is_flag=True, help="Neither progress nor summary; exit code and files only."),
    click.option("-v", "--verbose", is_flag=True, help="Show the traceback of errors."),
]  # fmt: skip
_CONFIG_OPTIONS = [
    click.option("--config", metavar="FILE", help="TOML file to read instead of singaudit.toml or pyproject.toml."),
    click.option("--isolated", is_flag=True, help="Ignore configuration files."),
]


def _with(options: list[Callable[[Any], Any]]) -> Callable[[Any], Any]:
    def add(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return add


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="singaudit")
def main() -> None:
    """Audit what an image classifier's head silently ignores, before you deploy it.

    Exit codes: 0 gates passed or none set, 1 a gate failed, 2 wrong input, 3 the machine failed, 4 inconclusive.
    """


@main.command(
    cls=_Grouped,
    example="singaudit run model.onnx --classes dog,cat --images photos/ --gate default -o audit/",
)
@click.argument("model")
@_option("--classes", metavar="A,B,C|FILE", help="Class names in logit order. Default: the model's own metadata.")
@_with(_MODEL_OPTIONS)
@_option("--images", metavar="SOURCE", help="Folder (flat, or one subfolder per class), or shapes:N[:SEED].")
@_option("--labels", metavar="auto|none|FILE", help="auto: subfolders are labels. FILE: CSV with path,label.")
@_option("--probe", metavar="SOURCE", help="Extra unlabelled images; the translator is then fitted on these alone.")
@_option("--limit", type=click.IntRange(1), metavar="N", help="Use the first N images of each source only.")
@_option(
    "--vlm",
    metavar="NAME|DIR",
    help="CLIP or SigLIP model: hub name, folder, or builtin:shapes. [default: openai/clip-vit-large-patch14]",
)
@_option("--concepts", metavar="FILE", help="Concepts: a text file, one a line, or TOML groups. Default: built-in.")
@_option(
    "--gate",
    "gates",
    multiple=True,
    metavar="RULE",
    help="e.g. 'scores.attribute_score_deg < 3' or 'finding[colour] not in (strong, partial)'; default for a "
    "ready policy. May be given several times.",
)
@_option(
    "--gate-on",
    type=click.Choice(["upper", "point", "lower"]),
    help="End of the interval a gate is judged on. upper, the default: the bad one; a straddled limit is inconclusive.",
)
@click.option("--exit-zero", is_flag=True, help="Exit 0 instead of 1 or 4.")
@_option("-o", "--output", metavar="DIR", default="singaudit-out", show_default=True, help="Folder of the report.")
@_option("--report", "formats", metavar="LIST", help="Which of html,pdf,json,csv. Default: all that can be made.")
@click.option("--force", is_flag=True, help="Write into a folder that holds other files.")
@_with(_OUTPUT_OPTIONS)
@_option("--device", metavar="auto|cpu|cuda[:i]", help="Where to compute. [default: auto]")
@_option("--batch-size", type=click.IntRange(1), metavar="N", help="Images per batch. Default: 16.")
@_option("--seed", type=click.IntRange(0), metavar="N", help="Of controls and intervals. [default: 0]")
@_with(_CONFIG_OPTIONS)
@click.pass_context
def run(ctx: click.Context, /, **given: Any) -> None:
    """Audit MODEL: geometry, scores, controls, findings, gates and a report.

    Without images only the geometry is audited, and the exit code is 4.
    """
    with _Outcome(given) as outcome:
        from singaudit.commands import run_audit

        code, result = run_audit(_merged(ctx, given), _requested_formats(ctx, given), sys.argv[1:])
        outcome.done(result, 0 if given["exit_zero"] and code in (1, 4) else code)


@main.command(cls=_Grouped, example="singaudit inspect model.onnx --format json")
@click.argument("model")
@_with(_MODEL_OPTIONS)
@_with(_OUTPUT_OPTIONS)
@_with(_CONFIG_OPTIONS)
@click.pass_context
def inspect(ctx: click.Context, /, **given: Any) -> None:
    """Show MODEL's head, null space and certificate; no images, no language model."""
    with _Outcome(given) as outcome:
        from singaudit.inspection import describe, inspect_model

        facts = inspect_model(_merged(ctx, given))
        outcome.print(facts, lambda: describe(facts))


@main.command(cls=_Grouped, example="singaudit demo --open")
@_option("-o", "--output", metavar="DIR", default="singaudit-demo", show_default=True, help="Folder of the reports.")
@click.option("--force", is_flag=True, help="Write into a folder that holds other files.")
@click.option("--open", "open_page", is_flag=True, help="Open the page in a browser when done.")
@_with(_OUTPUT_OPTIONS)
def demo(**given: Any) -> None:
    """Audit a clean and a leaky classifier of the embedded world, offline, side by side.

    Exits 0 when it ran, whatever the verdicts.
    """
    with _Outcome(given) as outcome:
        from singaudit.commands import run_demo

        outcome.print(run_demo(given), lambda: None)


@main.command(cls=_Grouped, example="singaudit report singaudit-out/result.json -o again/")
@click.argument("result")
@_option("-o", "--output", metavar="DIR", default="singaudit-report", show_default=True, help="Folder of the report.")
@_option("--report", "formats", metavar="LIST", help="Which of html,pdf,json. Default: all that can be made.")
@click.option("--force", is_flag=True, help="Write into a folder that holds other files.")
@_with(_OUTPUT_OPTIONS)
@click.pass_context
def report(ctx: click.Context, /, **given: Any) -> None:
    """Render the report again from an earlier RESULT.json, without inference."""
    with _Outcome(given) as outcome:
        from singaudit.commands import render_again

        outcome.print(render_again(given, _requested_formats(ctx, given)), lambda: None)


@main.command(cls=_Grouped, example="singaudit schema > result.schema.json")
def schema() -> None:
    """Print the JSON Schema of result.json."""
    from singaudit.report.result import json_schema

    click.echo(json.dumps(json_schema(), indent=2))


@main.command(cls=_Grouped, example="singaudit doctor")
@_with(_OUTPUT_OPTIONS)
def doctor(**given: Any) -> None:
    """Say what works on this machine and how to mend what does not."""
    with _Outcome(given) as outcome:
        from singaudit.doctor import examine, show

        facts = examine()
        outcome.print(facts, lambda: show(facts))


def _merged(ctx: click.Context, given: dict[str, Any]) -> dict[str, Any]:
    """Options and variables over configuration file over defaults; keys that were not set are absent."""
    set_here = {
        name: value
        for name, value in given.items()
        if value is not None
        and value != ()
        and str(ctx.get_parameter_source(name)).rsplit(".", 1)[-1] not in ("DEFAULT", "DEFAULT_MAP")
    }
    settings = load_settings(given.get("config"), isolated=bool(given.get("isolated")), known=_known_keys(ctx))
    defaults = {name: value for name, value in given.items() if value is not None and value != ()}
    return {**defaults, **settings, **set_here}


def _known_keys(ctx: click.Context) -> dict[str, str]:
    """Configuration key -> parameter name, over every command, so that one file serves all."""
    known: dict[str, str] = {}
    for command in main.commands.values():
        for parameter in command.params:
            if isinstance(parameter, click.Option) and parameter.envvar:
                known[str(parameter.envvar).removeprefix("SINGAUDIT_").lower()] = str(parameter.name)
    return known


def _requested_formats(ctx: click.Context, given: dict[str, Any]) -> tuple[tuple[str, ...], bool]:
    """(formats to write, whether the user named them)."""
    text = _merged(ctx, given).get("formats")
    if text is None:
        return FORMATS, False
    words = text if isinstance(text, list) else str(text).split(",")
    formats = tuple(str(word).strip() for word in words)
    wrong = [word for word in formats if word not in FORMATS]
    if wrong:
        raise ConfigError(f"expected --report to list some of {', '.join(FORMATS)}, got {wrong[0]!r}")
    return formats, True


def _as_ours(error: Exception) -> SingauditError:
    """What a user is told: their own mistake, a failing machine, or a bug; only the last keeps its traceback."""
    if isinstance(error, SingauditError):
        return error
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return MachineError("the machine ran out of memory", hint="Try a smaller --batch-size or fewer images.")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return MachineError("the disk is full; nothing half-written was left", hint="Free space, or set TMPDIR.")
    bug = MachineError(
        f"a bug in singaudit: {type(error).__name__}: {error}", hint="Please report the traceback above."
    )
    bug.code = "bug"
    return bug


class _Outcome:
    """One place that turns errors into messages and exit codes, for every command."""

    def __init__(self, given: dict[str, Any]) -> None:
        self._json = given.get("output_format") == "json"
        self._verbose = bool(given.get("verbose"))
        self._quiet = bool(given.get("quiet"))
        self._code = 0

    def __enter__(self) -> _Outcome:
        return self

    def done(self, result: Any, code: int) -> None:
        """Show an audit's result and remember its exit code."""
        self._code = code
        if self._json:
            click.echo(result.model_dump_json())
        elif not self._quiet:
            from singaudit.terminal import show_result

            show_result(result)

    def print(self, facts: dict[str, Any], text: Callable[[], None]) -> None:
        """Print facts as JSON, or by ``text``."""
        if self._json:
            click.echo(json.dumps(facts))
        elif not self._quiet:
            text()

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is None:
            sys.exit(self._code)
        if isinstance(error, KeyboardInterrupt):
            click.echo("Interrupted; no report was written.", err=True)
            sys.exit(_INTERRUPTED)
        if isinstance(error, BrokenPipeError):
            # The reader of stdout went away (| head): the outcome stands, and exit code 1 would mean a failed gate.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(self._code)
        if not isinstance(error, Exception | MemoryError) or isinstance(
            error, click.ClickException | click.exceptions.Exit
        ):
            return
        self._fail(_as_ours(error), error)

    def _fail(self, error: SingauditError, cause: Exception) -> NoReturn:
        from singaudit.terminal import safe

        if self._verbose or error.code == "bug":
            import traceback

            traceback.print_exception(cause)
        if self._json:
            facts = {"code": error.code, "message": error.message, "hint": error.hint}
            click.echo(json.dumps(facts), err=True)
        else:
            click.echo(f"singaudit: {safe(error.message, 1500)}", err=True)
            if error.hint:
                click.echo(f"  try: {safe(error.hint, 1500)}", err=True)
        sys.exit(error.exit_code)
