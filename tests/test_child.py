"""Children end when their parent does, in whatever way, and say in one message when memory ran out."""

import errno
import os
import signal
import subprocess
import sys
import time

import pytest

from singaudit import child
from singaudit.errors import MachineError, ModelError

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals")
BUSY = "from singaudit import child; child.settle_in(); print('up', flush=True); %s"
NATIVE, PYTHON = BUSY % "sum(iter(int, 1))", BUSY % "exec('while True: pass')"


def parent(thread):
    """Code of a process that starts a busy child, from its main thread or from one that ends, and tells its number."""
    return (
        "import subprocess, sys, threading, time\n"
        "from singaudit import child\n"
        "def start():\n"
        f"    p = subprocess.Popen([sys.executable, '-c', {PYTHON if thread else NATIVE!r}], stdout=subprocess.PIPE,\n"
        "        env=child.environment(), pass_fds=child.inherited())\n"
        "    p.stdout.readline(); print(p.pid, flush=True)\n"
        + ("t = threading.Thread(target=start); t.start(); t.join()\n" if thread else "start()\n")
        + "time.sleep(60)\n"
    )


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in ("Z", "X")
    except OSError:
        return False


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no /proc")
@pytest.mark.parametrize("thread", [False, True])
def test_a_child_dies_with_its_parent_and_not_with_the_thread_that_started_it(thread):
    with subprocess.Popen([sys.executable, "-c", parent(thread)], stdout=subprocess.PIPE, text=True) as process:
        pid = int(process.stdout.readline())
        time.sleep(0.3)
        assert alive(pid)
        process.kill()
        process.wait()
        began = time.monotonic()
        while alive(pid) and time.monotonic() - began < 60:
            time.sleep(0.05)
        assert not alive(pid)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_childs_end_is_for_its_parent_to_say(number):
    with subprocess.Popen(
        [sys.executable, "-c", PYTHON], stdout=subprocess.PIPE, env=child.environment(), pass_fds=child.inherited()
    ) as process:
        process.stdout.readline()
        process.send_signal(number)
        time.sleep(0.3)
        assert process.poll() is None
        process.kill()


def test_errors_cross_over_as_what_they_are():
    for error, kind, words in [
        (MachineError("the disk"), MachineError, "the disk"),
        (MemoryError(), ModelError, "more memory than it may take to try"),
        (ImportError("libx.so: failed to map segment from shared object"), MachineError, "too little memory to try"),
        (OSError(errno.ENOSPC, "No space left on device"), MachineError, "the disk is full"),
        (ZeroDivisionError("planted"), RuntimeError, "planted"),
    ]:
        with pytest.raises(kind, match=words):
            child.raise_fields(child.as_fields(error, "try", "a hint"))
    child.raise_fields({"answer": 1})


@pytest.mark.parametrize("gib", ["0.05", "0.3"])
def test_a_limit_that_not_even_the_libraries_fit_into_is_one_message(tmp_path, gib):
    found = subprocess.run(
        [sys.executable, "-m", "singaudit", "inspect", "builtin:leaky", "--model-memory", gib],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=200,
        check=False,
    )
    assert found.returncode == 3, found.stderr
    assert "too little memory" in found.stderr
    assert "--model-memory" in found.stderr
    assert "Traceback" not in found.stderr


@pytest.mark.parametrize(("stated", "found"), [(None, "10000"), ("7", "7")])
def test_threads_that_wait_leave_cores_to_others_soon_unless_somebody_says_otherwise(stated, found):
    asks = "import os, sys, singaudit; from singaudit import child; assert 'torch' not in sys.modules; "
    asks += "print(os.environ['GOMP_SPINCOUNT'], child.environment()['GOMP_SPINCOUNT'])"
    variables = {name: value for name, value in child.environment().items() if name != "GOMP_SPINCOUNT"}
    variables |= {"GOMP_SPINCOUNT": stated} if stated else {}
    done = subprocess.run([sys.executable, "-c", asks], env=variables, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [found, found]
