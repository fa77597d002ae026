"""The report as PDF/A-3b, from the same HTML, with result.json attached."""

from __future__ import annotations

import atexit
import contextlib
import logging
import subprocess
import threading
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

from singaudit import child
from singaudit.errors import MachineError, ReportError
from singaudit.machine import beside, wants_memory
from singaudit.report.formats.atomic import write_files
from singaudit.report.formats.interface import Files, Pages, PdfSettings
from singaudit.report.result.audit import AuditResult

_log = logging.getLogger(__name__)
_STARVED = ("cannot load library", "lost sys.stderr", "Exception ignored in sys.unraisablehook")
"""What Python says where memory ran out before it could say so."""
_WORKER = "singaudit.report.formats.pdf_worker"
_INSTALL = "install pango: apt install libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0, or brew install pango"


_READY = b"ready\n"
"""What a process says that has loaded its libraries."""
_START_SECONDS = 60.0
DEFAULTS = PdfSettings()


def render(result: AuditResult, pages: Pages, files: Files) -> dict[str, bytes]:
    """The PDF under its name; nothing where it cannot be drawn and is not needed, which is said."""
    return begin(result, pages, files)()


def begin(result: AuditResult, pages: Pages, files: Files) -> Callable[[], dict[str, bytes]]:
    """As ``render``, but drawn meanwhile; what is returned waits for it."""
    settings = files.pdf or DEFAULTS
    html = pages.document.html(paper=True, appendix=settings.appendix)
    drawn = beside(partial(pdf_bytes, html, files.stored, settings))

    def wait() -> dict[str, bytes]:
        try:
            return {"report.pdf": drawn()}
        except ReportError as error:
            if settings.needed:
                raise
            _log.warning("singaudit: no PDF is written: %s; %s", error.message, error.hint)
            return {}

    return wait


@cache
def pdf_available() -> str | None:
    """Why no PDF can be made on this machine, with what to install; None when one can."""
    process = _Process(DEFAULTS.memory)
    try:
        if process.ready():
            return None
        done = process.draw(b"", _START_SECONDS)
    finally:
        process.end()
    if done.returncode == -9:
        return "the PDF library did not start within a minute"
    last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no reason given"]
    if "weasyprint" in last[0]:
        return f"WeasyPrint is missing or too old ({last[0]}); pip install 'weasyprint>=68'"
    return f"the PDF libraries cannot be loaded ({last[0][:200]}); {_INSTALL}"


def prepare(limits: PdfSettings = DEFAULTS) -> None:
    """Let a process load its libraries that draws the next PDF within ``limits``; ``prepared`` tells how that went.

    It waits until ``pdf_bytes`` has a document for it, ``dismiss`` ends it, or this process ends.
    """
    dismiss()
    _waiting.append(_Process(limits.memory))


def prepared() -> str | None:
    """Why the process that ``prepare`` started can draw no PDF, or None; waits for its libraries."""
    if _waiting and _waiting[-1].ready():
        return None
    dismiss()
    return pdf_available()


def dismiss() -> None:
    """End the process that waits for a document, if one does."""
    while _waiting:
        _waiting.pop().end()


def pdf_bytes(html: str, result_json: bytes, limits: PdfSettings = DEFAULTS) -> bytes:
    """The PDF of ``html`` with ``result_json`` attached, made in a process of its own within ``limits``.

    Raises ReportError when the libraries are missing or the document cannot be drawn within the limits, MachineError
    when the system's out-of-memory killer ends the process.
    """
    document = html.encode()
    process = _waiting.pop() if _waiting and _waiting[-1].fits(limits) else _Process(limits.memory)
    try:
        done = process.draw(b"%d\n" % len(document) + document + result_json, limits.seconds)
    except subprocess.TimeoutExpired as e:
        raise ReportError(
            f"the PDF was not ready after {limits.seconds:g} s",
            hint="Leave pdf out of --report, or allow more: --pdf-seconds N",
        ) from e
    if done.returncode == 0 and done.stdout.startswith(b"%PDF-"):
        return done.stdout
    if done.returncode == -9:
        raise MachineError("the process that draws the PDF was killed (signal 9); memory ran out")
    said = done.stderr.decode(errors="replace")
    last = said.strip().splitlines()[-1:] or ["no reason given"]
    reason = pdf_available()
    if reason is None and (done.returncode < 0 or wants_memory(said) or any(words in said for words in _STARVED)):
        raise ReportError(
            f"the PDF could not be drawn within {limits.memory:g} GiB of memory ({last[0][:100]})",
            hint="Leave pdf out of --report, or allow more: --pdf-memory GIB",
        )
    raise ReportError(f"the PDF cannot be drawn: {reason or last[0][:300]}", hint="Leave pdf out of --report")


def write_pdf(html: str, result_json: bytes, path: Path) -> None:
    """Write the PDF of ``html`` to ``path``, aside first and then renamed. Raises as ``pdf_bytes`` does."""
    write_files(path.parent, {path.name: pdf_bytes(html, result_json)})


class _Process:
    """Draws one PDF; what it says on its output is ``_READY`` and then the PDF."""

    def __init__(self, memory: float) -> None:
        self._memory = memory
        self._process = subprocess.Popen(
            child.command(_WORKER, str(int(memory * 2**30))),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=child.environment(),
            pass_fds=child.inherited(),
        )

    def ready(self) -> bool:
        """Whether it could load its libraries; waits for them, once."""
        assert self._process.stdout is not None
        timer = threading.Timer(_START_SECONDS, self._process.kill)
        timer.daemon = True
        timer.start()
        try:
            return self._process.stdout.readline() == _READY
        finally:
            timer.cancel()

    def fits(self, limits: PdfSettings) -> bool:
        """Whether it lives and may take as much memory."""
        return self._process.poll() is None and self._memory == limits.memory

    def draw(self, data: bytes, seconds: float) -> subprocess.CompletedProcess[bytes]:
        """Give it ``data`` and wait for its end. Raises ``TimeoutExpired`` after ``seconds``."""
        try:
            output, said = self._process.communicate(data, timeout=seconds)
        finally:
            self.end()
        return subprocess.CompletedProcess((), self._process.returncode, output.removeprefix(_READY), said)

    def end(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


_waiting: list[_Process] = []
atexit.register(dismiss)
