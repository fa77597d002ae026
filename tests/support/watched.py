"""Runs a Python module in a process that the kernel ends as soon as anything in it, native code too, opens a socket.

``python watched.py MODULE ARGUMENTS...``. Children inherit the watch. Linux on x86-64 and ARM64 only.
"""

import ctypes
import platform
import runpy
import struct
import sys

SOCKET = {"x86_64": 41, "aarch64": 198}
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_FAMILIES = (2, 10)
"""IPv4 and IPv6."""


def possible():
    """Whether this machine can watch so."""
    return sys.platform == "linux" and platform.machine() in SOCKET


def forbid_sockets():
    """From here on no process that comes of this one survives opening an IPv4 or IPv6 socket."""
    steps = [
        (_LOAD, 0, 0, 0),  # the number of the system call
        (_EQUAL, 0, 4, SOCKET[platform.machine()]),
        (_LOAD, 0, 0, 16),  # its first argument: the family
        (_EQUAL, 1, 0, _FAMILIES[0]),
        (_EQUAL, 0, 1, _FAMILIES[1]),
        (_RETURN, 0, 0, _KILL),
        (_RETURN, 0, 0, _ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    zero = ctypes.c_ulong(0)
    for call in ((38, ctypes.c_ulong(1), zero, zero, zero), (22, ctypes.c_ulong(2), program, zero, zero)):
        if libc.prctl(*call) != 0:
            raise OSError(ctypes.get_errno(), "no filter of system calls here")


if __name__ == "__main__":
    forbid_sockets()
    module = sys.argv[1]
    sys.argv[:2] = [module]
    if module == "-c":
        exec(sys.argv[1])
    else:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
