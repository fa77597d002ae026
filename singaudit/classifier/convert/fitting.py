"""Weights into the architecture they belong to: every one of them, or a message that names what does not fit."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from singaudit.classifier.convert.architectures import Architecture, adapted, known
from singaudit.classifier.convert.checkpoint.fastai import HEAD, body_candidates, build, is_fastais
from singaudit.classifier.convert.checkpoint.renamed_head import left_over, with_renamed_head, without_parametrizations
from singaudit.classifier.convert.signature import fitting
from singaudit.errors import ModelError

_COUNTER = "num_batches_tracked"
_PREFIXES = ("_orig_mod.", "module.", "model.", "net.", "network.", "classifier.", "encoder.")
_MOST_CANDIDATES = 6
"""Architectures of equal shapes that are compared by what they compute; more are listed instead."""

_FASTAI = (
    "A body 0.* and a head 1.*, as learn.save of fastai writes them: --arch names the network that the body was cut "
    "from. A head or a cut of your own, in fastai: singaudit.export(learn.model, torch.randn(1, 3, 224, 224), "
    "'model.onnx', classes=list(learn.dls.vocab), preprocess='size=224,mean=...,std=...'), then give that file."
)


@dataclass(frozen=True)
class Fitted:
    """Weights in their network."""

    module: Any
    """In evaluation mode, float32."""
    architecture: Architecture
    """What it is."""
    prefix: str
    """That the names carried, such as ``module.``."""
    ignored: tuple[str, ...]
    """Tensors of the file under other prefixes (losses, metrics), which are no part of the network."""
    renamed: bool
    """Whether timm's own filter of older names was applied."""
    head: str = ""
    """Where in the file the head stands, where it is not called as the library calls it."""


class MisfitError(ModelError):
    """Weights that do not belong to the architecture."""


def fit(tensors: Mapping[str, Any], architecture: Architecture) -> Fitted:
    """Load every weight into the architecture. Raises MisfitError naming what is missing, left over or misshapen."""
    if is_fastais(tensors):
        return _fastais(tensors, architecture)
    module = architecture.build(empty=True)
    expected = _shapes(module.state_dict())
    tensors = without_parametrizations(tensors)
    prefix = _prefix(expected, tensors)
    own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    own, head = with_renamed_head(expected, own, tensors, prefix)
    chosen = adapted(architecture, expected, _shapes(own), module)
    if chosen != architecture:
        expected = _shapes(chosen.build(empty=True).state_dict())
    renamed = False
    if _problems(expected, own):
        other = _by_timms_filter(own, chosen)
        if other is None or _problems(expected, other):
            raise _misfit(chosen, expected, own, tensors, prefix)
        own, renamed = other, True
    module = chosen.build()
    module.load_state_dict(own, strict=True)
    ignored = tuple(sorted(n for n in tensors if not n.startswith(prefix) and not (head and n.startswith(f"{head}."))))
    return Fitted(module.float(), chosen, prefix, ignored, renamed, head)


def _fastais(tensors: Mapping[str, Any], architecture: Architecture) -> Fitted:
    """The weights in a body of the architecture and a head of fastai's. Raises MisfitError."""
    made = build(tensors, architecture)
    if made is None:
        fits = body_candidates(_shapes(tensors))
        known_as = f"; those of its body are {' or '.join(fits[:_MOST_CANDIDATES])}'s" if fits else ""
        layers = [f"{n} {tuple(t.shape)}" for n, t in tensors.items() if n.startswith(HEAD) and t.ndim == 2]
        raise MisfitError(
            f"the weights do not fit a body of {architecture} and a head of fastai's with {', '.join(layers[:4])}"
            f"{known_as}",
            hint=_FASTAI,
        )
    module, chosen, place = made
    return Fitted(module.float(), chosen, "", (), False, f"{place}, in a head as fastai's vision_learner builds it")


def find(tensors: Mapping[str, Any], called: str = "") -> Fitted:
    """The weights in the one registered architecture that has their names and shapes.

    Several that compute the same count as one. Raises ModelError where there is none, or where they differ; of those
    that fit, the message suggests the one that ``called``, the name of the file and its folder, speaks of.
    """
    names: dict[str, None] = {}
    if is_fastais(tensors):
        names.update(dict.fromkeys(body_candidates(_shapes(tensors))))
    for group in _groups(tensors):
        names.update(dict.fromkeys(fitting(_shapes(group))))
    if not names:
        raise ModelError(
            "the weights alone do not say which network they belong to: no registered architecture has exactly their "
            "names and shapes",
            hint=_FASTAI
            if is_fastais(tensors)
            else "Name it: --arch NAME, any of timm.list_models() or of torchvision's classifiers; a network of "
            "your own: singaudit.export(model, example, 'model.onnx', classes=, preprocess=), then give that file.",
        )
    listed = ", ".join(list(names)[:8])
    if len(names) > _MOST_CANDIDATES:
        raise ModelError(
            f"the weights fit {len(names)} architectures, such as {listed}",
            hint=f"Name one: --arch {_spoken_of(called, list(names))}.",
        )
    found = []
    for name in names:
        try:
            found.append(fit(tensors, known(name)[0]))
        except MisfitError:
            continue
    if not found:
        raise ModelError(
            f"the weights have the shapes of {listed}, but do not load into it", hint="Name it with --arch."
        )
    if not all(_same(found[0], other) for other in found[1:]):
        raise ModelError(
            f"the weights fit several architectures that compute different things: {listed}",
            hint=f"Name the one they were trained in: --arch {_spoken_of(called, list(map(_named, found)))}.",
        )
    return found[0]


def _named(fitted: Fitted) -> str:
    return str(fitted.architecture)


def _spoken_of(called: str, names: list[str]) -> str:
    """Of architectures such as timm:resnet18 the one whose name stands in ``called``, the longest; else all of them."""
    inside = [name for name in names if name.partition(":")[2].lower() in called.lower()]
    return max(inside, key=len) if inside else " or --arch ".join(names[:_MOST_CANDIDATES])


def fit_any(tensors: Mapping[str, Any], architectures: list[Architecture]) -> Fitted:
    """The weights in the first of these architectures (one name in two libraries) that they fit; or MisfitError."""
    problem: MisfitError | None = None
    for architecture in architectures:
        try:
            return fit(tensors, architecture)
        except MisfitError as error:
            problem = problem or error
    assert problem is not None
    raise problem


def _shapes(tensors: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _prefix(expected: Mapping[str, Any], tensors: Mapping[str, Any]) -> str:
    """What stands before the architecture's names: the prefix under which most of them are found.

    Of equally good ones an averaged copy's comes first, then the shortest.
    """
    starts = [""]
    for name in list(expected)[:3]:
        starts += [key[: -len(name)] for key in tensors if key.endswith("." + name)]
    scores = {start: sum(start + name in tensors for name in expected) for start in dict.fromkeys(starts)}
    return max(scores, key=lambda start: (scores[start], "ema" in start, -len(start)))


def _groups(tensors: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The tensors as they are, and without the wrappers that usually stand before their names."""
    groups, current = [dict(tensors)], dict(tensors)
    for _ in range(3):
        start = next((p for p in _PREFIXES if sum(name.startswith(p) for name in current) > 0.5 * len(current)), None)
        if start is None:
            break
        current = {name.removeprefix(start): tensor for name, tensor in current.items() if name.startswith(start)}
        groups.append(current)
    return groups


def _problems(expected: Mapping[str, Any], own: Mapping[str, Any]) -> bool:
    have = _shapes(own)
    return any(have.get(name) != shape for name, shape in expected.items() if not name.endswith(_COUNTER)) or any(
        name not in expected for name in own
    )


def _misfit(
    architecture: Architecture,
    expected: Mapping[str, Any],
    own: Mapping[str, Any],
    tensors: Mapping[str, Any],
    prefix: str,
) -> MisfitError:
    missing = [name for name in expected if name not in own and not name.endswith(_COUNTER)]
    extra = [name for name in own if name not in expected]
    shaped = [name for name in expected if name in own and tuple(own[name].shape) != expected[name]]

    def listed(what: str, names: list[str]) -> str:
        return f"{len(names)} {what} ({', '.join(names[:4])}{', ...' if len(names) > 4 else ''})" if names else ""

    shapes = [f"{name}: {tuple(own[name].shape)} for {expected[name]}" for name in shaped]
    parts = filter(None, (listed("missing", missing), listed("unexpected", extra), listed("of another shape", shapes)))
    left = [f"{name} {tuple(tensors[name].shape)}" for name in left_over(expected, own, tensors, prefix)]
    headless = 0 < len(missing) <= 4 and not shaped
    if headless and not left:
        hint = "The head is missing: a classifier without its trained head cannot be audited, and nothing is filled "
        hint += "with random weights."
    elif headless:
        hint = f"The file holds more than one linear layer that the network has no place for: {', '.join(left[:4])}. "
        hint += "Export the whole classifier: singaudit.export(module, example, path)."
    else:
        fits = [name for group in _groups(tensors) for name in fitting(_shapes(group))]
        named = f"Their shapes are those of {' or '.join(dict.fromkeys(fits[:_MOST_CANDIDATES]))}" if fits else ""
        hint = f"{named or 'Name the architecture they were trained in'}: --arch NAME; nothing is filled with random "
        hint += "weights."
    return MisfitError(f"the weights do not fit {architecture}: {'; '.join(parts)}", hint=hint)


def _by_timms_filter(own: dict[str, Any], architecture: Architecture) -> dict[str, Any] | None:
    """The weights under timm's present names, by the filter its module keeps for older ones; None without one."""
    if architecture.library != "timm":
        return None
    module = architecture.build()
    rename = getattr(sys.modules[type(module).__module__], "checkpoint_filter_fn", None)
    if rename is None:
        return None
    try:
        found = rename(dict(own), module)
    except Exception:  # written for timm's own checkpoints; on others it may fail in any way
        return None
    return dict(found) if isinstance(found, Mapping) else None


def _same(one: Fitted, other: Fitted) -> bool:
    """Whether two networks compute the same logits on random images."""
    import torch

    generator = torch.Generator().manual_seed(0)
    side = max(default_size(one.module))
    x = torch.randn(2, one.architecture.channels, side, side, generator=generator)
    with torch.inference_mode():
        a, b = one.module(x), other.module(x)
    return a.shape == b.shape and bool(torch.allclose(a, b, rtol=1e-4, atol=1e-5))


def default_size(module: Any) -> tuple[int, int]:
    """(height, width) in pixels that the library builds the network for."""
    config = getattr(module, "pretrained_cfg", None) or {}
    size = (
        getattr(getattr(module, "patch_embed", None), "img_size", None) or config.get("input_size", (3, 224, 224))[1:]
    )
    if isinstance(size, int):
        size = (size, size)
    return int(size[0]), int(size[1])
