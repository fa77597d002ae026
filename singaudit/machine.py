"""What of this machine the process may use, and where torch computes, in which arithmetic."""

from __future__ import annotations

import contextlib
import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar, cast

from singaudit.errors import ConfigError

Module = TypeVar("Module")
Found = TypeVar("Found")

_GROUPS = Path("/sys/fs/cgroup")
_MEMORY_FILES = ("memory.max", "memory/memory.limit_in_bytes")
"""Linux control groups of version 2 and 1; in a container, which gets fewer cores and less memory than the machine
has, the group's own files stand at the top."""


_WANT = (
    "failed to map segment",
    "annot allocate",
    "failed to allocate",
    "bad_alloc",
    "MemoryError",
    "out of memory",
    "Memory allocation",
)
"""How the loader, Python and libraries in native code say that a limit on memory was met."""
_CORES = "_SINGAUDIT_CORES"


def limit_cores(count: int) -> None:
    """Let this process and its children use at most ``count`` cores."""
    os.environ[_CORES] = str(max(1, count))


def cores(groups: Path = _GROUPS) -> int:
    """Cores this process may use: its affinity, and no more than a container's quota, rounded up."""
    allowed = os.environ.get(_CORES, "")
    own = _cores(groups)
    return min(own, int(allowed)) if allowed.isdecimal() and int(allowed) > 0 else own


def _cores(groups: Path) -> int:
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _read(groups / "cpu.max").partition(" ")
    if not period:
        quota, period = _read(groups / "cpu" / "cpu.cfs_quota_us"), _read(groups / "cpu" / "cpu.cfs_period_us")
    if quota.isdecimal() and period.isdecimal() and int(period) > 0:
        own = min(own, max(1, math.ceil(int(quota) / int(period))))
    return own


def side_by_side(calls: Iterable[Callable[[], Found]], workers: int | None = None) -> Iterator[Found]:
    """What independent ``calls`` return, in their order, ``workers`` of them at a time (default: cores).

    For work that mostly runs in libraries which release Python's lock. Calls are taken from ``calls`` in this thread,
    ``workers`` of them at most before the first has answered. An error of one is raised once all that began have ended;
    an interrupt waits for none: their threads end with the process.
    """
    workers = cores() if workers is None else workers
    if workers < 2:
        yield from (call() for call in calls)
        return
    waiting: deque[Callable[[], Found]] = deque()
    try:
        for call in calls:
            if len(waiting) == workers:
                yield waiting.popleft()()
            waiting.append(beside(call))
        while waiting:
            yield waiting.popleft()()
    except Exception:
        for answer in waiting:
            with contextlib.suppress(Exception):
                answer()
        raise


def beside(call: Callable[[], Found]) -> Callable[[], Found]:
    """Begin ``call`` on a thread of its own; what is returned waits for it, and returns or raises what it did.

    The thread ends with the process: nobody waits for what nobody asks for.
    """
    outcome: Future[Found] = Future()

    def run() -> None:
        try:
            outcome.set_result(call())
        except BaseException as error:
            outcome.set_exception(error)

    Thread(target=run, daemon=True, name="beside").start()
    return outcome.result


def memory(groups: Path = _GROUPS) -> int | None:
    """Bytes of memory that this machine has, or that a container grants; None where neither is known."""
    try:
        whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
    limits = [int(text) for file in _MEMORY_FILES if (text := _read(groups / file)).isdecimal()]
    return min([whole, *(limit for limit in limits if limit > 0)])


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def torch_device(device: str) -> str:
    """torch's name of a device."""
    return ("cuda" if cuda_here() else "cpu") if device == "auto" else device


def on_device(module: Module, device: str) -> Module:
    """Move a torch module, or a pipeline of them, to a device, in torch's words, to compute there in float32.

    By default torch rounds what enters a convolution on a GPU to TF32's 10 bits, and may add up in another order at
    each call; both are turned off, for the whole process. Raises ConfigError where torch cannot use the device.
    """
    import torch

    if torch.device(device).type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.deterministic = True
    try:
        moved: Module = cast(Any, module).to(device)
    except (RuntimeError, AssertionError) as error:  # torch built without CUDA asserts
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"torch cannot use {device} here: {reason}", hint="Run on the CPU: --device cpu") from error
    return moved


def wants_memory(text: str) -> bool:
    """Whether the words of an error, or the last words of a process, say that memory ran out."""
    return any(word in text for word in _WANT)


def memory_ran_out(error: BaseException) -> bool:
    """Whether something failed for want of memory: the machine's fault, and nobody else's."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError | ImportError | OSError) and wants_memory(str(error))


def arithmetic(device: str) -> str:
    """What computes there, as far as numbers depend on it: the card's name, or the CPU's vector instructions.

    ``device`` is torch's name of a device, or ONNX Runtime's of a provider.
    """
    kind, _, index = device.partition(":")
    if not kind.lower().startswith("cuda"):
        import numpy as np

        return " ".join(np.show_config(mode="dicts")["SIMD Extensions"]["found"])
    import torch

    return torch.cuda.get_device_name(int(index or 0)) if torch.cuda.is_available() else index


def multiplies_bf16(told: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor has instructions that multiply numbers of 16 bits (AVX-512's, AMX's or Arm's), as far as
    it tells."""
    try:
        line = next(line for line in told.read_text().splitlines() if line.lower().startswith(("flags", "features")))
    except (OSError, UnicodeDecodeError, StopIteration):
        return False
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(line.split())


def cuda_here() -> bool:
    """Whether torch has a CUDA device."""
    # Asking torch costs its import; a machine without the driver's device file has no CUDA to ask for.
    if os.name == "posix" and not os.path.exists("/dev/nvidiactl") and not os.path.exists("/dev/dxg"):
        return False
    import torch

    return bool(torch.cuda.is_available())
