"""``torchvision:NAME`` or ``torchvision:NAME@WEIGHTS``: a classifier of torchvision with its published weights."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from singaudit.classifier.architectures import Architecture
from singaudit.classifier.checkpoint import fit
from singaudit.classifier.conversion import Original, converted
from singaudit.classifier.hub_models import CALLER
from singaudit.classifier.interface import Classifier
from singaudit.classifier.network import Network, Statements, stored_as
from singaudit.classifier.usual import of_torchvision
from singaudit.classifier.weights import read_weights
from singaudit.classifier.wishes import Wishes
from singaudit.errors import ConfigError, ModelError
from singaudit.hub.caller import Progress
from singaudit.hub.web_file import from_url

_RESCALED = ("inception_v3", "googlenet")
"""Their published weights come with a rescaling of the input inside the network."""


def open_torchvision(name: str, wishes: Wishes, progress: Progress) -> Classifier:
    """The classifier that torchvision calls ``name``; its default weights where none are named. Raises ModelError."""
    if wishes.arch is not None:
        raise ConfigError("--arch is for files that hold weights alone; torchvision:NAME names its architecture itself")
    from singaudit.torchvision_import import import_torchvision

    if import_torchvision() is None:
        raise ModelError("torchvision is not installed", hint="pip install torchvision")
    model, _, tag = name.partition("@")
    entry = weights_entry(model, tag)
    path = from_url(entry.url, CALLER, progress)
    request = {
        "kind": "torchvision", "name": f"torchvision:{name}", "files": [str(path)], "arch": model,
        "weights": entry.name,
    }  # fmt: skip
    facts = {"revision": f"{type(entry).__name__}.{entry.name}"}
    return converted(request, Original(f"torchvision:{name}", (path,), "torchvision", facts), wishes)


def weights_entry(model: str, tag: str) -> Any:
    """The entry of torchvision's table of weights. Raises ModelError naming what it has."""
    from torchvision import models

    known = models.list_models(module=models)
    if model not in known:
        near = difflib.get_close_matches(model, known, 4) or known[:4]
        raise ModelError(f"torchvision has no classifier named {model[:100]!r}", hint=f"Such as {', '.join(near)}.")
    table = models.get_model_weights(model)
    if not tag:
        return table.DEFAULT
    try:
        return table[tag]
    except KeyError as error:
        listed = ", ".join(entry.name for entry in table)
        raise ModelError(f"torchvision has no weights {tag[:100]!r} for {model}", hint=f"It has {listed}.") from error


def torchvision_network(files: Sequence[str], model: str, tag: str, stated: Mapping[str, Any]) -> Network:
    """In the converting process: the network with the file's weights."""
    entry = weights_entry(model, tag)
    weights = read_weights([Path(file) for file in files])
    fitted = fit(weights.tensors, Architecture("torchvision", model))
    if model in _RESCALED:
        fitted.module.transform_input = True
    preprocess = of_torchvision(entry)
    height, width = stated.get("size") or preprocess["size"]
    names = tuple(map(str, entry.meta.get("categories") or ())) or None
    return Network(
        module=fitted.module,
        shape=(3, height, width),
        statements=Statements(preprocess, f"torchvision {entry.name}", {}, "", names, f"torchvision {entry.name}"),
        description={"format": weights.kind, "architecture": f"torchvision:{model}"},
        stored=stored_as(weights.tensors),
    )
