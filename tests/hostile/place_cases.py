"""Files that every command names: FIFOs, devices, links and files that fail while they are read, in their place."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from hostile import Case

_IMAGES = ("--images", "shapes:8", "--vlm", "builtin:shapes", "--progress", "none")
_RUN = ("run", "builtin:leaky", "--report", "json", "--generate", "0")
COMMANDS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "a translator": ("f.safetensors", (*_RUN, *_IMAGES, "--translator", "f.safetensors"), "translator"),
    "a translator to show": ("f.safetensors", ("translator", "show", "f.safetensors"), "translator"),
    "a pack": ("f.pack", (*_RUN, "--progress", "none", "--pack", "f.pack"), "pack"),
    "a probe list": ("f.txt", (*_RUN, *_IMAGES, "--probe", "f.txt"), "list"),
    "a table of images": ("f.csv", ("pack", "--vlm", "builtin:shapes", "-o", "x.pack", "--images", "f.csv"), "table"),
    "a photo": ("f.png", ("image", "builtin:leaky", "f.png", *_IMAGES), "image"),
    "a result to compare": ("f.json", ("compare", "f.json", "builtin:clean", *_IMAGES), "f.json"),
}
KINDS: dict[str, Callable[[Path], object]] = {
    "a FIFO": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a file that fails while it is read": lambda path: path.symlink_to("/proc/self/mem"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "64 gibibytes of nothing": lambda path: (path.touch(), os.truncate(path, 2**36)),
}
_FAILS = sys.platform == "linux"


def _code(kind: str, name: str) -> int:
    """Exit code: a pack is read in full before it is understood, so that a failing disk is the machine's."""
    return 3 if "fails" in kind and name == "a pack" else 2


def _placed(kind: str, file: str, words: Sequence[str]) -> Callable[[Path], Sequence[str]]:
    def make(folder: Path) -> Sequence[str]:
        KINDS[kind](folder / file)
        return words

    return make


def _link(target: str, *words: str) -> Callable[[Path], Sequence[str]]:
    """``f`` is a link to the target, and a thesis is beside it."""

    def make(folder: Path) -> Sequence[str]:
        (folder / "thesis").mkdir()
        (folder / "thesis" / "thesis.txt").write_text("years")
        (folder / "f").symlink_to(target)
        return words

    return make


_FIT = ("translator", "fit", "builtin:leaky", *_IMAGES, "-o", "f")
CASES = [
    *[
        Case(f"{kind} as {name}", _placed(kind, file, words), (says, "failed"), _code(kind, name))
        for name, (file, words, says) in COMMANDS.items()
        for kind in KINDS
        if _FAILS or "fails" not in kind
    ],
    Case("a translator through a link to itself", _link("f", *_FIT), "link"),
    Case("a translator through a link to a file", _link("thesis/thesis.txt", *_FIT), "link"),
    Case("a translator through a link to nothing", _link("thesis/new", *_FIT), "link"),
    Case("a translator over a device", lambda folder: [*_FIT[:-1], "/dev/null", "--force"], "/dev/null"),
    Case("a calibration through a link to itself", _link("f", "calibrate", "--quick", "-o", "f"), "link"),
    Case("a calibration through a link", _link("thesis", "calibrate", "--quick", "-o", "f"), "link"),
]
