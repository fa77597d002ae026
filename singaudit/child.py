"""The processes singaudit starts: how they are started, what they may take, how they end, and how errors cross over.

A model's process, the one that exports a network, and those that draw charts and the PDF are all started by
``command`` with ``environment`` and ``inherited``, and begin with ``settle_in``.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import signal
import sys
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from singaudit.errors import ConfigError, MachineError, ModelError, SingauditError
from singaudit.machine import wants_memory

_LIFELINE = "SINGAUDIT_LIFELINE"
"""Variable that tells a child: descriptor of a pipe that only its parent holds open, the parent's process, and 1 where
it was started by a thread that lives as long as that."""
_KINDS: dict[str, type[SingauditError]] = {"config": ConfigError, "machine": MachineError}
_PR_SET_PDEATHSIG = 1
_pipe: list[int] = []
_making = threading.Lock()


def command(module: str, *arguments: str) -> list[str]:
    """The command line of a child that runs ``module`` of the package."""
    # -P: a file in the current folder must not stand in for a library.
    return [sys.executable, "-P", "-m", module, *arguments]


def environment() -> dict[str, str]:
    """This process's variables, with this very package on the path of imports."""
    variables = dict(os.environ)
    root = str(Path(__file__).resolve().parents[1])
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, (root, variables.get("PYTHONPATH", ""))))
    variables.pop(_LIFELINE, None)
    for descriptor in inherited():
        lasting = int(threading.current_thread() is threading.main_thread())
        variables[_LIFELINE] = f"{descriptor}:{os.getpid()}:{lasting}"
    return variables


def inherited() -> tuple[int, ...]:
    """Descriptors for ``pass_fds``: the end of a pipe at which a child sees this process die."""
    if os.name != "posix":
        return ()
    with _making:
        if not _pipe:
            _pipe.extend(os.pipe())
        return (_pipe[0],)


def settle_in(memory: int = 0, address_space: bool = True) -> None:
    """To be called first in a child: it ends when its parent does, by no signal of a terminal, and stays in bounds.

    ``memory``: bytes that it may take (0: no limit), of its address space too where ``address_space``: a GPU's drivers
    and the chart library's engine reserve more of that than any limit could allow.
    """
    # Ctrl-C and a cluster's signals reach every process; whether this one ends is for its parent to say.
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    _die_with_parent(os.environ.pop(_LIFELINE, ""))
    limit_memory(memory, address_space)


def _die_with_parent(lifeline: str) -> None:
    if not lifeline:
        return
    descriptor, parent, lasting = map(int, lifeline.split(":"))
    if sys.platform == "linux" and lasting:
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    threading.Thread(target=_watch, args=(descriptor,), daemon=True, name="lifeline").start()


def _watch(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        os.read(descriptor, 1)
    os.kill(os.getpid(), signal.SIGKILL)


def limit_memory(limit: int, address_space: bool = True) -> None:
    """Bound what this process may map, in bytes (0: not at all); no core file is written when it dies."""
    try:
        import resource
    except ImportError:  # not POSIX: the time limit alone holds
        return
    kinds = [resource.RLIMIT_DATA, resource.RLIMIT_AS] if address_space else [resource.RLIMIT_DATA]
    for kind in kinds if limit > 0 else []:
        with contextlib.suppress(ValueError, OSError):
            hard = resource.getrlimit(kind)[1]
            resource.setrlimit(kind, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def libraries_want_memory(error: BaseException) -> bool:
    """Whether not even a library could be loaded: the limit is too small, whatever the input is."""
    return isinstance(error, ImportError) and wants_memory(str(error))


def as_fields(error: BaseException, task: str, hint: str) -> dict[str, Any]:
    """An error of a child, while it did its ``task``, as plain fields; ``hint``: what to try where memory ran out."""
    if isinstance(error, SingauditError):
        told: SingauditError = error
    elif libraries_want_memory(error):
        told = MachineError(f"there is too little memory to {task}: {error}", hint=hint)
    elif isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "alloc" in str(error)):
        told = ModelError(f"the model needs more memory than it may take to {task}", hint=hint)
    elif isinstance(error, OSError):
        reason = error.strerror or str(error)
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        told = MachineError(
            f"the disk is full, so that the model's process could not {task}"
            if full
            else f"the model's process could not {task}: {reason}",
            hint="Free space, or set TMPDIR to a folder with more.",
        )
    else:  # a bug of ours: the other side raises it with this traceback
        text = "".join(traceback.format_exception(error))
        return {"error": text, "hint": "", "code": "bug"}
    return {"error": told.message, "hint": told.hint, "code": told.code}


def raise_fields(answer: Mapping[str, Any], name: str = "") -> None:
    """Raise what a child answered, where that is an error; ``name``: of the model, for messages that lack it."""
    if "error" not in answer:
        return
    if answer["code"] == "bug":
        raise RuntimeError(answer["error"])
    message = answer["error"] if not name or name in answer["error"] else f"{name}: {answer['error']}"
    raise _KINDS.get(answer["code"], ModelError)(message, hint=answer["hint"])
