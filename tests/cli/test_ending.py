"""However a process ends: 1 is a failed gate, a signal gives its number, and what was computed is kept."""

import getpass
import os
import signal
import subprocess
import sys
import time

import pytest

RUN = [sys.executable, "-m", "singaudit"]
AUDIT = [*RUN, "run", "builtin:leaky", "--vlm", "builtin:shapes", "--report", "json", "-o", "out", "--cache", "cache"]
FULL = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")


def shell(line, cwd, **kwargs):
    return subprocess.run(
        ["bash", "-c", line.replace("singaudit", f"{sys.executable} -m singaudit")],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=120,
        check=False,
        **kwargs,
    )


def planted(error, tmp_path, where="singaudit.cli.commands.inspect.inspect_file"):
    module, _, name = where.rpartition(".")
    code = (
        f"import {module} as m\n"
        "class PanicException(BaseException): pass\n"
        f"def broken(*a, **k): raise {error}\n"
        f"m.{name} = broken\n"
        "from singaudit.cli.main import main\n"
        "main(['inspect', 'builtin:leaky'])\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False
    )


@FULL
@pytest.mark.parametrize(
    "line",
    [
        "singaudit --help > /dev/full",
        "singaudit run --help > /dev/full",
        "singaudit --version > /dev/full",
        "singaudit schema > /dev/full",
        "singaudit run nothing.onnx 2> /dev/full",
        "singaudit nothing 2> /dev/full",
        "singaudit inspect builtin:leaky > /dev/full",
        "singaudit inspect builtin:leaky --format json > /dev/full 2>&1",
    ],
)
def test_what_cannot_be_written_is_the_machines_failure(tmp_path, line):
    found = shell(line, tmp_path)
    assert found.returncode == 3, (found.returncode, found.stderr)
    assert "Traceback" not in found.stderr


@pytest.mark.parametrize("line", ["singaudit --help", "singaudit schema"])
def test_a_reader_that_has_had_enough_is_no_failure(tmp_path, line):
    found = shell(f"{line} | true; exit ${{PIPESTATUS[0]}}", tmp_path)
    assert found.returncode == 0, found.stderr
    assert found.stderr == ""


@pytest.mark.parametrize("error", ["PanicException('rust')", "SystemExit(1)", "GeneratorExit()", "ZeroDivisionError()"])
def test_nothing_that_a_library_raises_looks_like_a_failed_gate(tmp_path, error):
    found = planted(error, tmp_path)
    assert found.returncode == 3, (found.returncode, found.stderr)
    assert "a bug in singaudit" in found.stderr


@pytest.mark.parametrize(
    "error",
    [
        "MemoryError()",
        "ImportError('libtorch_cpu.so: failed to map segment from shared object')",
        "RuntimeError('DefaultCPUAllocator: cannot allocate memory: you tried to allocate 9 bytes')",
    ],
)
def test_want_of_memory_anywhere_is_one_message(tmp_path, error):
    found = planted(error, tmp_path)
    assert found.returncode == 3
    assert "memory" in found.stderr
    assert "Traceback" not in found.stderr


@pytest.mark.faults
@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_keeps_what_was_computed_and_says_one_line(tmp_path, number, code):
    process = subprocess.Popen(
        [*AUDIT, "--images", "shapes:100000", "--batch-size", "16"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    for line in process.stderr:
        if line.startswith("look at the images"):
            break
    time.sleep(1)
    process.send_signal(number)
    try:
        _, error = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == code, error
    said = [line for line in error.splitlines() if not line.startswith("look at")]
    assert len(said) == 1, error
    assert "no report was written" in said[0]
    assert {p.name for p in tmp_path.iterdir()} - {f"torchinductor_{getpass.getuser()}"} == {"cache"}  # torch makes one
    assert len(list(tmp_path.glob("cache/features-*/*.npy"))) == 1


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no SIGHUP")
def test_a_signal_that_is_ignored_stays_ignored(tmp_path):
    code = (
        "import os, signal\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from singaudit.cli.ending import signals_interrupt\n"
        "with signals_interrupt():\n"
        "    os.kill(os.getpid(), signal.SIGHUP)\n"
        "print('lives')\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout == "lives\n"


@pytest.mark.parametrize(("verdict", "code"), [("pass", 130), ("no gates set", 130), ("fail", 1), ("inconclusive", 4)])
def test_a_report_that_an_interrupt_cost_its_pictures_never_ends_with_0(verdict, code):
    from types import SimpleNamespace as Part

    from singaudit.pipeline.audit import Audit

    result = Part(verdict=Part(status=verdict), generation=Part(status="stopped"))
    assert Audit(result, {}).exit_code == code
