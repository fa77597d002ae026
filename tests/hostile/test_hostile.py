"""Hostile inputs, from the command line: refused with one message, or right with a warning."""

import sys

import language_cases
import model_files
import place_cases
import pytest
import repair_cases
import result_cases
import setting_cases
import source_cases
from hostile import refuse

MODULES = (model_files, setting_cases, result_cases, language_cases, source_cases, place_cases, repair_cases)
ALL = [case for module in MODULES for case in module.CASES]


@pytest.mark.skipif(sys.platform == "win32", reason="FIFOs, sockets and devices")
@pytest.mark.parametrize("case", ALL, ids=[case.name for case in ALL])
def test_it_is_refused_with_one_message_and_nothing_is_written(case, tmp_path, monkeypatch):
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    refuse(case, folder)
