"""``torchvision:NAME`` or ``torchvision:NAME@WEIGHTS``: a classifier of torchvision with its published weights."""

from __future__ import annotations

from singaudit.classifier.convert.from_torchvision import weights_entry
from singaudit.classifier.convert.process import Original, converted
from singaudit.classifier.interface import Classifier
from singaudit.classifier.openers.hub import CALLER
from singaudit.classifier.options import ModelOptions
from singaudit.errors import ConfigError, ModelError
from singaudit.hub.caller import Progress
from singaudit.hub.web_file import from_url


def open_torchvision(name: str, options: ModelOptions, progress: Progress) -> Classifier:
    """The classifier that torchvision calls ``name``; its default weights where none are named. Raises ModelError."""
    if options.arch is not None:
        raise ConfigError("--arch is for files that hold weights alone; torchvision:NAME names its architecture itself")
    from singaudit.torchvision_import import import_torchvision

    if import_torchvision() is None:
        raise ModelError("torchvision is not installed", hint="Run pip install torchvision")
    model, _, tag = name.partition("@")
    entry = weights_entry(model, tag)
    path = from_url(entry.url, CALLER, progress)
    request = {
        "kind": "torchvision",
        "name": f"torchvision:{name}",
        "files": [str(path)],
        "arch": model,
        "weights": entry.name,
    }
    facts = {"revision": f"{type(entry).__name__}.{entry.name}"}
    return converted(request, Original(f"torchvision:{name}", (path,), "torchvision", facts), options)
