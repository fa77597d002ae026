"""What is written into the output folder: reports, comparisons and pages, each whole or not at all."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from singaudit.errors import ReportError
from singaudit.report.formats.atomic import write_files
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
from singaudit.report.formats.interface import Files, Pages, PdfSettings
from singaudit.report.formats.table import FORMATS, RESULT_FILE
from singaudit.report.result.audit import AuditResult
from singaudit.report.result.checksum import sealed
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
    pdf: PdfSettings | None = None,
    earlier_run: Mapping[str, Any] = MappingProxyType({}),
) -> list[Path]:
    """Render ``formats``, names of the formats' table, and write them, with run.json, into ``out_dir``.

    ``per_image`` holds scores.csv's columns; ``pictures`` PNG files by their path below ``out_dir``; ``run_info`` what
    differs between runs, None for an earlier result that is only rendered again, whose run.json ``earlier_run`` is;
    ``pdf`` how the PDF is made.
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
    made: dict[str, bytes] = {}
    if run_info is not None or not is_audit(out_dir):
        # First of all: a folder that was left half renamed is still known as an audit's.
        made[RUN_FILE] = json.dumps({"tool": TOOL, **(run_info or {})}, indent=1, sort_keys=True).encode() + b"\n"
    made |= pictures
    files = Files.of_run(earlier_run if run_info is None else run_info, stored, per_image, pdf)
    made |= render_formats(result, files, wanted)
    same = start_of(out_dir / RESULT_FILE, MAX_BYTES) == stored
    paths = write_files(out_dir, made)
    if not same:
        for line in FORMATS.values():
            if line.file not in made and is_audit(out_dir):
                _drop(out_dir / line.file)
        if is_audit(out_dir):
            drop_pictures(out_dir / PICTURES, set(made))
    return paths


def render_formats(result: AuditResult, files: Files, formats: Collection[str]) -> dict[str, bytes]:
    """Bytes by file name of the ``formats`` asked for, in the table's order. Raises ReportError."""
    result = sealed(result)
    pages = Pages(result)
    made: dict[str, bytes] = {}
    for name, line in FORMATS.items():
        if name in formats:
            made |= line.render(result, pages, files)
    return made


def _drop(path: Path) -> None:
    """Remove another result's file; that one stays is said, the new report stands all the same."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        _log.warning("singaudit: %s is another result's and could not be removed: %s", path, error.strerror)


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
