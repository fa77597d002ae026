"""The report as PDF/A-3b, from the same HTML, with result.json attached."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

from singaudit.errors import MachineError, ReportError
from singaudit.report.atomic import write_files

_WORKER = Path(__file__).with_name("pdf_worker.py")
_SECONDS = 180.0
"""A report of a thousand classes takes a few seconds; a document that takes minutes is not one of ours."""
_INSTALL = "install pango: apt install libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0, or brew install pango"


@cache
def pdf_available() -> str | None:
    """Why no PDF can be made on this machine, with what to install; None when one can."""
    try:
        done = _worker(["--check"], b"", 60.0)
    except subprocess.TimeoutExpired:
        return "the PDF library did not start within a minute"
    if done.returncode == 0:
        return None
    last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no reason given"]
    if "weasyprint" in last[0]:
        return f"WeasyPrint is missing or too old ({last[0]}); pip install 'weasyprint>=68'"
    return f"the PDF libraries cannot be loaded ({last[0][:200]}); {_INSTALL}"


def pdf_bytes(html: str, result_json: bytes, seconds: float = _SECONDS) -> bytes:
    """The PDF of ``html`` with ``result_json`` attached, made in a process of its own within ``seconds``.

    Raises ReportError when the libraries are missing or the document cannot be drawn, MachineError when the process is
    killed.
    """
    document = html.encode()
    try:
        done = _worker([], b"%d\n" % len(document) + document + result_json, seconds)
    except subprocess.TimeoutExpired as e:
        raise ReportError(f"the PDF was not ready after {seconds:g} s", hint="leave pdf out of --report") from e
    if done.returncode < 0:
        raise MachineError(f"the process that draws the PDF was killed (signal {-done.returncode})")
    if done.returncode != 0 or not done.stdout.startswith(b"%PDF-"):
        reason = pdf_available()
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no reason given"]
        raise ReportError(f"the PDF cannot be drawn: {reason or last[0][:300]}", hint="leave pdf out of --report")
    return done.stdout


def write_pdf(html: str, result_json: bytes, path: Path) -> None:
    """Write the PDF of ``html`` to ``path``, aside first and then renamed. Raises as ``pdf_bytes`` does."""
    write_files(path.parent, {path.name: pdf_bytes(html, result_json)})


def _worker(arguments: list[str], data: bytes, seconds: float) -> subprocess.CompletedProcess[bytes]:
    # -P: a file in the current folder must not stand in for a library.
    command = [sys.executable, "-P", str(_WORKER), *arguments]
    return subprocess.run(command, input=data, capture_output=True, timeout=seconds, check=False)
