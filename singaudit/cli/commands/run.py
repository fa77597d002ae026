"""singaudit run: settings in, an audit's files and its exit code out."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any

from singaudit.classifier.class_files import parse_classes
from singaudit.cli.github_actions import announce
from singaudit.cli.lock import hold
from singaudit.cli.repository import in_repository
from singaudit.cli.terminal import Reporter, safe
from singaudit.config import AuditConfig, make_config
from singaudit.errors import ConfigError, ReportError
from singaudit.pipeline.audit import Audit, audit
from singaudit.report.build.redact import redacted, redacted_rows, redacted_run
from singaudit.report.formats.folder import check_output_folder
from singaudit.report.formats.interface import Files, PdfSettings
from singaudit.report.formats.pdf import dismiss, prepare, prepared
from singaudit.report.formats.writer import write_report
from singaudit.report.gates.rules import Rule
from singaudit.report.pages.drawing import DRAWER
from singaudit.report.result.audit import AuditResult


def run_audit(
    settings: dict[str, Any], formats: tuple[tuple[str, ...], bool], argv: Sequence[str]
) -> tuple[int, AuditResult, list[Path]]:
    """Audit and write the report. Returns the exit code, the result and the files; raises ``SingauditError``."""
    if bool(settings.get("model")) == bool(settings.get("arrays")):
        raise ConfigError(
            "expected a MODEL or --arrays DIR, got " + ("both" if settings.get("model") else "neither"),
            hint="Run singaudit run model.onnx --images photos/",
        )
    config = config_from(settings)
    output = Path(settings["output"])
    check_output_folder(output, force=bool(settings.get("force")))
    hold(output)
    pdf = pdf_settings(settings, formats)
    with (
        possible_formats(formats, pdf) as wanted,
        Reporter("none" if settings.get("quiet") else settings["progress"]) as reporter,
    ):
        found, files = audit_into(
            config,
            output,
            wanted,
            bool(settings.get("force")),
            reporter,
            argv,
            pdf,
            redact=bool(settings.get("redact")),
        )
    places = {"model_path": in_repository(config.model), "gate_places": gate_places(found.rules)}
    announce(found.result, Files.of_run(places, b"", {}, None), quiet=bool(settings.get("quiet")))
    return found.exit_code, found.result, files


def audit_into(
    config: AuditConfig,
    output: Path,
    formats: Callable[[], Sequence[str]],
    force: bool,
    reporter: Reporter,
    argv: Sequence[str],
    pdf: PdfSettings,
    redact: bool = False,
) -> tuple[Audit, list[Path]]:
    """Audit and write the report into ``output``; what was found and the files, both redacted where ``redact`` says so.

    ``formats`` is asked once the model is open, before the first image is decoded. Raises ``SingauditError``; then
    nothing is written.
    """
    started, clock = datetime.now(UTC), time.monotonic()
    found = audit(config, reporter, reporter.warn, formats, partial(_prepare_charts, formats))
    reporter("write the report", 0, 1)
    info: dict[str, Any] = {
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - clock, 3),
        "host": platform.node(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "arguments": list(argv),
        "model_path": in_repository(config.model),
        "gate_places": gate_places(found.rules),
    }
    if redact:
        found, info = without_places(found), redacted_run(info)
    files = write_report(
        found.result,
        found.per_image,
        output,
        formats=formats(),
        force=force,
        run_info=info,
        pictures=found.files,
        pdf=pdf,
    )
    reporter("write the report", 1, 1)
    return found, files


def _prepare_charts(formats: Callable[[], Sequence[str]]) -> None:
    if not {"html", "pdf"}.isdisjoint(formats()):
        DRAWER.start()


def without_places(found: Audit) -> Audit:
    """The audit as it may leave the house: result and rows redacted, and no picture."""
    return replace(found, result=redacted(found.result), per_image=redacted_rows(found.per_image), files={})


def gate_places(rules: Sequence[Rule]) -> list[list[str | int] | None]:
    """[path in the repository, line] of every gate that stands in a configuration file there."""
    paths = [in_repository(rule.source[0]) if rule.source is not None else "" for rule in rules]
    return [[path, rule.source[1]] if path and rule.source else None for path, rule in zip(paths, rules, strict=True)]


def config_from(settings: dict[str, Any]) -> AuditConfig:
    """The audit's configuration from merged settings. Raises ``ConfigError``."""
    values = {name: settings[name] for name in AuditConfig.model_fields if name in settings}
    if isinstance(values.get("classes"), str):
        values["classes_from"] = values["classes"]
        values["classes"] = parse_classes(values["classes"])
    if settings.get("no_cache"):
        values["cache"] = "none"
    return make_config(**values)


def pdf_settings(settings: dict[str, Any], formats: tuple[tuple[str, ...], bool]) -> PdfSettings:
    """How the PDF is made; one that was not asked for by name is left out where it cannot be drawn."""
    return PdfSettings(
        float(settings["pdf_seconds"]), float(settings["pdf_memory"]), bool(settings.get("pdf_appendix")), formats[1]
    )


@contextmanager
def possible_formats(
    formats: tuple[tuple[str, ...], bool], pdf: PdfSettings
) -> Iterator[Callable[[], tuple[str, ...]]]:
    """What tells the formats to write: without the PDF libraries no PDF, unless it was asked for by name.

    Meanwhile a process loads those libraries, where there is to be a PDF, and waits to draw it. To ask means to wait
    until it has, and raises ReportError where there can be none though it was asked for.
    """
    wanted, named = formats
    if "pdf" in wanted:
        prepare(pdf)

    @cache
    def possible() -> tuple[str, ...]:
        reason = prepared() if "pdf" in wanted else None
        if reason is None:
            return wanted
        if named:
            raise ReportError(f"expected to write a PDF, but {reason}", hint="Or leave pdf out of --report.")
        print(f"singaudit: no PDF is written: {safe(reason)}", file=sys.stderr)
        return tuple(f for f in wanted if f != "pdf")

    try:
        yield possible
    finally:
        dismiss()
