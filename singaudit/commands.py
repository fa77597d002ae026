"""What the commands do, between the command line and the pipeline: settings in, files and an exit code out."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from singaudit.config import AuditConfig, make_config, parse_classes
from singaudit.errors import ReportError
from singaudit.pipeline import Audit, audit
from singaudit.report.pdf import pdf_available
from singaudit.report.result import AuditResult
from singaudit.report.side_by_side import render_pair
from singaudit.report.writer import check_output_folder, load_result, write_page, write_report
from singaudit.terminal import Reporter, safe, show_result

# The demo's two models; both see the same generated images.
DEMO_MODELS = ("clean", "leaky")
DEMO_GATES = ("finding[colour] not in (strong, partial)", "translator.r2.low > 0.1")
DEMO_IMAGES = "shapes:4000:20260316"


def run_audit(
    settings: dict[str, Any], formats: tuple[tuple[str, ...], bool], argv: Sequence[str]
) -> tuple[int, AuditResult]:
    """Audit and write the report. Returns the exit code and the result; raises ``SingauditError``."""
    config = config_from(settings)
    output = Path(settings["output"])
    check_output_folder(output, force=bool(settings.get("force")))
    wanted = _possible(formats)
    with Reporter("none" if settings.get("quiet") else settings["progress"]) as reporter:
        found = _audit_into(config, output, wanted, bool(settings.get("force")), reporter, argv)
    return found.exit_code, found.result


def _audit_into(
    config: AuditConfig, output: Path, formats: Sequence[str], force: bool, reporter: Reporter, argv: Sequence[str]
) -> Audit:
    started, clock = datetime.now(UTC), time.monotonic()
    found = audit(config, reporter)
    reporter("write the report", 0, 1)
    info = {
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - clock, 3),
        "host": platform.node(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "arguments": list(argv),
    }
    write_report(found.result, found.per_image, output, formats=formats, force=force, run_info=info)
    reporter("write the report", 1, 1)
    return found


def config_from(settings: dict[str, Any]) -> AuditConfig:
    """The audit's configuration from merged settings. Raises ``ConfigError``."""
    values = {name: settings[name] for name in AuditConfig.model_fields if name in settings}
    if isinstance(values.get("classes"), str):
        values["classes_from"] = values["classes"]
        values["classes"] = parse_classes(values["classes"])
    return make_config(**values)


def _possible(formats: tuple[tuple[str, ...], bool]) -> tuple[str, ...]:
    """The formats to write: without the PDF libraries no PDF, unless it was asked for by name."""
    wanted, named = formats
    if "pdf" not in wanted:
        return wanted
    reason = pdf_available()
    if reason is None:
        return wanted
    if named:
        raise ReportError(f"expected to write a PDF, but {reason}", hint="Or leave pdf out of --report.")
    import sys

    print(f"singaudit: no PDF is written: {safe(reason)}", file=sys.stderr)
    return tuple(f for f in wanted if f != "pdf")


def run_demo(settings: dict[str, Any]) -> dict[str, Any]:
    """Audit the embedded clean and leaky classifiers and write their reports and the page beside them."""
    output, force = Path(settings["output"]), bool(settings.get("force"))
    check_output_folder(output, force=force, folders=DEMO_MODELS, pages=("index.html",))
    formats = _possible((("html", "pdf", "json", "csv"), False))
    quiet = bool(settings.get("quiet"))
    results = []
    for name in DEMO_MODELS:
        config = make_config(
            model=f"builtin:{name}", images=DEMO_IMAGES, vlm="builtin:shapes", gates=DEMO_GATES,
        )  # fmt: skip
        with Reporter("none" if quiet else settings["progress"], title=f"The {name} classifier") as reporter:
            found = _audit_into(config, output / name, formats, force, reporter, ["demo"])
        results.append(found.result)
        if not quiet and settings.get("output_format") != "json":
            show_result(found.result)
            print()
    links = [f"{name}/report.html" for name in DEMO_MODELS]
    page = write_page(
        render_pair(results, links, "What two classifiers of the same shapes ignore"), output, "index.html"
    )
    if not quiet and settings.get("output_format") != "json":
        print(f"Both reports side by side: {page}")
    if settings.get("open_page"):
        import webbrowser

        webbrowser.open(page.resolve().as_uri())
    return {
        "page": str(page),
        "reports": {name: str(output / name) for name in DEMO_MODELS},
        "verdicts": {name: r.verdict.status for name, r in zip(DEMO_MODELS, results, strict=True)},
        "findings": {
            name: {f.group: f.finding for f in r.findings} for name, r in zip(DEMO_MODELS, results, strict=True)
        },
    }


def render_again(settings: dict[str, Any], formats: tuple[tuple[str, ...], bool]) -> dict[str, Any]:
    """Write the report of an earlier result; scores.csv is not made again, it holds what result.json does not."""
    result = load_result(Path(settings["result"]))
    output = Path(settings["output"])
    check_output_folder(output, force=bool(settings.get("force")))
    wanted = tuple(f for f in _possible(formats) if f != "csv")
    paths = write_report(result, {}, output, formats=wanted, force=bool(settings.get("force")), run_info=None)
    if not settings.get("quiet") and settings.get("output_format") != "json":
        for path in paths:
            print(path)
    return {"files": [str(path) for path in paths]}
