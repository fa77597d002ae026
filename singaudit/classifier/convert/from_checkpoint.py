"""Checkpoints that hold weights: .pt, .pth, .ckpt, .safetensors; their architecture named, stated beside, or found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from singaudit.classifier.convert.architectures import Architecture, known
from singaudit.classifier.convert.fitting import Fitted, default_size, find, fit_any
from singaudit.classifier.convert.library_defaults import architecture_preprocess, tagged_class_names
from singaudit.classifier.convert.network import Network, Statements, stored_as
from singaudit.classifier.convert.state_dict import NeedsCodeError, Weights, read_weights
from singaudit.classifier.files.folder import read_json
from singaudit.classifier.preprocessing.metadata import read_metadata
from singaudit.errors import ModelError

CONFIG = "config.json"
_TIMM_DEFAULTS = {"interpolation": "bicubic", "crop": 0.875, "mode": "crop"}


def weights_network(
    files: Sequence[str], arch: str | None, allow_code: bool, stated: Mapping[str, Any], argument: str
) -> Network:
    """The network of a checkpoint; ``stated`` are the user's preprocessing keys. Raises ModelError.

    A pickle that is a program is read by :mod:`singaudit.classifier.convert.from_program`, only with ``allow_code``.
    """
    paths = [Path(name) for name in files]
    try:
        weights = read_weights(paths)
    except NeedsCodeError:
        if not allow_code:
            raise
        from singaudit.classifier.convert.from_program import program_network

        return program_network(files[0], "pickled module", stated)
    fitted, how = _fitted(weights, arch, paths[0].parent, argument)
    beside = read_metadata({}, paths[0].parent)
    usual, usual_source = architecture_preprocess(fitted.architecture)
    said = beside.preprocess
    if {"mean", "std"} <= said.keys():
        # What a timm configuration leaves out has timm's default; whoever states the arithmetic leaves no guess.
        said, usual = {**(_TIMM_DEFAULTS if "architecture" in _config(paths[0].parent) else {}), **said}, {}
    names, names_source = beside.class_names, f"{CONFIG} beside the model" if beside.class_names else ""
    if names is None:
        names, names_source = tagged_class_names(_config(paths[0].parent))
    statements = Statements(said, beside.preprocess_source, usual, usual_source, names, names_source)
    height, width = stated.get("size") or said.get("size") or usual.get("size") or default_size(fitted.module)
    fixed = fitted.architecture.size or _fixed_size(fitted.module)
    return Network(
        module=fitted.module,
        shape=(fitted.architecture.channels, height, width),
        statements=statements,
        description=_description(weights, fitted, how),
        stored=stored_as(weights.tensors),
        size_guessed="size" not in stated and "size" not in said and not fixed,
    )


def _fitted(weights: Weights, arch: str | None, folder: Path, called: str) -> tuple[Fitted, str]:
    """The weights in their network, and who named its architecture."""
    if arch is not None:
        return fit_any(weights.tensors, known(arch)), "--arch"
    beside = _config(folder)
    named = beside.get("architecture")
    if isinstance(named, str):
        arguments = beside.get("model_args")
        pool = beside.get("global_pool")
        extra = {**(arguments if isinstance(arguments, dict) else {}), **({"global_pool": pool} if pool else {})}
        return fit_any(weights.tensors, _without_tag(known(named, extra))), f"{CONFIG} beside the model"
    if weights.architecture is not None:
        try:
            return fit_any(weights.tensors, known(weights.architecture)), "named in the file"
        except ModelError:  # a name of the training script's own says nothing
            pass
    return find(weights.tensors, called), "found by the names and shapes of the weights"


def _without_tag(architectures: list[Architecture]) -> list[Architecture]:
    """A pretrained tag names other weights than these."""
    return [replace(item, name=item.name.partition(".")[0]) for item in architectures]


def _config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        return read_json(path) if path.is_file() else {}
    except ModelError:  # some other tool's file
        return {}


def _fixed_size(module: Any) -> bool:
    """Whether the network takes images of one size only."""
    config = getattr(module, "pretrained_cfg", None) or {}
    return bool(config.get("fixed_input_size")) or hasattr(module, "image_size")


def _description(weights: Weights, fitted: Fitted, how: str) -> dict[str, str | int]:
    facts: dict[str, str | int] = {"format": weights.kind, "architecture": f"{fitted.architecture} ({how})"}
    said = []
    if weights.wrapper:
        said.append(weights.wrapper)
    if weights.averaged or "ema" in fitted.prefix:
        said.append("averaged over training (EMA)")
    if fitted.prefix:
        said.append(f"under {fitted.prefix}*")
    if weights.beside:
        said.append(f"not audited: {', '.join(weights.beside)}")
    if fitted.ignored:
        said.append(f"no part of the network: {len(fitted.ignored)} tensors such as {fitted.ignored[0]}")
    if fitted.head:
        said.append(f"the head stands under {fitted.head}")
    if fitted.renamed:
        said.append("older names, by timm's filter")
    if said:
        facts["weights"] = "; ".join(said)
    return facts
