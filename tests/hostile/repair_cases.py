"""What refit and trim are told: places for the new file, groups, shares and labels that are none."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from hostile import Case, typed

_QUIET = ("--progress", "none", "--no-cache")
_REFIT = ("refit", "builtin:clean", "--images", "shapes:16", *_QUIET)
_TRIM = ("trim", "builtin:clean", *_QUIET)
_NEW = ("-o", "new.onnx")


def _beside(make: Callable[[Path], object], *words: str) -> Callable[[Path], Sequence[str]]:
    """``make`` puts something in the new file's place."""

    def made(folder: Path) -> Sequence[str]:
        make(folder / "new.onnx")
        return (*words, *_NEW)

    return made


_PLACES: dict[str, Callable[[Path], object]] = {
    "a file": lambda path: path.write_bytes(b"years"),
    "a folder": lambda path: path.mkdir(),
    "a link to nothing": lambda path: path.symlink_to("elsewhere.onnx"),
    "a link to itself": lambda path: path.symlink_to("new.onnx"),
    "a FIFO": os.mkfifo,
    "a page of that name": lambda path: path.with_suffix(".html").write_text("thesis"),
    "a link in the numbers' place": lambda path: path.with_suffix(".json").symlink_to("/etc/passwd"),
}
CASES = [
    *[
        Case(f"{words[0]} over {kind}", _beside(make, *words, "--force"), "exists already")
        for words in (_REFIT, _TRIM)
        for kind, make in _PLACES.items()
    ],
    Case("a new model of another kind", typed(*_TRIM, "-o", "new.pt"), "ends in .onnx"),
    Case("a new model without a name", typed(*_TRIM, "-o", ".onnx"), "ends in .onnx"),
    Case("a new model in a folder that is none", typed(*_TRIM, "-o", "a/b.onnx"), "no a"),
    Case("a new model with a name of 300 letters", typed(*_TRIM, "-o", "n" * 300 + ".onnx"), "too long"),
    Case("a new model in a kernel's folder", typed(*_TRIM, "-o", "/proc/new.onnx"), "cannot be written"),
    Case("a share that is no number", typed(*_REFIT, "--holdout", "nan", *_NEW), "holdout"),
    Case("a share of everything", typed(*_REFIT, "--holdout", "1", *_NEW), "holdout"),
    Case("a loss that is no number", typed(*_REFIT, "--most-lost", "nan", *_NEW), "most-lost"),
    Case("balance of nothing", typed(*_REFIT, "--balance", ",,", *_NEW), "names of groups"),
    Case("balance by a name of 5,000 letters", typed(*_REFIT, "--balance", "x" * 5000, *_NEW), "nothing states"),
    Case("balance by a terminal's commands", typed(*_REFIT, "--balance", "\x1b]0;x\x07", *_NEW), "nothing states"),
    Case("scenes of a column that is none", typed(*_REFIT, "--units", "\x1b[31m", *_NEW), "--units"),
    Case("images that are too few to fit on", typed(*_REFIT, *_NEW), "at least 20 images of each class"),
    Case("erasure without images", typed(*_TRIM, "--erase", "colour", *_NEW), "expected images"),
    Case(
        "erasure of what nothing states",
        typed(*_TRIM, "--images", "shapes:16", "--erase", "\x07", *_NEW),
        "nothing states",
    ),
    Case(
        "erasure of values that are too rare",
        typed(*_TRIM, "--images", "shapes:16", "--erase", "colour", *_NEW),
        "ten images each",
    ),
    Case(
        "labels that are binary",
        typed(*_REFIT[:4], "--labels", "f.csv", *_QUIET, *_NEW, f__csv=b"\xff\x00\xfe" * 99),
        ("UTF-8", "CSV", "text"),
    ),
    *[
        Case(
            f"a model that is none, for {words[0]}",
            typed(words[0], "f.onnx", *words[2:], *_NEW, f__onnx=b"\x08" * 99),
            "f.onnx",
        )
        for words in (_REFIT, _TRIM)
    ],
]
