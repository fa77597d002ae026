"""Tensors out of a checkpoint, by torch's restricted reader alone: no class or function that a file names is run.

Used in the converting process, whose limits bound what a damaged or hostile file can take.
"""

from __future__ import annotations

import argparse
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from singaudit.classifier.convert.checkpoint.placeholders import filled_as, stand_in
from singaudit.classifier.files.content import archive_names
from singaudit.classifier.files.folder import check_safetensors
from singaudit.errors import ModelError

_AVERAGED = (
    "state_dict_ema",
    "model_ema_state_dict",
    "model_ema",
    "ema_state_dict",
    "ema_model",
    "ema",
    "averaged_model",
)
_WRAPPERS = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "module",
    "weights",
    "params",
    "state",
)
_NAMED = ("arch", "architecture", "model_name")
_DEEPEST = 4
_OWN_EXPORTS = {
    "ultralytics.": "With Ultralytics: yolo export model=FILE format=onnx",
    "fastai.": "With fastai: learn = load_learner(FILE); singaudit.export(learn.model, torch.randn(1, 3, 224, 224), "
    "'model.onnx', classes=list(learn.dls.vocab), preprocess='size=224,mean=...,std=...')",
    "sklearn.": "With scikit-learn: skl2onnx.to_onnx(model, X[:1]); a classifier of images is expected",
    "mmengine.": "With MMEngine: torch.save(model.state_dict(), ...) and name their --arch; or export with mmdeploy",
}
"""By where a name that a pickle asks for begins: the library's own way to a file that is no program."""
_MAGIC = b"l\xfc\x9cF\xf9 j\xa8P\x19"
"""The number that torch.save puts first in files that are no archives."""
_MOST_FOREIGN = 500
"""Names of classes and functions beside torch's own that one pickle may hold."""


class NeedsCodeError(ModelError):
    """A pickle that is a program: it names classes or functions that it would have to import and call."""

    def __init__(self, name: str, wanted: tuple[str, ...]) -> None:
        shown = ", ".join(wanted[:5]) + (", ..." if len(wanted) > 5 else "")
        own = next((line for start, line in _OWN_EXPORTS.items() if any(w.startswith(start) for w in wanted)), None)
        first = own or (
            "Save the weights alone: torch.save(model.state_dict(), ...) and name their --arch; where the class is at "
            "hand, singaudit.export(model, example, 'model.onnx', classes=, preprocess=)"
        )
        super().__init__(
            f"{name} is a pickled program, not weights alone: to read it, torch would import and call {shown}",
            hint=f"{first}; or, only if you trust the file as much as a program, pass --allow-code.",
        )


@dataclass(frozen=True)
class Weights:
    """The tensors of one network by name, and what stood around them."""

    tensors: dict[str, Any]
    """torch.Tensor by its name in the state dict."""
    wrapper: str
    """Keys that led to them, joined by dots; empty for a bare state dict."""
    averaged: bool
    """Whether they are an exponential moving average of the training's weights."""
    beside: tuple[str, ...]
    """Other sets of weights in the file, which are not audited."""
    architecture: str | None
    """As the training script stored it."""
    kind: str
    """Format in words: "safetensors", "PyTorch checkpoint", "Lightning checkpoint"."""


def read_weights(files: list[Path]) -> Weights:
    """The weights in a file, or in the shards of one checkpoint.

    Raises NeedsCodeError for a pickle that is a program, ModelError for everything else that holds no weights.
    """
    if len(files) == 1:
        return unwrap(*read_document(files[0]), path=files[0])
    tensors: dict[str, Any] = {}
    for path in files:
        part = unwrap(*read_document(path), path=path).tensors
        twice = tensors.keys() & part.keys()
        if twice:
            raise ModelError(f"{path.name} repeats the weight {min(twice)!r} of another part of the checkpoint")
        tensors.update(part)
    return Weights(tensors, "", False, (), None, f"{len(files)} parts, {kind_of(files[0])}")


def kind_of(path: Path) -> str:
    """Format of a file in words."""
    return "safetensors" if _is_safetensors(path) else "PyTorch checkpoint"


def _is_safetensors(path: Path) -> bool:
    with path.open("rb") as stream:
        start = stream.read(9)
    return start[8:9] == b"{" and not start.startswith((b"PK", b"\x80"))


def read_document(path: Path) -> tuple[Any, tuple[str, ...]]:
    """What a checkpoint holds, read by safetensors or by torch's ``weights_only`` reader; and the foreign names in it.

    Where a pickle asks for a class or function that torch does not know as harmless (settings, histories, losses that
    training scripts store beside the weights) it gets an empty placeholder, or a plain list or dictionary where the
    object's items are stored: the name is never imported, nothing is called. Raises ModelError.
    """
    if _is_safetensors(path):
        return _read_safetensors(path), ()
    import torch

    with path.open("rb") as stream:
        zipped = stream.read(2) == b"PK"
    if zipped:
        archive_names(path)
    foreign: dict[str, type | None] = dict.fromkeys(_unknown_names(path) if zipped else ())
    while True:
        placeholders = [(stand_in(at, filled), name) for at, (name, filled) in enumerate(foreign.items())]
        try:
            with torch.serialization.safe_globals([argparse.Namespace, *placeholders]):
                # Not mapped into memory: only the copying reader compares each record's size with the pickle's claims.
                return torch.load(path, map_location="cpu", weights_only=True, mmap=False), tuple(foreign)
        except pickle.UnpicklingError as error:
            asked = [name for name in re.findall(r"GLOBAL ([\w.]+)", str(error)) if name not in foreign]
            if asked and len(foreign) < _MOST_FOREIGN:
                foreign |= dict.fromkeys(asked)
                continue
            if (found := filled_as(error)) is not None and foreign[name := list(foreign)[found[0]]] is None:
                foreign[name] = found[1]
                continue
            if foreign or "Trying to call reduce" in str(error) or "Can only" in str(error):
                raise NeedsCodeError(path.name, tuple(sorted(foreign)) or ("objects of its own",)) from error
            raise _damaged(path, error) from error
        except (MemoryError, OSError):
            raise
        except Exception as error:  # a damaged pickle fails in as many ways as there are operators
            raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> ModelError:
    with path.open("rb") as stream:
        start = stream.read(64)
    if start[:1] == b"\x80" and _MAGIC not in start:
        return ModelError(
            f"{path.name} is a pickle that torch.save did not write",
            hint="Save the weights with torch.save(model.state_dict(), ...), or give the classifier as ONNX.",
        )
    said = " ".join(str(error).split())
    reason = said.partition("WeightsUnpickler error: ")[2][:200] or said[:200] or type(error).__name__
    return ModelError(
        f"{path.name} cannot be read as a torch checkpoint; it is damaged or cut short: {reason}",
        hint="Save or download it again.",
    )


def _unknown_names(path: Path) -> list[str]:
    """Classes and functions that the archive's pickle names and torch's restricted reader does not know."""
    import torch

    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            return list(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # the reader itself says below what is wrong
        return []


def _read_safetensors(path: Path) -> dict[str, Any]:
    check_safetensors(path)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path, device="cpu"))
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(
            f"{path.name} cannot be read as safetensors; it is damaged: {str(error)[:200]}",
            hint="Download or save it again.",
        ) from error


def unwrap(document: Any, foreign: tuple[str, ...] = (), *, path: Path) -> Weights:
    """The weights in what a checkpoint holds: of several, the averaged ones.

    Raises NeedsCodeError where there are none and the file holds ``foreign`` objects, ModelError elsewhere.
    """
    import torch

    if isinstance(document, torch.nn.Module):
        raise NeedsCodeError(path.name, (type(document).__name__,))
    if foreign and not isinstance(document, Mapping):
        raise NeedsCodeError(path.name, tuple(sorted(foreign)))
    if not isinstance(document, Mapping):
        raise ModelError(
            f"{path.name} holds a {type(document).__name__}; expected weights by name (a state dict)",
            hint="Save it with torch.save(model.state_dict(), ...).",
        )
    kind = "Lightning checkpoint" if "pytorch-lightning_version" in document else kind_of(path)
    named = next((document[key] for key in _NAMED if isinstance(document.get(key), str)), None)
    found: Mapping[Any, Any] = document
    keys: list[str] = []
    beside: list[str] = []
    while not _is_state(found):
        choices = [k for k in (*_AVERAGED, *_WRAPPERS) if isinstance(found.get(k), Mapping) and found[k]]
        if not choices and len(found) == 1:
            choices = [k for k, value in found.items() if isinstance(value, Mapping)]
        if not choices or len(keys) == _DEEPEST:
            if foreign:
                raise NeedsCodeError(path.name, tuple(sorted(foreign)))
            listed = ", ".join(repr(str(key)[:40]) for key in list(found)[:8])
            raise ModelError(
                f"{path.name} holds no weights by name that singaudit knows; found the keys {listed}",
                hint="Save the classifier's weights alone: torch.save(model.state_dict(), ...).",
            )
        keys.append(str(choices[0]))
        beside += [k for k in choices[1:] if _is_state(found[k])]
        found = found[choices[0]]
    tensors = {str(name): value for name, value in found.items() if isinstance(value, torch.Tensor)}
    _check_tensors(tensors, path)
    averaged = any(key in _AVERAGED for key in keys)
    return Weights(tensors, ".".join(keys), averaged, tuple(beside), named, kind)


def _is_state(document: Mapping[Any, Any]) -> bool:
    """Whether most of what it holds are tensors by name."""
    import torch

    tensors = sum(isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in document.items())
    return tensors > 0 and 2 * tensors > len(document)


def _check_tensors(tensors: Mapping[str, Any], path: Path) -> None:
    """Refuse what is no plain array of numbers, or is larger than the bytes behind it."""
    import torch

    for name, tensor in tensors.items():
        plain = tensor.layout is torch.strided and not tensor.is_quantized and not tensor.is_complex()
        if not plain or tensor.device.type != "cpu":
            raise ModelError(
                f"the weight {name!r} in {path.name} is quantised, sparse or complex; expected plain numbers",
                hint="Export the classifier to ONNX instead.",
            )
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise ModelError(
                f"the weight {name!r} in {path.name} claims the shape {tuple(tensor.shape)}, more than its bytes hold",
                hint="The file is damaged or made to mislead; save it again.",
            )
