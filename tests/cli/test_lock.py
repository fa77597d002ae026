"""One run at a time writes into an output folder."""

import os
import subprocess
import sys

import pytest

from singaudit.cli.lock import hold, release
from singaudit.errors import ReportError
from singaudit.report.formats.folder import check_output_folder

pytestmark = pytest.mark.skipif(os.name != "posix", reason="locks of files")


def holder(folder):
    code = (
        "from singaudit.cli.lock import hold; from pathlib import Path; "
        f"hold(Path({str(folder)!r})); print(1, flush=True); input()"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdout.readline()
    return child


def test_a_second_run_into_the_same_folder_is_refused_while_the_first_lives(tmp_path):
    out = tmp_path / "out"
    child = holder(out)
    try:
        with pytest.raises(ReportError, match="another run"):
            hold(out)
        hold(tmp_path / "other")
        check_output_folder(tmp_path, folders=("out", "other"))  # locks are no files of others
    finally:
        child.kill()
        child.wait()
    hold(out)
    hold(out)
    release()
    assert not list(tmp_path.iterdir())
