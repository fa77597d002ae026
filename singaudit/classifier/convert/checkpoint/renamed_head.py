"""Heads that a checkpoint keeps under another name than the library: fc.1, head.fc beside backbone.*, weight_norm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_NORMS = ((".parametrizations.weight.original0", ".parametrizations.weight.original1"), (".weight_g", ".weight_v"))
"""Where torch keeps the length and the direction of a weight under weight_norm."""
_SPECTRAL = (
    (".parametrizations.weight.original", ".parametrizations.weight.0._u", ".parametrizations.weight.0._v"),
    (".weight_orig", ".weight_u", ".weight_v"),
)
"""Where torch keeps a weight under spectral_norm and its first singular vectors."""
_PRUNED = (("weight_orig", "weight_mask", "weight"), ("bias_orig", "bias_mask", "bias"))
"""Where torch keeps a tensor that it prunes and what is left of it."""


def without_parametrizations(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors with those that torch computes from others computed as its modules do in evaluation mode.

    weight_norm: w = g v / |v|, the norm over all axes but the first; spectral_norm: w / (u . w v); pruning: w times its
    mask. Others stay as they are, and are named as left over.
    """
    import torch

    found = dict(tensors)
    for name in tensors:
        for length, direction in _NORMS:
            stem = name.removesuffix(length)
            if stem == name or f"{stem}{direction}" not in tensors:
                continue
            g, v = tensors[name], tensors[f"{stem}{direction}"]
            if v.ndim and g.numel() == v.shape[0]:  # else normed over another axis
                made = torch._weight_norm(v, g.reshape(-1, *([1] * (v.ndim - 1))), 0)
                _put(found, f"{stem}.weight", made, name, f"{stem}{direction}")
        for original, left, right in _SPECTRAL:
            stem = name.removesuffix(original)
            if stem == name or not {f"{stem}{left}", f"{stem}{right}"} <= tensors.keys():
                continue
            w, u, v = tensors[name], tensors[f"{stem}{left}"], tensors[f"{stem}{right}"]
            if w.ndim > 1 and u.shape == w.shape[:1] and v.numel() * len(u) == w.numel():
                made = w / torch.dot(u, w.reshape(len(u), -1) @ v)
                _put(found, f"{stem}.weight", made, name, f"{stem}{left}", f"{stem}{right}")
        for original, mask, plain in _PRUNED:
            stem = name.removesuffix(original)
            kept = tensors.get(f"{stem}{mask}") if stem != name else None
            if kept is not None and kept.shape == tensors[name].shape:
                _put(found, f"{stem}{plain}", tensors[name] * kept, name, f"{stem}{mask}")
    return found


def _put(found: dict[str, Any], name: str, made: Any, *parts: str) -> None:
    for part in parts:
        del found[part]
    found[name] = made


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
