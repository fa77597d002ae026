"""Audits one after the other in one process, and what each leaves behind: ``python tests/support/soak.py [COUNT]``."""

import gc
import os
import sys
import tempfile
from pathlib import Path


def state():
    """(resident bytes, descriptors, threads, children, folders for temporary files) of this process."""
    gc.collect()
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    left = [name for name in os.listdir(tempfile.gettempdir()) if name.startswith(".singaudit")]
    return (
        int(status["VmRSS"].split()[0]) * 1024,
        len(os.listdir("/proc/self/fd")),
        int(status["Threads"]),
        len(children),
        len(left),
    )


def audits(count):
    """The state after each of ``count`` audits, of the fewest images that a translator is fitted on."""
    from singaudit import AuditConfig, audit

    config = AuditConfig(model="builtin:leaky", images="shapes:60", vlm="builtin:shapes", cache="none", generate=0)
    for _ in range(count):
        audit(config)
        yield state()


if __name__ == "__main__":
    for number, (resident, *rest) in enumerate(audits(int((sys.argv[1:] or ["60"])[0])), 1):
        print(f"{number:3d} {resident / 2**20:7.1f} MiB, descriptors, threads, children, folders: {rest}", flush=True)
