"""The end of what a process writes to its standard error."""

from __future__ import annotations

import contextlib
import threading
from typing import IO

_KEPT = 4096
_SHOWN = 200
_SECONDS = 5.0


class StderrTail:
    """Reads a stream to its end on a thread of its own, so that the process never waits, and keeps its last 4 KiB."""

    def __init__(self, stream: IO[bytes] | None) -> None:
        self._kept = bytearray()
        self._thread = threading.Thread(target=_drain, args=(stream, self._kept), daemon=True, name="stderr")
        self._thread.start()

    def line(self) -> str:
        """The last line that is not empty, without characters that do not print; "" where nothing was said.

        Waits up to five seconds for the stream to end, as a busy machine may take: call it once the process has ended.
        """
        self._thread.join(_SECONDS)
        lines = bytes(self._kept).decode("utf-8", "replace").splitlines()
        words = next((line for line in reversed(lines) if line.strip()), "")
        shown = "".join(c if c.isprintable() else " " for c in words)
        return " ".join(shown.split())[:_SHOWN]


def _drain(stream: IO[bytes] | None, kept: bytearray) -> None:
    # Closed from another thread where the process is ended from here: nobody asks for its last words then.
    with contextlib.suppress(OSError, ValueError):
        while stream is not None and (data := stream.read1(_KEPT)):  # type: ignore[attr-defined]
            kept += data
            del kept[:-_KEPT]
