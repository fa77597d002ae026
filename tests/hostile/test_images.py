"""Hostile image files: left out and said why, or read right; never a hang, a program run, or memory without bound."""

import os
import socket
import time
import tracemalloc

import numpy as np
import PIL.Image
import pytest
from picture_files import NOISE, REFUSED, RIGHT, encoded

from singaudit.dataset.interface import Image, Skipped
from singaudit.dataset.sources.table import open_source

NAMES = {
    "a script": "<script>alert(1)</script>.png",
    "a template": "{{ 7 * 7 }}{% include 'x' %}.png",
    "a formula": "=HYPERLINK('https:example.org').png",
    "a command": "$(touch ran);`touch ran`.png",
    "a cursor": "\x1b[2J\x1b[31m.png",
    "a line": "a\nb\r\tc.png",
    "a direction": "\u202egnp.exe\u2066.png",
    "no text": b"\xff\xfe.png",
    "a length": "x" * 240 + ".png",
    "a space": " .png",
    "marks": "e" + "\u0301" * 40 + ".png",
}


def loaded(folder):
    began = time.process_time()  # on a busy machine a second of work may take ten
    tracemalloc.start()
    source = open_source(str(folder))
    found = source.load(0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.process_time() - began < 10
    assert peak < 2**29, f"{peak >> 20} MiB"
    return found


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_picture_is_left_out_with_a_reason(tmp_path, monkeypatch, what):
    monkeypatch.chdir(tmp_path)
    name, make = REFUSED[what]
    (tmp_path / "im").mkdir()
    (tmp_path / "im" / name).write_bytes(make())
    found = loaded("im")
    assert isinstance(found, Skipped)
    assert found.name == name
    assert 3 < len(found.reason) < 400
    assert "0x" not in found.reason  # a memory address would differ between two runs
    assert os.listdir(tmp_path) == ["im"]


@pytest.mark.parametrize("what", RIGHT)
def test_what_is_odd_but_whole_is_read(tmp_path, what):
    name, make, size = RIGHT[what]
    (tmp_path / name).write_bytes(make())
    found = loaded(tmp_path)
    assert isinstance(found, Image), found
    assert found.pixels.shape == (*size, 3)
    assert found.pixels.dtype == np.uint8


@pytest.mark.parametrize("what", NAMES)
def test_any_name_is_a_name(tmp_path, what):
    name = NAMES[what]
    try:
        with open(os.path.join(os.fsencode(tmp_path), os.fsencode(name)), "wb") as file:
            file.write(encoded(NOISE, "PNG"))
    except OSError:
        pytest.skip("this file system does not take the name")
    found = loaded(tmp_path)
    assert isinstance(found, Image)
    found.name.encode()


def _special(folder, kind):
    path = folder / "a.png"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "loop":
        path.symlink_to("a.png")
    elif kind == "nowhere":
        path.symlink_to("gone.png")
    elif kind == "sparse":
        with path.open("wb") as file:
            file.truncate(2**33)
    else:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("a.png")


@pytest.mark.skipif(os.name != "posix", reason="FIFOs, sockets and devices")
@pytest.mark.parametrize("kind", ["fifo", "folder", "device", "loop", "nowhere", "sparse", "socket"])
def test_what_is_no_file_is_counted_and_does_not_hang(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    _special(tmp_path, kind)
    NOISE.save(tmp_path / "b.png")
    source = open_source(".")
    found = [source.load(i) for i in range(len(source))]
    skipped = [one for one in [*found, *source.left_out] if isinstance(one, Skipped)]
    assert [one.name for one in skipped] == ["a.png"]
    assert sum(isinstance(one, Image) for one in found) == 1


def test_folders_that_contain_themselves_end(tmp_path):
    (tmp_path / "star").mkdir()
    NOISE.save(tmp_path / "star" / "a.png")
    (tmp_path / "star" / "again").symlink_to(tmp_path)
    (tmp_path / "here").symlink_to(".")
    source = open_source(str(tmp_path))
    assert list(source.names) == ["star/a.png"]
    assert len(source.left_out) >= 1


def test_a_folder_300_levels_deep_is_read(tmp_path):
    here = os.getcwd()
    os.chdir(tmp_path)
    try:
        for _ in range(300):
            os.mkdir("d")
            os.chdir("d")
        PIL.Image.new("RGB", (4, 4)).save("a.png")
    finally:
        os.chdir(here)
    source = open_source(str(tmp_path))
    assert len(source) == 1
