"""The process of its own in which an untrusted model is parsed and run, under limits of time and memory."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from singaudit import child
from singaudit.classifier.sandbox.messages import Arrays, SharedBytes, receive, send
from singaudit.classifier.sandbox.stderr import StderrTail
from singaudit.errors import MachineError, ModelError, SingauditError
from singaudit.machine import memory, wants_memory

SECONDS = 120.0
"""Default limit on one answer, plus 60 s per GiB of model."""
MEMORY_SHARE = 0.75
"""Of this machine's memory: the default limit on the process."""
WORKER = "singaudit.classifier.sandbox.worker"
"""The module that a model's process runs; another one answers further requests."""
_LAST_SECONDS = 5.0
"""For a process whose streams are closed to end."""


@dataclass(frozen=True)
class Limits:
    """What the process of a model may take."""

    seconds: float | None = None
    """Wall-clock seconds for one answer: opening the model, or running a batch. None: 120, plus 60 per GiB of model."""
    memory: float | None = None
    """GiB of memory. None: three quarters of this machine's."""


class ModelProcess:
    """A child process that answers requests about one model; started at once, ended with this object."""

    def __init__(self, path: Path, limits: Limits, gpu: bool = False, worker: str = WORKER) -> None:
        """``path``: the model, for messages and for its size. ``gpu``: whether it may use one, whose drivers reserve
        more address space than any limit on it could allow; data alone is limited then. ``worker``: the module that
        the child runs."""
        self._name = path.name
        size = path.stat().st_size
        self._seconds = limits.seconds or SECONDS + 60.0 * size / (1 << 30)
        self._memory = int(limits.memory * (1 << 30)) if limits.memory else default_memory()
        self._shared = SharedBytes()
        self._process = subprocess.Popen(
            child.command(worker, str(self._memory), "gpu" if gpu else "cpu", self._shared.path),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=child.environment(),
            pass_fds=(self._shared.descriptor, *child.inherited()) if os.name == "posix" else (),
        )
        self._stderr = StderrTail(self._process.stderr)
        self._lock = threading.Lock()
        self._failure: SingauditError | None = None
        self.close = weakref.finalize(self, _end, self._process, self._shared)

    def ask(
        self, request: str, fields: Mapping[str, Any] | None = None, arrays: Arrays | None = None, patience: float = 1.0
    ) -> tuple[dict[str, Any], Arrays]:
        """The child's answer, within ``patience`` times the limit.

        Errors it found in the model are raised as they are; a crash or a hang is a ModelError that names the model,
        an end by the system's out-of-memory killer a MachineError.
        """
        limit = self._seconds * patience
        timed_out, process = threading.Event(), self._process

        def stop() -> None:  # knows nothing of self, which must be free to end
            timed_out.set()
            process.kill()

        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            if self._failure is not None:
                raise self._failure
            timer = threading.Timer(limit, stop)
            timer.daemon = True
            timer.start()
            try:
                send(self._process.stdin, {"request": request, **(fields or {})}, arrays, self._shared)  # type: ignore[arg-type]
                answer, found = receive(self._process.stdout)  # type: ignore[arg-type]
            except (EOFError, OSError, ValueError) as error:
                self._failure = self._ended(request, timed_out.is_set(), limit)
                raise self._failure from error
            except BaseException:
                # Interrupted: an answer that is still on its way must not be taken for that of the next request.
                self._process.kill()
                raise
            finally:
                timer.cancel()
        child.raise_fields(answer)
        return answer, found

    def _ended(self, request: str, timed_out: bool, limit: float) -> SingauditError:
        """Why there was no answer."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_LAST_SECONDS)  # its streams close a moment before it has ended by itself
        self._process.kill()
        code = self._process.wait()
        if timed_out:
            return ModelError(
                f"{self._name}: the model did not {request} within {limit:.0f} s",
                hint="Check the file: a classifier answers within seconds; or allow more: --model-seconds N",
            )
        allowed = f"{self._memory / 2**30:.3g} GiB" if self._memory else "memory"
        if code == -9:
            return MachineError(
                f"{self._name}: the model's process was killed (signal 9) when it should {request}; memory ran out",
                hint="Use a smaller --batch-size or a machine with more memory",
            )
        ending = f"signal {-code}" if code < 0 else f"exit status {code}"
        said = self._stderr.line()
        if code == 1 and wants_memory(said):  # not even the libraries could be loaded
            return MachineError(
                f"{self._name}: there is too little memory to {request}: the model's process may take {allowed}",
                hint="Allow more: --model-memory GIB",
            )
        return ModelError(
            f"{self._name}: the model crashed its process when it should {request} ({ending})"
            + (f"; its last words: {said}" if said else ""),
            hint=f"The file is damaged, or needs more than the {allowed} it may take: --model-memory GIB",
        )


def _end(process: subprocess.Popen[bytes], shared: SharedBytes) -> None:
    # It holds nothing that would need saving.
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    shared.close()


def default_memory() -> int:
    """Bytes; 0 where this machine's memory is not known."""
    return int(MEMORY_SHARE * (memory() or 0))
