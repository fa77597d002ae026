"""An audit of what lies on this machine reaches for no network and leaves nothing but what it says it writes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import watched

pytestmark = pytest.mark.skipif(not watched.possible(), reason="needs Linux's filter of system calls")
WATCHED = [sys.executable, str(Path(watched.__file__))]


def run(folder, *words):
    home, temporary = folder / "home", folder / "tmp"
    for made in (home, temporary):
        made.mkdir()
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("SINGAUDIT", "XDG", "ORT_", "HF_"))}
    environment |= {"HOME": str(home), "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*WATCHED, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=900, check=False
    )


def below(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize(
    "code",
    [
        "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
        "import ctypes; ctypes.CDLL(None).socket(10, 2, 0)",
        "import os, socket, sys; os.fork() or socket.socket(); sys.exit(-os.waitstatus_to_exitcode(os.wait()[1]))",
    ],
)
def test_the_watch_sees_sockets_of_python_of_native_code_and_of_children(tmp_path, code):
    assert abs(run(tmp_path, "-c", code).returncode) == 31  # SIGSYS


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_an_offline_audit_opens_no_socket_and_writes_nowhere_else(tmp_path):
    """Long enough for what libraries do after some seconds, in every process."""
    found = run(
        tmp_path, "singaudit", "run", "builtin:leaky", "--images", "shapes:6000", "--vlm", "builtin:shapes",
        "-o", "out", "--cache", "cache", "--gate", "default",
    )  # fmt: skip
    assert found.returncode in (0, 1, 4), (found.returncode, found.stderr)
    assert below(tmp_path / "home") == []
    assert below(tmp_path / "tmp") == []
    assert {name.split("/")[0] for name in below(tmp_path)} == {"out", "cache"}


def test_inspecting_a_model_opens_no_socket_and_writes_nothing(tmp_path):
    found = run(tmp_path, "singaudit", "inspect", "builtin:leaky")
    assert found.returncode == 0, found.stderr
    assert below(tmp_path) == []
