"""Opens whatever a user names as a classifier: a table of kinds, each read by a file of its own."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from pathlib import Path

from singaudit.classifier.convert.process import Original, converted
from singaudit.classifier.files.content import KINDS, Content, recognise
from singaudit.classifier.interface import Classifier
from singaudit.classifier.openers.hub import is_transformers, open_folder, open_hub
from singaudit.classifier.openers.timm import open_timm
from singaudit.classifier.openers.torchvision import open_torchvision
from singaudit.classifier.options import ModelOptions
from singaudit.classifier.sandbox.onnx_classifier import open_onnx
from singaudit.errors import ConfigError, ModelError
from singaudit.hub.caller import Progress

_CODE = {
    "TorchScript": "a TorchScript archive",
    "exported program": "a program of torch.export (.pt2)",
}


def open_classifier(
    model: str, options: ModelOptions | None = None, progress: Progress = lambda stage, done, total: None
) -> Classifier:
    """The classifier that ``model`` names, its head proved, ready to run.

    A name with a prefix of ``NAMES`` is looked up where that says; anything else is a path, read as what its content
    shows. Torch networks are exported to ONNX in a process of their own and then opened as any ONNX file is.
    ``progress`` is told the bytes of a download.

    Raises ``ModelError`` for what cannot be opened, ``ConfigError`` for options that do not fit it.
    """
    options = options or ModelOptions()
    if not model:
        raise ModelError("expected a model, got an empty name", hint=f"Give {KINDS}.")
    prefix, colon, name = model.partition(":")
    if colon and prefix in NAMES:
        if not name:
            raise ModelError(f"expected a name after {prefix}:, got none", hint=f"Give {KINDS}.")
        return NAMES[prefix](name, options, progress)
    path = Path(model)
    return CONTENTS[recognise(path)](path, options)


def _builtin(name: str, options: ModelOptions, progress: Progress) -> Classifier:
    """A classifier of the embedded world. Raises ``ConfigError``."""
    folder = Path(str(resources.files("singaudit") / "demo" / "models"))
    known = {path.stem: path for path in folder.glob("*.onnx")}
    if name not in known:
        raise ConfigError(f"expected one of {', '.join(sorted(known))} after builtin:, got {name!r}")
    return open_onnx(known[name], options)


def _weights(path: Path, options: ModelOptions) -> Classifier:
    """Weights; those of a transformers folder are read with the folder's configuration."""
    if options.arch is None and is_transformers(path.parent):
        return open_folder(path.parent, options)
    request = {
        "kind": "weights",
        "name": path.name,
        "files": [str(path)],
        "arch": options.arch,
        "allow_code": options.allow_code,
    }
    return converted(request, Original(path.name, (path,), "checkpoint"), options)


def _program(content: Content) -> Callable[[Path, ModelOptions], Classifier]:
    def opened(path: Path, options: ModelOptions) -> Classifier:
        if not options.allow_code:
            raise ModelError(
                f"{path.name} is {_CODE[content]}: code that runs when it is opened",
                hint="Give its weights with --arch, or an ONNX export; or, only if you trust the file as much as a "
                "program, pass --allow-code.",
            )
        _no_arch(path.name, options)
        request = {"kind": "program", "name": path.name, "files": [str(path)], "content": content}
        return converted(request, Original(path.name, (path,), content), options)

    return opened


def _no_arch(name: str, options: ModelOptions) -> None:
    if options.arch is not None:
        raise ConfigError(f"--arch is for files that hold weights alone; {name} brings its architecture along")


NAMES: dict[str, Callable[[str, ModelOptions, Progress], Classifier]] = {
    "builtin": _builtin,
    "timm": open_timm,
    "hf": open_hub,
    "torchvision": open_torchvision,
}
CONTENTS: dict[Content, Callable[[Path, ModelOptions], Classifier]] = {
    "onnx": open_onnx,
    "weights": _weights,
    "TorchScript": _program("TorchScript"),
    "exported program": _program("exported program"),
    "folder": open_folder,
}
