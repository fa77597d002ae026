"""Heads that a checkpoint keeps under another name than the library: fc.1, head.fc beside backbone.*, weight_norm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_NORMS = ((".parametrizations.weight.original0", ".parametrizations.weight.original1"), (".weight_g", ".weight_v"))
"""Where torch keeps the length and the direction of a weight under weight_norm."""


def without_parametrizations(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors with weights under weight_norm computed: w = g v / |v|, the norm over all axes but the first."""
    import torch

    found = dict(tensors)
    for name in tensors:
        for length, direction in _NORMS:
            stem = name.removesuffix(length)
            if stem == name or f"{stem}{direction}" not in tensors:
                continue
            g, v = found.pop(name), found.pop(f"{stem}{direction}")
            if g.numel() != v.shape[0]:
                return dict(tensors)  # normed over another axis
            found[f"{stem}.weight"] = torch._weight_norm(v, g.reshape(-1, *([1] * (v.ndim - 1))), 0)
    return found


def left_over(
    expected: Mapping[str, Any], own: Mapping[str, Any], tensors: Mapping[str, Any], prefix: str
) -> list[str]:
    """Names of the matrices in the file that the network has no place for."""
    inside = [f"{prefix}{name}" for name in own if name not in expected and f"{prefix}{name}" in tensors]
    outside = [name for name in tensors if not name.startswith(prefix)] if prefix else []
    return [name for name in dict.fromkeys((*inside, *outside)) if tensors[name].ndim == 2]


def with_renamed_head(
    expected: Mapping[str, tuple[int, ...]], own: dict[str, Any], tensors: Mapping[str, Any], prefix: str
) -> tuple[dict[str, Any], str]:
    """The network's own tensors, its head found where the file keeps it; and that place, "" where nothing was renamed.

    Only where the head is all that the network lacks, and one linear layer all that is left over: it is the head then,
    whatever its name. ``expected`` are the network's shapes, ``own`` the tensors under ``prefix``. That W f + b are the
    logits is proved once the network is exported, as for every classifier.
    """
    missing = [name for name in expected if name not in own and not name.endswith("num_batches_tracked")]
    modules = {name.rpartition(".")[0] for name in missing}
    if len(modules) != 1:
        return own, ""
    module = modules.pop()
    shape = expected.get(f"{module}.weight", ())
    places = left_over(expected, own, tensors, prefix)
    if len(shape) != 2 or len(places) != 1 or not places[0].endswith(".weight"):
        return own, ""
    place = places[0].removesuffix(".weight")
    weight, bias = tensors[places[0]], tensors.get(f"{place}.bias")
    fits = weight.shape[1] == shape[1] and (bias is None or tuple(bias.shape) == (weight.shape[0],))
    if not fits or (bias is None and f"{module}.bias" in expected):
        return own, ""
    if bias is not None and f"{module}.bias" not in expected:
        return own, ""
    moved = {f"{place}.weight".removeprefix(prefix), f"{place}.bias".removeprefix(prefix)}
    kept = {name: tensor for name, tensor in own.items() if name not in moved}
    kept[f"{module}.weight"] = weight
    if bias is not None:
        kept[f"{module}.bias"] = bias
    return kept, place
