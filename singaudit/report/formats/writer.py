"""What is written into the output folder: reports, comparisons and pages, each whole or not at all."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from singaudit.errors import ReportError
from singaudit.report.formats.atomic import write_files
from singaudit.report.formats.csv import scores_csv
from singaudit.report.formats.folder import (
    COMPARISON_FILE,
    PICTURES,
    RUN_FILE,
    TOOL,
    check_output_folder,
    drop_pictures,
    is_audit,
    is_page,
    pictures_of,
    start_of,
)
from singaudit.report.formats.pdf import DEFAULTS, PdfSettings, pdf_bytes
from singaudit.report.formats.table import FORMATS
from singaudit.report.pages.html import Document
from singaudit.report.result.audit import AuditResult
from singaudit.report.result.store import MAX_BYTES, canonical_json

_log = logging.getLogger(__name__)


def write_report(
    result: AuditResult,
    per_image: Mapping[str, Sequence[Any]],
    out_dir: Path,
    formats: Iterable[str],
    force: bool = False,
    run_info: Mapping[str, Any] | None = None,
    pictures: Mapping[str, bytes] = MappingProxyType({}),
    pdf: PdfSettings = DEFAULTS,
) -> list[Path]:
    """Render ``formats`` ("html", "pdf", "json", "csv") and write them, with run.json, into ``out_dir``.

    ``per_image`` holds scores.csv's columns; ``pictures`` PNG files by their path below ``out_dir``; ``run_info`` what
    differs between runs, None for an earlier result that is only rendered again; ``pdf`` how the PDF is made.
    Everything is rendered before anything is written, and written aside before anything is replaced. Another result's
    files left in the folder are removed.
    Returns the paths written.
    Raises ReportError for a folder or format that cannot be used, MachineError when the disk is full.
    """
    wanted = set(formats)
    if wanted - FORMATS.keys():
        raise ReportError(f"unknown report formats: {', '.join(sorted(wanted - FORMATS.keys()))}; known: {[*FORMATS]}")
    check_output_folder(out_dir, force)
    stored = canonical_json(result)
    files: dict[str, bytes] = {}
    if run_info is not None or not is_audit(out_dir):
        # First of all: a folder that was left half renamed is still known as an audit's.
        files[RUN_FILE] = json.dumps({"tool": TOOL, **(run_info or {})}, indent=1, sort_keys=True).encode() + b"\n"
    files |= pictures
    if wanted & {"html", "pdf"}:
        document = Document(result)
        if "html" in wanted:
            files[FORMATS["html"]] = document.html().encode()
        if "pdf" in wanted:
            files |= _pdf(document.html(paper=True), stored, pdf)
    if "json" in wanted:
        files[FORMATS["json"]] = stored
    if "csv" in wanted and per_image:
        files[FORMATS["csv"]] = scores_csv(per_image)
    same = start_of(out_dir / FORMATS["json"], MAX_BYTES) == stored
    paths = write_files(out_dir, files)
    if not same:
        for name in FORMATS.values():
            if name not in files and is_audit(out_dir):
                _drop(out_dir / name)
        if is_audit(out_dir):
            drop_pictures(out_dir / PICTURES, set(files))
    return paths


def _drop(path: Path) -> None:
    """Remove another result's file; that one stays is said, the new report stands all the same."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        _log.warning("singaudit: %s is another result's and could not be removed: %s", path, error.strerror)


def _pdf(html: str, stored: bytes, settings: PdfSettings) -> dict[str, bytes]:
    """The PDF under its name; nothing where it cannot be drawn and is not needed, which is said."""
    try:
        return {FORMATS["pdf"]: pdf_bytes(html, stored, settings)}
    except ReportError as error:
        if settings.needed:
            raise
        _log.warning("singaudit: no PDF is written: %s; %s", error.message, error.hint)
        return {}


def write_comparison(html: str, data: str, out_dir: Path, page: str) -> None:
    """Write a comparison's ``page`` and its numbers, and the mark of a folder that singaudit made."""
    mark = json.dumps({"tool": TOOL}, indent=1).encode() + b"\n"
    write_files(out_dir, {RUN_FILE: mark, page: html.encode(), COMPARISON_FILE: data.encode() + b"\n"})


def write_page(html: str, out_dir: Path, name: str, pictures: Mapping[str, bytes] = MappingProxyType({})) -> Path:
    """Write one page and its ``pictures`` (PNG by their path below ``out_dir``), all of them or nothing.

    Pictures of an earlier page of that name are removed. Raises as ``write_report`` does.
    """
    before = is_page(out_dir / name)
    # The page first: a folder that was left half renamed is still known as ours.
    path = write_files(out_dir, {name: html.encode(), **pictures})[0]
    if before:
        drop_pictures(out_dir / pictures_of(name), set(pictures))
    return path
