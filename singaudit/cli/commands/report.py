"""singaudit report: an earlier result rendered again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from singaudit.cli.commands.run import pdf_settings, possible_formats
from singaudit.cli.lock import hold
from singaudit.cli.terminal import safe
from singaudit.errors import ReportError
from singaudit.report.build.redact import redacted, redacted_run
from singaudit.report.formats.folder import check_output_folder, run_info_of
from singaudit.report.formats.writer import write_report
from singaudit.report.result.store import load_result


def render_again(settings: dict[str, Any], formats: tuple[tuple[str, ...], bool]) -> dict[str, Any]:
    """Write the report of an earlier result; scores.csv is not made again, it holds what result.json does not."""
    path = Path(settings["result"])
    result = load_result(path)
    output, earlier = Path(settings["output"]), run_info_of(path.parent)
    if settings.get("redact"):
        if os.path.realpath(output) == os.path.realpath(path.parent):
            raise ReportError(
                f"expected another folder with --redact, {output} holds the whole result, which would be lost",
                hint="Name another folder with -o.",
            )
        result, earlier = redacted(result), redacted_run(earlier)
    check_output_folder(output, force=bool(settings.get("force")))
    hold(output)
    pdf = pdf_settings(settings, formats)
    with possible_formats(formats, pdf) as wanted:
        paths = write_report(
            result,
            {},
            output,
            formats=wanted(),
            force=bool(settings.get("force")),
            run_info=None,
            pdf=pdf,
            earlier_run=earlier,
        )
    if not settings.get("quiet") and settings.get("output_format") != "json":
        for path in paths:
            print(safe(str(path), 4096))
    return {"files": [str(path) for path in paths]}
