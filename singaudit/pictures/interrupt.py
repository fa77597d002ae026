"""The first Ctrl-C ends what is under way and keeps what is finished; the second aborts."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def first_interrupt_stops(told: Callable[[], None] = lambda: None) -> Iterator[Callable[[], bool]]:
    """Within the block the first interrupt makes the given function answer True; a second one raises as ever.

    ``told`` is called at the first one. Outside of the main thread, where Python allows no handler, and where the
    program has put in one of its own, nothing changes: an interrupt does what it did before.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is not signal.default_int_handler:
        yield lambda: False
        return
    interrupted = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        signal.signal(signal.SIGINT, before)
        told()

    signal.signal(signal.SIGINT, handle)
    try:
        yield lambda: interrupted
    finally:
        signal.signal(signal.SIGINT, before)
