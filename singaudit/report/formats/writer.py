"""What is written into the output folder: reports, comparisons and pages, each whole or not at all."""

from __future__ import annotations

import json
import logging
import os
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
    is_audit,
    is_page,
    pictures_of,
    stale_pictures,
    start_of,
)
from singaudit.report.formats.interface import Files, Pages, PdfSettings
from singaudit.report.formats.table import FORMATS, RESULT_FILE
from singaudit.report.result.audit import AuditResult
from singaudit.report.result.checksum import sealed
from singaudit.report.result.store import MAX_BYTES, canonical_part

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
    Everything is rendered before anything is written, and takes the place of another result's files as one unit.
    Returns the paths written.
    Raises ReportError for a folder or format that cannot be used, MachineError when the disk is full.
    """
    wanted = set(formats)
    if wanted - FORMATS.keys():
        raise ReportError(f"unknown report formats: {', '.join(sorted(wanted - FORMATS.keys()))}; known: {[*FORMATS]}")
    check_output_folder(out_dir, force)
    result = sealed(result)
    stored = canonical_part(result)
    made: dict[str, bytes] = {}
    if run_info is not None or not is_audit(out_dir):
        made[RUN_FILE] = json.dumps({"tool": TOOL, **(run_info or {})}, indent=1, sort_keys=True).encode() + b"\n"
    made |= pictures
    files = Files.of_run(earlier_run if run_info is None else run_info, stored, per_image, pdf)
    made |= render_formats(result, files, wanted)
    same = start_of(out_dir / RESULT_FILE, MAX_BYTES) == stored
    return write_files(out_dir, made, () if same or not is_audit(out_dir) else _of_another(out_dir, made))


def render_formats(result: AuditResult, files: Files, formats: Collection[str]) -> dict[str, bytes]:
    """Bytes by file name of the ``formats`` asked for, in the table's order. Raises ReportError.

    ``result`` carries its checksum.
    """
    pages = Pages(result)
    asked = [line for name, line in FORMATS.items() if name in formats]
    waiting = {line.name: line.begin(result, pages, files) for line in asked}
    made = {line.name: waiting[line.name]() for line in sorted(asked, key=lambda line: line.aside)}
    return {file: data for line in asked for file, data in made[line.name].items()}


def _of_another(folder: Path, made: Collection[str]) -> list[str]:
    """Files of another result in ``folder`` that are to go; a folder in such a file's place stays, which is said."""
    found = []
    for name in (line.file for line in FORMATS.values() if line.file not in made):
        if (folder / name).is_dir() and not (folder / name).is_symlink():
            _log.warning("singaudit: %s is a folder in another result's place; it stays", folder / name)
        elif os.path.lexists(folder / name):
            found.append(name)
    return found + stale_pictures(folder / PICTURES, set(made))


def write_comparison(html: str, data: str, out_dir: Path, page: str) -> None:
    """Write a comparison's ``page`` and its numbers, and the mark of a folder that singaudit made."""
    mark = json.dumps({"tool": TOOL}, indent=1).encode() + b"\n"
    write_files(out_dir, {RUN_FILE: mark, page: html.encode(), COMPARISON_FILE: data.encode() + b"\n"})


def write_page(html: str, out_dir: Path, name: str, pictures: Mapping[str, bytes] = MappingProxyType({})) -> Path:
    """Write one page and its ``pictures`` (PNG by their path below ``out_dir``), all of them or nothing.

    Pictures of an earlier page of that name are removed. Raises as ``write_report`` does.
    """
    before = is_page(out_dir / name)
    stale = stale_pictures(out_dir / pictures_of(name), set(pictures)) if before else []
    return write_files(out_dir, {name: html.encode(), **pictures}, stale)[0]
