"""singaudit calibrate: planted models audited, and the table of what the findings got right and wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from singaudit.cli.lock import hold
from singaudit.cli.terminal import Reporter, safe
from singaudit.demo.calibration.run import FULL, QUICK, calibrate
from singaudit.demo.calibration.settings import rows_table
from singaudit.demo.calibration.table import markdown, percent
from singaudit.errors import ReportError
from singaudit.report.formats.atomic import write_files
from singaudit.report.formats.folder import check_output_folder

FILES = ("calibration.json", "calibration.md")


def run_calibration(settings: dict[str, Any]) -> dict[str, Any]:
    """Calibrate, write both files and say the held-out rates."""
    output, quiet = Path(settings["output"]), bool(settings.get("quiet"))
    if output.is_symlink() and not settings.get("force"):
        raise ReportError(f"{output} is a link; nothing was written", hint="Choose another folder with -o, or --force")
    check_output_folder(output, force=True)
    hold(output)
    foreign = sorted({p.name for p in output.iterdir()} - {*FILES}) if output.is_dir() else []
    if foreign and not settings.get("force"):
        raise ReportError(
            f"{output} holds files that are no earlier calibration's: {', '.join(foreign[:3])}; nothing was written",
            hint="Choose another folder with -o, or --force",
        )
    size = QUICK if settings.get("quick") else FULL
    with Reporter("none" if quiet else settings["progress"], title="Calibration") as reporter:
        found = calibrate(size, settings["seed"], reporter)
    table = markdown(found)
    if found["rows"]:
        title = ["", "### In the settings that people work in", "", *rows_table(found["rows"]), ""]
        table += "\n".join(title)
    written = write_files(output, {FILES[0]: (json.dumps(found, indent=1) + "\n").encode(), FILES[1]: table.encode()})
    held_out = found["held_out"]["both"]
    if not quiet and settings.get("output_format") != "json":
        print(table)
        for path in written:
            print(safe(str(path), 4096))
    return {
        "files": [str(path) for path in written],
        "held_out": {key: percent(held_out[key]) for key in ("false_alarms", "ignored_found_strong", "half_found")},
        "null_tests": found["all"]["null_tests"],
        "planted_tests": found["all"]["planted_tests"],
    }
