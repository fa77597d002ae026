"""A report's files are of one result at every moment, whatever kills who writes them."""

import os
import random
import signal
import time

import pytest
from killed import killed_before_move

from singaudit.disk import ASIDE
from singaudit.report.formats import atomic
from singaudit.report.formats.atomic import write_files
from singaudit.report.formats.folder import check_output_folder

NAMES = ("run.json", "result.json", "report.html", "pictures/001-original.png")
pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals")


def report(version):
    run = b'{"tool": "singaudit"}'
    return {name: run if name == "run.json" else f"{version} {name}".encode() * 2000 for name in NAMES}


def versions(folder):
    return {(folder / n).read_bytes().split()[0] for n in NAMES[1:] if (folder / n).exists()}


def written_until_killed(folder, seconds):
    child = os.fork()
    if child == 0:
        try:
            for i in range(10**6):
                write_files(folder, report(f"v{i}"))
        finally:
            os._exit(1)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.parametrize("way", ["exchange", "in place"])
def test_a_kill_at_any_moment_leaves_one_result_and_does_not_block_the_next_run(tmp_path, monkeypatch, way):
    if way == "in place":
        monkeypatch.setattr(atomic, "_exchangeable", lambda *_: False)
    elif atomic._renameat2() is None:
        pytest.skip("folders cannot be exchanged here")
    chance = random.Random(7)
    out = tmp_path / "out"
    write_files(out, report("first"))
    for _ in range(25):
        written_until_killed(out, chance.uniform(0.005, 0.06))
        assert len(versions(out)) <= 1
        if way == "exchange":
            assert all((out / name).exists() for name in NAMES)
        check_output_folder(out)
        write_files(out, report("next"))
        assert versions(out) == {b"next"}
        assert [p.name for p in tmp_path.iterdir()] == ["out"]
        assert not [p for p in out.rglob("*") if p.name.startswith(ASIDE)]


def test_in_place_a_kill_before_any_move_does_not_block_the_next_run(tmp_path):
    out = tmp_path / "out"

    def write():
        write_files(out, report("new"), dropped=["report.pdf"])

    for number in range(8):  # three old files and a dropped one out, the mark in one step, three new files in
        write_files(out, {**report("old"), "report.pdf": b"pdf"})
        assert killed_before_move(number, write)
        assert len(versions(out)) <= 1
        check_output_folder(out)
    assert not killed_before_move(8, write)
    assert versions(out) == {b"new"}


@pytest.mark.parametrize("failing", range(9))
def test_in_place_an_error_while_it_is_undone_keeps_the_mark(tmp_path, monkeypatch, failing):
    monkeypatch.setattr(atomic, "_exchangeable", lambda *_: False)
    write_files(tmp_path, report("old"))
    moved, marks, real = [], [], os.replace

    def move(*arguments, move=atomic._move):
        if len(moved) == failing:
            raise OSError(5, "Input/output error")
        moved.append(arguments)
        move(*arguments)

    def replace(source, target):
        real(source, target)
        marks.append((tmp_path / "run.json").exists())

    monkeypatch.setattr(atomic, "_move", move)
    monkeypatch.setattr(os, "replace", replace)
    if failing < 7:
        with pytest.raises(Exception, match="Input/output"):
            write_files(tmp_path, report("new"))
        assert versions(tmp_path) == {b"old"}
    else:
        write_files(tmp_path, report("new"))
        assert versions(tmp_path) == {b"new"}
    assert all(marks)


@pytest.mark.parametrize("way", ["exchange", "in place"])
def test_what_is_not_replaced_stays(tmp_path, monkeypatch, way):
    if way == "in place":
        monkeypatch.setattr(atomic, "_exchangeable", lambda *_: False)
    out = tmp_path / "out"
    write_files(out, {**report("a"), "report.pdf": b"pdf", "pictures/002-original.png": b"old"})
    out.chmod(0o750)
    (out / "notes").write_text("mine")
    write_files(out, report("b"), dropped=["report.pdf", "pictures/002-original.png"])
    assert versions(out) == {b"b"}
    assert (out / "notes").read_text() == "mine"
    assert out.stat().st_mode & 0o777 == 0o750
    assert sorted(p.name for p in (out / "pictures").iterdir()) == ["001-original.png"]
    assert not (out / "report.pdf").exists()


def test_folders_of_others_stay_where_they_are(tmp_path):
    (tmp_path / "out" / "thesis").mkdir(parents=True)
    (tmp_path / "out" / "thesis" / "years").write_text("of work")
    inode = (tmp_path / "out").stat().st_ino
    write_files(tmp_path / "out", report("a"))
    assert (tmp_path / "out" / "thesis" / "years").read_text() == "of work"
    assert (tmp_path / "out").stat().st_ino == inode


def test_the_current_folder_is_not_exchanged(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inode = tmp_path.stat().st_ino
    write_files(tmp_path, report("a"))
    write_files(tmp_path, report("b"))
    assert tmp_path.stat().st_ino == inode
    assert versions(tmp_path) == {b"b"}


def test_in_place_an_error_puts_back_what_was_there(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic, "_exchangeable", lambda *_: False)
    write_files(tmp_path, report("a"))
    moved = []

    def failing(source, target, moves, real=atomic._move):
        moved.append(target)
        if len(moved) == 6:
            raise OSError(5, "Input/output error")
        real(source, target, moves)

    monkeypatch.setattr(atomic, "_move", failing)
    with pytest.raises(Exception, match="Input/output"):
        write_files(tmp_path, report("b"))
    assert versions(tmp_path) == {b"a"}
    assert all((tmp_path / name).exists() for name in NAMES)


def test_a_leftover_of_an_earlier_version_does_not_block(tmp_path):
    write_files(tmp_path, report("a"))
    (tmp_path / ".result.json.x8_0abcd").write_bytes(b"half")
    check_output_folder(tmp_path)
