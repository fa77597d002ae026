"""A network of torchvision with its published weights, in the converting process."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from singaudit.classifier.convert.architectures import Architecture
from singaudit.classifier.convert.fitting import fit
from singaudit.classifier.convert.library_defaults import torchvision_preprocess
from singaudit.classifier.convert.network import Network, Statements, stored_as
from singaudit.classifier.convert.state_dict import read_weights
from singaudit.errors import ModelError
from singaudit.torchvision_import import import_torchvision

_RESCALED = ("inception_v3", "googlenet")
"""Their published weights come with a rescaling of the input inside the network."""


def weights_entry(model: str, tag: str) -> Any:
    """The entry of torchvision's table of weights. Raises ModelError naming what it has."""
    import_torchvision()
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
    preprocess = torchvision_preprocess(entry)
    height, width = stated.get("size") or preprocess["size"]
    names = tuple(map(str, entry.meta.get("categories") or ())) or None
    return Network(
        module=fitted.module,
        shape=(3, height, width),
        statements=Statements(preprocess, f"torchvision {entry.name}", {}, "", names, f"torchvision {entry.name}"),
        description={"format": weights.kind, "architecture": f"torchvision:{model}"},
        stored=stored_as(weights.tensors),
    )
