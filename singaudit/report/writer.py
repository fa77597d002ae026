"""The output folder: what may be written into, what is written, and how an earlier result is read back."""

from __future__ import annotations

import json
import logging
import os
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from singaudit.errors import ReportError
from singaudit.report.atomic import write_files
from singaudit.report.checksum import content_checksum, sealed
from singaudit.report.html import render_html
from singaudit.report.pdf import DEFAULTS, PdfSettings, pdf_bytes
from singaudit.report.result import SCHEMA_VERSION, AuditResult
from singaudit.report.scores_csv import scores_csv

FORMATS = {"html": "report.html", "pdf": "report.pdf", "json": "result.json", "csv": "scores.csv"}
"""Format and file name."""
RUN_FILE = "run.json"
"""Time, host, durations: what differs between two runs; and the mark of a folder that an audit made."""
COMPARISON_FILE = "compare.json"
"""Written by compare, beside the page."""
_OWN = frozenset([*FORMATS.values(), RUN_FILE, COMPARISON_FILE])
PICTURES = "pictures"
"""Folder of generated pictures."""
_PICTURE = re.compile(r"\d{3,6}-[a-z]+\.png")
_TOOL = "singaudit"
_MAX_BYTES = 64 * 2**20
_MAX_DEPTH = 40
_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_log = logging.getLogger(__name__)
_PAGE_MARK = b'<meta name="generator" content="singaudit">'


def check_output_folder(
    path: Path, force: bool = False, folders: Iterable[str] = (), pages: Iterable[str] = ()
) -> None:
    """Refuse a folder that an audit must not write into; call it before any work. Writes nothing.

    Allowed are a folder that does not exist, is empty, or holds nothing but an earlier audit's own files; beside them
    ``folders`` that pass the same check and ``pages`` that singaudit made. ``force`` allows other files too.
    Raises ReportError.
    """
    hint = "choose another folder with -o, or --force"
    if path.is_symlink() and not force:
        raise ReportError(f"expected a folder to write into, but {path} is a symbolic link", hint=hint)
    _try_writing(path)
    if not path.exists():
        parent = next(p for p in path.absolute().parents if p.exists())
        if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
            raise ReportError(f"cannot create {path}: {parent} is not a writable folder", hint="choose another with -o")
        return
    if not path.is_dir():
        raise ReportError(f"expected a folder to write into, but {path} is a file", hint="choose another with -o")
    if not os.access(path, os.W_OK | os.X_OK):
        raise ReportError(f"the folder {path} is not writable", hint="choose another folder with -o")
    if force:
        return
    foreign = _foreign(path, set(folders), set(pages))
    if foreign:
        more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
        raise ReportError(
            f"{path} holds files that are not an earlier audit's: {', '.join(foreign[:3])}{more}; nothing was written",
            hint=hint,
        )
    for name in folders:
        check_output_folder(path / name)


def _try_writing(path: Path) -> None:
    """Some folders refuse files whatever their permission bits say: try with one that has no name."""
    folder = next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as e:
            raise ReportError(
                f"expected a folder that can be written, but {folder} refuses files: {e.strerror}",
                hint="choose another folder with -o",
            ) from e


def _foreign(path: Path, folders: set[str], pages: set[str]) -> list[str]:
    """Names in ``path`` that no earlier audit wrote. Without run.json nothing there counts as an audit's."""
    ours = _is_audit(path)
    made = {name for name in pages if _PAGE_MARK in _start(path / name)}
    out = []
    for entry in sorted(path.iterdir()):
        plain = entry.is_file() and not entry.is_symlink()
        known = (
            (plain and ours and entry.name in _OWN)
            or (ours and entry.name == PICTURES and _holds_pictures(entry))
            or (entry.name in folders and entry.is_dir())
            or (plain and entry.name in made)
            or (entry.name in {pictures_of(name) for name in made} and _holds_pictures(entry))
        )
        if not known:
            out.append(repr(entry.name)[1:-1])
    return out


def _holds_pictures(path: Path) -> bool:
    """Whether a folder holds nothing but pictures as an audit names them."""
    if path.is_symlink() or not path.is_dir():
        return False
    return all(e.is_file() and not e.is_symlink() and _PICTURE.fullmatch(e.name) for e in path.iterdir())


def _is_audit(path: Path) -> bool:
    try:
        run = json.loads(_start(path / RUN_FILE, 2**20))
    except (ValueError, RecursionError):
        return False
    return isinstance(run, dict) and run.get("tool") == _TOOL


def _start(path: Path, size: int = 4096) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError:
        return b""


def canonical_json(result: AuditResult) -> bytes:
    """result.json with its checksum: keys sorted, floats by repr, ASCII, one byte sequence per result.

    A line for every part and for every entry of a list of parts: what changed shows, and nothing is spent on indents.
    """

    def line(value: Any) -> str:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)

    def part(value: Any) -> str:
        if isinstance(value, list) and value and isinstance(value[0], dict):
            return "[\n" + ",\n".join(map(line, value)) + "\n]"
        return line(value)

    content = sealed(result).model_dump(mode="json")
    text = "{\n" + ",\n".join(f"{line(key)}:{part(content[key])}" for key in sorted(content)) + "\n}\n"
    return text.encode("ascii")


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
    if run_info is not None or not _is_audit(out_dir):
        # First of all: a folder that was left half renamed is still known as an audit's.
        files[RUN_FILE] = json.dumps({"tool": _TOOL, **(run_info or {})}, indent=1, sort_keys=True).encode() + b"\n"
    files |= pictures
    if "html" in wanted:
        files[FORMATS["html"]] = render_html(result).encode()
    if "pdf" in wanted:
        files |= _pdf(result, stored, pdf)
    if "json" in wanted:
        files[FORMATS["json"]] = stored
    if "csv" in wanted and per_image:
        files[FORMATS["csv"]] = scores_csv(per_image)
    same = _start(out_dir / FORMATS["json"], _MAX_BYTES) == stored
    paths = write_files(out_dir, files)
    if not same:
        for name in FORMATS.values():
            if name not in files and _is_audit(out_dir):
                (out_dir / name).unlink(missing_ok=True)
        if _is_audit(out_dir):
            _drop_pictures(out_dir / PICTURES, set(files))
    return paths


def _pdf(result: AuditResult, stored: bytes, settings: PdfSettings) -> dict[str, bytes]:
    """The PDF under its name; nothing where it cannot be drawn and is not needed, which is said."""
    try:
        return {FORMATS["pdf"]: pdf_bytes(render_html(result, paper=True), stored, settings)}
    except ReportError as error:
        if settings.needed:
            raise
        _log.warning("singaudit: no PDF is written: %s; %s", error.message, error.hint)
        return {}


def write_comparison(html: str, data: str, out_dir: Path, page: str) -> None:
    """Write a comparison's ``page`` and its numbers, and the mark of a folder that singaudit made."""
    mark = json.dumps({"tool": _TOOL}, indent=1).encode() + b"\n"
    write_files(out_dir, {RUN_FILE: mark, page: html.encode(), COMPARISON_FILE: data.encode() + b"\n"})


def _drop_pictures(folder: Path, kept: set[str]) -> None:
    """Remove another result's pictures; a folder that holds anything else is left alone."""
    if not (folder.is_dir() and _holds_pictures(folder)):
        return
    for entry in folder.iterdir():
        if f"{folder.name}/{entry.name}" not in kept:
            entry.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()


def pictures_of(page: str) -> str:
    """The folder, beside ``page``, of the pictures that belong to it."""
    return f"{Path(page).stem}-{PICTURES}"


def write_page(html: str, out_dir: Path, name: str, pictures: Mapping[str, bytes] = MappingProxyType({})) -> Path:
    """Write one page and its ``pictures`` (PNG by their path below ``out_dir``), all of them or nothing.

    Pictures of an earlier page of that name are removed. Raises as ``write_report`` does.
    """
    before = _PAGE_MARK in _start(out_dir / name)
    # The page first: a folder that was left half renamed is still known as ours.
    path = write_files(out_dir, {name: html.encode(), **pictures})[0]
    if before:
        _drop_pictures(out_dir / pictures_of(name), set(pictures))
    return path


def load_result(path: Path) -> AuditResult:
    """Read a result.json that may come from anywhere.

    Raises ReportError, with one message, for a file that is missing, too large, nested too deeply, truncated, holds a
    key twice, follows a newer schema, does not fit the schema, or was edited after it was written.
    """
    data = _read(path)
    try:
        _check_depth(data, path)
        raw = json.loads(data, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except (ValueError, RecursionError) as e:
        raise ReportError(f"{path} is not a complete JSON file: {str(e)[:200]}", hint="run the audit again") from e
    if not isinstance(raw, dict) or not isinstance(raw.get("schema_version"), str):
        raise ReportError(
            f"expected a result.json of singaudit, but {path} has no schema_version",
            hint="name the result.json in the folder of an earlier audit",
        )
    if raw["schema_version"] != SCHEMA_VERSION:
        raise ReportError(
            f"{path} follows schema {raw['schema_version'][:20]!r}, this version reads {SCHEMA_VERSION!r}",
            hint="use the version of singaudit that wrote it, or run the audit again",
        )
    try:
        result = AuditResult.model_validate(raw)
    except ValidationError as e:
        first = e.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part)[:40] for part in first["loc"])
        raise ReportError(
            f"{path} does not fit the schema: {where}: {first['msg'][:200]}",
            hint="run the audit again; singaudit schema prints what fits",
        ) from e
    if content_checksum(result) != result.checksum:
        raise ReportError(
            f"{path} was changed after it was written: its checksum does not fit its content",
            hint="run the audit again, or take the file as the audit wrote it",
        )
    return result


def _read(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise ReportError(
                f"expected a result.json, but {path} is not a file",
                hint="name the result.json in the folder of an earlier audit",
            )
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as e:
        raise ReportError(f"cannot read {path}: {e.strerror}", hint="check the file's permissions") from e
    if len(data) > _MAX_BYTES:
        raise ReportError(
            f"{path} is larger than {_MAX_BYTES >> 20} MB, no result.json is", hint="name a file that an audit wrote"
        )
    return data


def _check_depth(data: bytes, path: Path) -> None:
    """Refuse deep nesting before parsing; brackets inside of strings do not count."""
    depth = 0
    for found in _BRACKETS.finditer(data):
        depth += {b"[": 1, b"{": 1, b"]": -1, b"}": -1}.get(found[0], 0)
        if depth > _MAX_DEPTH:
            raise ReportError(
                f"{path} is nested more than {_MAX_DEPTH} levels deep, no result.json is",
                hint="name a file that an audit wrote",
            )


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise ValueError("a key occurs twice")
    return out


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number")
