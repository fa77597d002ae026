"""``singaudit inspect``: what the head of a model is and what it cannot see, from the file alone."""

from __future__ import annotations

import functools
import shlex
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from singaudit.errors import SingauditError
from singaudit.without_compiler import uncollected

_BLOCKS = "▁▂▃▄▅▆▇█"


def inspect_file(settings: dict[str, Any]) -> dict[str, Any]:
    """Facts about the model of ``settings``; a line on stderr says that it is at work. Raises ``SingauditError``."""
    from singaudit.cli.terminal import Reporter, safe

    quiet = settings.get("quiet") or settings.get("output_format") == "json"  # whose stderr holds an error alone
    title = f"Reading {safe(str(settings.get('model', '')), 100)}: head, null space, shadow copy"
    with Reporter("none" if quiet else settings.get("progress", "auto"), title=title) as progress:
        return _stage().inspect_model(settings, progress)


@functools.cache
def _stage() -> ModuleType:
    with uncollected():
        from singaudit.pipeline import inspect
    return inspect


def inspect_files(
    settings: dict[str, Any], models: Sequence[str], say: Callable[[SingauditError], None]
) -> tuple[list[dict[str, Any]], int]:
    """(facts or error of each model, exit code of the worst); for people each is shown when it is read."""
    found: list[dict[str, Any]] = []
    code = 0
    for model in models:
        try:
            facts = inspect_file({**settings, "model": model})
        except SingauditError as error:
            say(error)
            code = max(code, error.exit_code)
            found.append({"model": model, "error": {"code": error.code, "message": error.message, "hint": error.hint}})
            continue
        found.append(facts)
        if settings.get("output_format") != "json" and not settings.get("quiet"):
            describe(facts, model)
            print()
    return found, code


def describe(facts: dict[str, Any], model: str = "") -> None:
    """Print the facts of ``inspect_file`` for people, and last what follows from them; ``model`` as it was named."""
    from rich.table import Table
    from rich.text import Text

    from singaudit.cli.terminal import console, safe

    out = console(sys.stdout)
    head, g, p = facts["head"], facts["geometry"], facts["preprocessing"]
    # A name takes 15 columns, so that a checksum of 64 stays whole in 80.
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(style="bold", width=15)
    table.add_column(overflow="fold")
    described = {"model", "format", "sha256"}

    def row(name: str, value: object) -> None:
        table.add_row(name, safe(str(value), 600))

    row("model", facts["name"])
    row("format", facts["format"])
    row("sha256", facts["sha256"])
    for name, value in facts["description"].items():
        if name not in described:
            row({"nodes": "graph nodes"}.get(name, name), value)
    row("preprocessing", f"{p['settings'].replace(',', ', ')} ({p['source']})")
    if p["guessed"]:
        row("guessed", f"{', '.join(p['guessed'])}: state them with --preprocess")
    names = facts["class_names"]
    if names:
        row("class names", ", ".join(names[:8]) + (f", ... ({len(names)})" if len(names) > 8 else ""))
    row("head", f"{head['kind']}, {head['classes']} x {head['feature_dim']}, {head['stored_dtype']}")
    row("head's nodes", ", ".join(head["nodes"]))
    row("proved", f"|W f + b - logits| at most {head['max_error']:.1e} of the largest logit")
    runtime = facts["runtime"]
    apart = (
        "" if runtime["difference"] is None else f"; the two modes differ by {runtime['difference']:.1e} of the range"
    )
    row("runtime", f"ONNX Runtime, {runtime['mode']}{apart}")
    if runtime["reason"]:
        row("runtime's reason", runtime["reason"])
    assumed = "" if head["activation_stated"] else " (assumed)"
    row("activation", head["activation"] + assumed)
    row("rank", f"{g['rank']} (tolerance {g['tolerance']:.3g}, {g['tolerance_reason']})")
    softmax = "" if g["softmax_null_dim"] is None else f"; softmax {g['softmax_null_dim']}"
    row("null dimensions", f"logit {g['null_dim']} of {g['feature_dim']}{softmax}")
    near = g["near_null"]
    row(
        "near-null",
        f"{near['dim']} dimensions move every logit by less than {near['fraction']:.0%} of its spread, "
        f"{near['variance_share']:.0%} of all (if features varied alike in every direction)",
    )
    row("rank at cut-off", ", ".join(f"x{r['factor']:g}: {r['rank']}" for r in g["rank_sensitivity"]))
    row("spectrum", spectrum_chart(g["singular_values"], g["tolerance"]))
    for name, value in _certificate_rows(facts["certificate"]):
        row(name, value)
    out.print(table)
    out.print()
    for text, style in conclusion(facts, model):
        out.print(Text(text, style=style))


def conclusion(facts: dict[str, Any], model: str = "") -> list[tuple[str, str]]:
    """What follows, in words: lines and their style. What share is ignored, whether an audit can say what it means,
    what is guessed, and the command to type next."""
    g, c, guessed = facts["geometry"], facts["certificate"], facts["preprocessing"]["guessed"]
    share = g["null_dim"] / g["feature_dim"]
    if g["null_dim"] == 0:
        return [
            ("The head ignores no direction of its feature space: there is nothing for an audit to look at.", "bold")
        ]
    lines = [
        (
            f"The head ignores {share:.0%} of its feature space: {g['null_dim']:,} of {g['feature_dim']:,} dimensions "
            "move no logit.",
            "bold",
        )
    ]
    if c["status"] == "passed":
        lines.append(("It can be audited, generated pictures included.", ""))
    else:
        lines.append((f"It can be audited, but for generated pictures: the shadow copy is {c['status']}.", "yellow"))
    if guessed:
        keys = ", ".join(guessed)
        lines.append((f"Guessed, and so no audit of it can pass yet: {keys}. State them with --preprocess.", "yellow"))
    if facts["class_names"] is None:
        lines.append(("It names no classes: give them with --classes.", "yellow"))
    lines.append((f"Next: {next_command(facts, model)}", ""))
    return lines


def next_command(facts: dict[str, Any], model: str = "") -> str:
    """The audit's command for an inspected model; words in capitals stand for what only the reader knows."""
    words = ["singaudit", "run", model or str(facts["name"]), "--images", "PHOTOS"]
    if facts["class_names"] is None:
        words += ["--classes", "CLASSES"]
    if facts["preprocessing"]["guessed"]:
        words += ["--preprocess", str(facts["preprocessing"]["settings"])]
    return shlex.join([*words, "--gate", "default"])


def _certificate_rows(c: dict[str, Any]) -> list[tuple[str, str]]:
    """The shadow copy's certificate for people."""
    if c["status"] == "unsupported":
        return [("shadow copy", f"unsupported: {', '.join(c['unsupported'][:8])}")]
    modes = (("difference_unoptimised", "unoptimised"), ("difference_optimised", "optimised"))
    compared = ", ".join(f"{c[key]:.1e} {mode}" for key, mode in modes if c[key] is not None)
    agreement = "" if c["top1_agreement"] is None else f"; top-1 agreement {c['top1_agreement']:.1%}"
    cosine = "" if c["gradient_cosine"] is None else f"; gradient cosine {c['gradient_cosine']:.5f}"
    rows = [("shadow copy", f"{c['status']} on {c['ran_on']} ({c['precision']}){agreement}{cosine}")]
    rows.append(("difference", f"to ONNX Runtime, share of the outputs' range: {compared}; allowed {c['tolerance']:g}"))
    return rows + ([("reason", c["reason"])] if c["reason"] else [])


def spectrum_chart(values: list[float], tolerance: float, width: int = 48) -> str:
    """Singular values as a line of blocks on a log scale from the tolerance to the largest; dots below it."""
    import math

    if not values or values[0] <= 0:
        return "all zero"
    floor = math.log10(max(tolerance, values[0] * 1e-12))
    span = max(math.log10(values[0]) - floor, 1e-9)
    step = max(1, math.ceil(len(values) / width))
    chart = ""
    for value in values[::step]:
        height = (math.log10(value) - floor) / span if value > tolerance else -1
        chart += "." if height < 0 else _BLOCKS[min(len(_BLOCKS) - 1, int(height * len(_BLOCKS)))]
    return f"{values[0]:.3g} {chart} {values[-1]:.3g}"
