"""singaudit report: an earlier result rendered again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from singaudit.cli.commands.run import pdf_settings, possible_formats
from singaudit.cli.lock import hold
from singaudit.cli.terminal import safe
from singaudit.report.formats.folder import check_output_folder, run_info_of
from singaudit.report.formats.writer import write_report
from singaudit.report.result.store import load_result


def render_again(settings: dict[str, Any], formats: tuple[tuple[str, ...], bool]) -> dict[str, Any]:
    """Write the report of an earlier result; scores.csv is not made again, it holds what result.json does not."""
    path = Path(settings["result"])
    result = load_result(path)
    output = Path(settings["output"])
    check_output_folder(output, force=bool(settings.get("force")))
    hold(output)
    paths = write_report(
        result, {}, output, formats=possible_formats(formats), force=bool(settings.get("force")), run_info=None,
        pdf=pdf_settings(settings, formats), earlier_run=run_info_of(path.parent),
    )  # fmt: skip
    if not settings.get("quiet") and settings.get("output_format") != "json":
        for path in paths:
            print(safe(str(path), 4096))
    return {"files": [str(path) for path in paths]}
