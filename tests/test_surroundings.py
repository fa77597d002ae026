"""Where singaudit is started: streams that are closed, readers that leave, poor encodings, a folder that is gone."""

import os
import shlex
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.faults, pytest.mark.skipif(os.name != "posix", reason="written for a POSIX shell")]
SINGAUDIT = f"{shlex.quote(sys.executable)} -m singaudit"
POOR = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
CLOSED = f"{SINGAUDIT} inspect builtin:leaky > out.txt <&- 2>&-; echo $?"
NO_READER = (
    f"{{ {SINGAUDIT} run builtin:leaky --images shapes:8 --vlm builtin:shapes --no-cache --report json --generate 0 "
    "--progress plain 2>&1; echo $? > code; } | head -n 1; sleep 1; cat code; ls"
)


def shell(command, folder, **variables):
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=300,
        encoding="utf-8",
    )


def test_closed_streams_do_not_matter(tmp_path):
    assert shell(CLOSED, tmp_path).stdout == "0\n"
    assert "feature" in (tmp_path / "out.txt").read_text()


def test_without_a_reader_of_its_progress_nothing_passes(tmp_path):
    found = shell(NO_READER, tmp_path).stdout.splitlines()
    assert found[1:] == ["3", "code"], found


def test_a_reader_that_leaves_early_is_no_failed_gate(tmp_path):
    assert shell(f"{SINGAUDIT} doctor | head -n 1 > seen; echo ${{PIPESTATUS[0]}}", tmp_path).stdout == "0\n"


def test_what_an_encoding_lacks_is_shown_escaped(tmp_path):
    found = shell(f"{SINGAUDIT} doctor; {SINGAUDIT} inspect na\u00efve.onnx", tmp_path, **POOR)
    assert "\\u2713" in found.stdout
    assert "Traceback" not in found.stderr
    assert found.returncode == 2


def test_a_current_folder_that_is_gone_is_said(tmp_path):
    found = shell(f"mkdir gone; cd gone; rmdir ../gone; {SINGAUDIT} inspect builtin:leaky", tmp_path)
    assert found.returncode == 2
    assert "current folder was removed" in found.stderr
    assert "Traceback" not in found.stderr


def test_python_without_docstrings_is_said(tmp_path):
    """Some libraries read their own when they are imported; without assertions alone everything works."""
    found = shell(f"{shlex.quote(sys.executable)} -OO -m singaudit inspect builtin:leaky", tmp_path)
    assert found.returncode == 2
    assert "python -O" in found.stderr
    assert "Traceback" not in found.stderr
    assert shell(f"{shlex.quote(sys.executable)} -O -m singaudit inspect builtin:leaky", tmp_path).returncode == 0


def test_a_variable_that_is_nearly_an_options_is_refused(tmp_path):
    found = shell(f"{SINGAUDIT} run builtin:leaky", tmp_path, SINGAUDIT_GATES="default", SINGAUDIT_HOUSE="ours")
    assert found.returncode == 2
    assert "SINGAUDIT_GATES" in found.stderr
    assert "Did you mean SINGAUDIT_GATE?" in found.stderr
    assert os.listdir(tmp_path) == []
