"""The command that fits a finding, made from the command that ran the audit."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

_OF_MODEL = (
    "--classes", "--arch", "--logits", "--features", "--activation", "--preprocess", "--images", "--limit", "--labels",
    "--label-column", "--units", "--device", "--seed",
)  # fmt: skip

_TO_READ = ("--vlm", "--precision", "--class-prompts", "--concepts")
"""What a group's values are read with where no label states them, and findings are told by."""


def refit_command(words: Sequence[str], groups: Sequence[str] = ()) -> str | None:
    """``singaudit refit`` on the model and labelled images of an audit, balanced by its classes and ``groups``.

    ``words`` are those of ``singaudit run MODEL ...``. None where the audit saw no images itself.
    """
    if "--images" not in words:
        return None
    names = [name for name in dict.fromkeys(groups) if name != "class" and "," not in name]
    balance = ["--balance", ",".join(["class", *names])] if names else []
    kept = _kept(words, (*_OF_MODEL, *_TO_READ))
    return shlex.join(["singaudit", "refit", *kept, *balance, "-o", f"{_stem(words[2])}-refit.onnx"])


def trim_command(words: Sequence[str]) -> str:
    """``singaudit trim`` of an audit's model, on its images where it saw any."""
    return shlex.join(["singaudit", "trim", *_kept(words, _OF_MODEL), "-o", f"{_stem(words[2])}-seen.onnx"])


def compare_command(words: Sequence[str]) -> str:
    """``singaudit compare`` of an audit's model and its successor, on the same images by the same language model."""
    names = ("--classes", "--images", "--vlm", "--probe", "--labels", "--units", "--concepts", "--preprocess", "--pack")
    model, *kept = _kept(words, names)
    return shlex.join(["singaudit", "compare", model, "NEW_MODEL", *kept])


def again(words: Sequence[str], command: str, added: Sequence[str]) -> str:
    """A repair's own command line, from the words of an audit with the same settings."""
    asked = _OF_MODEL if command == "trim" else (*_OF_MODEL, *(name for name in _TO_READ if name != "--vlm"))
    return shlex.join(["singaudit", command, *_kept(words, asked), *added])


def _kept(words: Sequence[str], names: Sequence[str]) -> list[str]:
    """The model, and those of the options that both commands know, with their values."""
    kept = [words[2]]
    for option, value in zip(words[3:], [*words[4:], ""], strict=False):
        if option in names:
            kept += [option, value]
        elif option == "--allow-code":
            kept.append(option)
    return kept


def _stem(model: str) -> str:
    """A file name after the model's own: of builtin:spurious spurious, of models/a.onnx a."""
    last = re.split(r"[/\\:]", model.rstrip("/\\"))[-1]
    return re.sub(r"\.[A-Za-z0-9]{1,12}$", "", last).lstrip("-.") or "model"
