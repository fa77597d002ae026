"""The audit's section written into a model card, checked or taken out, with its picture and PDF beside it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from singaudit.errors import ConfigError, ExitCode, ReportError
from singaudit.report.build.redact import redacted
from singaudit.report.card.picture import telling_picture
from singaudit.report.card.readme import MAX_BYTES, Card
from singaudit.report.card.section import PDF, PICTURE, AnnexIV, Attached, section_text
from singaudit.report.formats.atomic import write_files
from singaudit.report.formats.folder import run_info_of, start_of
from singaudit.report.formats.interface import Files, Pages
from singaudit.report.formats.pdf import pdf_available
from singaudit.report.formats.table import FORMATS, RESULT_FILE
from singaudit.report.formats.writer import render_formats
from singaudit.report.result.audit import AuditResult
from singaudit.report.result.checksum import sealed
from singaudit.report.result.store import canonical_part, load_result

_MAX_PDF = 256 * 2**20


@dataclass(frozen=True)
class _Target:
    """A card as it is on disk."""

    path: Path
    data: bytes
    card: Card


def update_card(settings: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Write, check or remove the section. Returns the exit code and what was done; raises ``SingauditError``.

    Where the card is as it should be nothing is written, and nothing is ever pushed anywhere.
    """
    if settings.get("check") and settings.get("remove"):
        raise ConfigError("expected --check or --remove, got both", hint="Leave one of them out.")
    if settings.get("responsible") and not settings.get("annex_iv"):
        raise ConfigError("expected --annex-iv with --responsible", hint="The name stands in the lines that it adds.")
    source = Path(settings["result"])
    result = load_result(source / RESULT_FILE if source.is_dir() else source)
    folder = source if source.is_dir() else source.parent
    target = _target(Path(settings["card"]))
    if settings.get("remove"):
        return _remove(target)
    section, files = _wanted(result, folder, target, settings)
    stale = sorted(name for name, content in files.items() if _present(target, name) != content)
    same = target.card.section() == section
    if settings.get("check"):
        state = "has this result's section" if same and not stale else "does not have this result's section"
        return (ExitCode.PASSED if same and not stale else ExitCode.INCONCLUSIVE), {
            "card": str(target.path),
            "state": state,
            "changed": [],
        }
    changed = {} if same else {target.path.name: target.card.with_section(section)}
    changed |= {name: files[name] for name in stale}
    _write(target, changed)
    return 0, {"card": str(target.path), "state": "has this result's section", "changed": sorted(changed)}


def _target(path: Path) -> _Target:
    path = path / "README.md" if path.is_dir() else path
    if path.is_symlink():
        raise ReportError(
            f"expected a model card, {path} is a symbolic link to {os.readlink(path)}",
            hint="Name the file it leads to; what lies behind a link may belong to others.",
        )
    if not path.is_file():
        raise ReportError(f"expected a model card, there is no file {path}", hint="Name a README.md, or its folder.")
    data = start_of(path, MAX_BYTES + 1)
    if not data and path.stat().st_size:
        raise ReportError(f"cannot read {path}", hint="Check its permissions.")
    card = Card(data, str(path))
    _ = card.place  # a card that cannot be changed is refused before anything is drawn
    return _Target(path, data, card)


def _wanted(
    result: AuditResult, folder: Path, target: _Target, settings: dict[str, Any]
) -> tuple[str, dict[str, bytes]]:
    """(section, files beside the card by their path from it)."""
    redact = bool(settings.get("redact"))
    pages = Pages(redacted(result) if redact else result)
    files: dict[str, bytes] = {}
    picture = telling_picture(pages.shown)
    if picture is not None:
        files[PICTURE] = picture[0]
    pdf = _pdf(pages.shown, redact, folder, target)
    if pdf is not None:
        files[PDF] = pdf
    annex = None
    if settings.get("annex_iv"):
        started = str(run_info_of(folder).get("started", ""))[:10]
        annex = AnnexIV(started, str(settings.get("responsible") or ""))
    place = target.card.place
    attached = Attached(picture[1] if picture is not None else None, pdf is not None)
    text = section_text(
        pages.shown, result.checksum, attached, below_heading=place.below_heading, instead=place.instead, annex=annex
    )
    return text, files


def _pdf(shown: AuditResult, redact: bool, folder: Path, target: _Target) -> bytes | None:
    """The report that lies beside the result; a redacted one is drawn anew, for the other one shows everything."""
    if not redact:
        found = folder / FORMATS["pdf"].file
        data = start_of(found, _MAX_PDF)
        return data if data.startswith(b"%PDF-") and not found.is_symlink() else None
    if pdf_available() is not None:
        return None
    shown = sealed(shown)
    (data,) = render_formats(shown, Files(canonical_part(shown)), ["pdf"]).values()
    return data


def _present(target: _Target, name: str) -> bytes:
    return start_of(target.path.parent / name, _MAX_PDF)


def _write(target: _Target, changed: dict[str, bytes]) -> None:
    """All of it or nothing; the card, which has most of its text from its user, is there at every moment."""
    if not changed:
        return
    mode = target.path.stat().st_mode & 0o7777
    if not mode & 0o222 or not os.access(target.path, os.W_OK):
        raise ReportError(f"{target.path} is read-only", hint="Make it writable, or name another card.")
    for folder in {target.path.parent / Path(name).parts[0] for name in changed if "/" in name}:
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise ReportError(f"expected a folder for the card's files, {folder} is none", hint="Move it away.")
    write_files(target.path.parent, changed)
    if target.path.name in changed:
        os.chmod(target.path, mode)


def _remove(target: _Target) -> tuple[int, dict[str, Any]]:
    """Take the section out, and the files that it alone links to."""
    changed = {}
    section = target.card.section()
    if section is not None:
        changed[target.path.name] = target.card.without_section()
        _write(target, changed)
        for name in (PICTURE, PDF):
            if f"({name})" in section:
                (target.path.parent / name).unlink(missing_ok=True)
        folder = (target.path.parent / PICTURE).parent
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    return 0, {"card": str(target.path), "state": "has no section", "changed": sorted(changed)}
