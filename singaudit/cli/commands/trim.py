"""``singaudit trim``: settings in, a copy of the model with what its logits see out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from singaudit.cli.commands.refit import config_of
from singaudit.errors import ExitCode
from singaudit.pipeline.trim import TrimOptions, trim
from singaudit.report.result.base import Statistic
from singaudit.report.result.repair import TrimResult


def trim_file(settings: dict[str, Any]) -> tuple[int, TrimResult]:
    """Trim, prove and write. Returns the exit code and the result; raises ``SingauditError``."""
    from singaudit.cli.terminal import Reporter

    options = TrimOptions(settings["new_model"], settings["keep"], settings.get("erase"), bool(settings.get("force")))
    with Reporter("none" if settings.get("quiet") else settings["progress"]) as progress:
        result = trim(config_of(settings), options, progress)
    return (ExitCode.PASSED if result.written else ExitCode.INCONCLUSIVE), result


def show(result: TrimResult, path: str) -> None:
    """Print the result for people."""
    from rich.table import Table

    from singaudit.cli.terminal import console, safe

    out = console(sys.stdout)

    def line(text: str) -> None:
        out.print(safe(text, 600), highlight=False, markup=False)

    line(f"{result.rank:,} of {result.feature_dim:,} dimensions hold all that the {result.classes:,} logits depend on.")
    where = f"the output {result.output_name}" if result.output_name else "the features of the new file"
    line(f"They are {where}{'; a linear layer before them became narrower' if result.folded else ''}.")
    for mode in result.modes:
        same = "to the last bit" if mode.identical else f"within {mode.difference:.1e} of their range"
        answers = "" if mode.top1_agreement is None else f", answers the same on {mode.top1_agreement:.2%}"
        if result.erased is not None and result.keep == "projected":
            line(f"logits change by up to {mode.difference:.1%} of their range ({mode.mode}, {result.ran_on})")
        else:
            line(f"logits the same {same}{answers} ({mode.mode}, {result.ran_on})")
    old, new = result.model.bytes or 0, result.output.bytes or 0
    line(f"bytes {old:,} before, {new:,} after" + (f" ({new / old - 1:+.1%})" if old and new != old else ""))
    if result.time is not None:
        t = result.time
        ratio = f"{t.ratio.value:.3f} [{t.ratio.low:.3f}, {t.ratio.high:.3f}]"
        line(
            (
                f"{t.images} images take {ratio} of the time"
                if t.told
                else f"no difference in time was measured: {ratio}"
            )
            + f" ({1000 * t.seconds_before:.3g} ms before, {1000 * t.seconds_after:.3g} ms after, one thread, "
            f"{t.ratio.n} runs of each)"
        )
    if result.readable:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        columns = ["still read by a probe", "chance", "features", "seen by the logits"]
        for column in columns + (["after erasure"] if result.erased else []):
            table.add_column(column, justify="left" if column == columns[0] else "right", overflow="fold")
        for part in result.readable:
            shares = [part.features, part.seen, *([part.erased] if part.erased else [])]
            table.add_row(safe(part.group, 40), f"{part.chance:.0%}", *map(_share, shares))
        out.print(table)
    else:
        line(f"what can still be read: {result.readable_note}")
    if result.erased is not None:
        e = result.erased
        line(
            f"{e.group} erased: {e.dimensions} dimensions; logits change by {e.logit_change:.1%} of their spread, "
            f"{e.answers_changed.value:.1%} of the answers"
            + (f"; accuracy {e.accuracy.before.value:.1%} -> {e.accuracy.after.value:.1%}" if e.accuracy else "")
        )
    for text in (*result.reasons, *result.warnings):
        line(f"  ! {text}")
    if result.written:
        line(f"Wrote {path}, with {Path(path).with_suffix('.html').name} and the same as .json beside it.")
    else:
        line("Nothing was written; --force writes it all the same.")


def _share(found: Statistic) -> str:
    return f"{found.value:.0%} [{found.low:.0%}, {found.high:.0%}]"
