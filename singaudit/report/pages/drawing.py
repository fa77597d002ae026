"""Charts are drawn in a process of their own: their library holds a JavaScript engine that ends a process which runs
out of memory, and reserves more address space than a batch system may allow."""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import subprocess
import threading
from typing import Any

from singaudit import child

_WORKER = "singaudit.report.pages.draw_worker"
_SECONDS = 60.0
"""For one chart; one takes a tenth of a second."""
_IDLE = 10.0
"""Seconds after which a process that draws nothing more is ended: it holds some hundred MB."""
_TRIES = 2
"""Processes that may die before no chart is tried any more."""
_log = logging.getLogger(__name__)


class DrawingError(Exception):
    """A chart that could not be drawn; the text says why."""


class Drawer:
    """Draws one chart after the other; the process starts with the first, or before, and ends some seconds after the
    last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._idle: threading.Timer | None = None
        self._died = 0

    def start(self) -> None:
        """Let the process load its engine meanwhile, most of a second, for charts that are to be drawn soon."""
        with self._lock, contextlib.suppress(DrawingError):  # who draws meets it again, and says it
            if self._died < _TRIES:
                self._started()
                self._rest()

    def svg(self, spec: dict[str, Any]) -> str:
        """The SVG text of a Vega-Lite specification. Raises DrawingError."""
        with self._lock:
            if self._died >= _TRIES:
                raise DrawingError("the process that draws charts dies here")
            if self._idle is not None:
                self._idle.cancel()
            process = self._started()
            timer = threading.Timer(_SECONDS, process.kill)
            timer.daemon = True
            timer.start()
            try:
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write(json.dumps(spec).encode() + b"\n")
                process.stdin.flush()
                line = process.stdout.readline()
                answer = json.loads(line) if line.endswith(b"\n") else None
            except (OSError, ValueError):
                answer = None
            except BaseException:  # interrupted: no answer may be taken for that of the next chart
                self._end()
                raise
            finally:
                timer.cancel()
            if not isinstance(answer, dict):
                raise DrawingError(self._why())
            self._rest()
        if "svg" not in answer:
            raise DrawingError(str(answer.get("error"))[:200])
        return str(answer["svg"])

    def close(self) -> None:
        """End the process; the next chart starts another."""
        with self._lock:
            self._end()

    def _rest(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = threading.Timer(_IDLE, self.close)
        self._idle.daemon = True
        self._idle.start()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            try:
                self._process = subprocess.Popen(
                    child.command(_WORKER),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    env=child.environment(),
                    pass_fds=child.inherited(),
                )
            except OSError as error:  # no more processes, or no memory for one
                raise DrawingError(f"the process that draws charts cannot be started: {error.strerror}") from error
        return self._process

    def _why(self) -> str:
        assert self._process is not None
        self._died += 1
        try:
            code = self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            code = -9
        self._end()
        if code == -9:
            return f"the process that draws charts was killed, for want of memory or after {_SECONDS:.0f} s"
        ending = f"signal {-code}" if code < 0 else f"exit status {code}"
        return f"the process that draws charts died ({ending}); a limit on memory (ulimit -v) is too small for it"

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


DRAWER = Drawer()
atexit.register(DRAWER.close)
_said: list[str] = []


def draw(spec: dict[str, Any]) -> str | None:
    """The SVG text of a Vega-Lite specification; None where it cannot be drawn, which is said once."""
    try:
        return DRAWER.svg(spec)
    except DrawingError as error:
        if not _said:
            _said.append(str(error))
            _log.warning("singaudit: charts could not be drawn: %s; result.json holds their numbers", error)
        return None
