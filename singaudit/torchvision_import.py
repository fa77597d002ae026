"""The first import of torchvision, timm and transformers: beside any build of torch, and without what nobody uses.

torchvision's wheel on the package index is compiled for the CUDA build of torch. Beside a CPU build its compiled
operators do not load, and registering their fake kernels then ends in "operator torchvision::nms does not exist".
singaudit uses none of those operators: with that one registration left out, everything it needs works.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from singaudit.without_compiler import without_compiler

_REGISTRATIONS = "torchvision._meta_registrations"
_BASES = ("transformers.modeling_layers", "transformers.image_processing_utils")
"""Modules that all models and image processors of transformers are made of."""


def import_transformers() -> ModuleType:
    """transformers, which prepares images by Pillow, as singaudit does, and leaves torchvision alone.

    Nor does it bring torch's compiler and its tensors on several machines. Together they take longer to import than
    torch and the rest of transformers. They stay with transformers where something else has imported them already.
    """
    if _BASES[0] in sys.modules:
        return importlib.import_module("transformers")
    hidden = not {"torchvision", "transformers"} & sys.modules.keys()
    if hidden:
        sys.modules["torchvision"] = None  # type: ignore[assignment]  # as the import system marks absence
    try:
        transformers = importlib.import_module("transformers")
        transformers.utils.is_torchvision_available()  # which remembers its answer
        with without_compiler(), _alone(transformers.utils):
            for name in _BASES:
                importlib.import_module(name)
    finally:
        if hidden:
            del sys.modules["torchvision"]
    return transformers


@contextmanager
def _alone(utils: Any) -> Iterator[None]:
    """transformers' modules that are imported meanwhile hear that torch computes on this machine alone."""
    name = "is_torch_distributed_available"
    kept = [(module, getattr(module, name)) for module in (utils, utils.import_utils) if hasattr(module, name)]
    for module, _ in kept:
        setattr(module, name, lambda: False)
    try:
        yield
    finally:
        for module, function in kept:
            setattr(module, name, function)


def import_timm() -> ModuleType:
    """timm, beside this torch, without torch's compiler."""
    import_torchvision()
    with without_compiler():
        return importlib.import_module("timm")


def import_torchvision() -> ModuleType | None:
    """torchvision, imported so that it works beside this torch; None where it is not installed.

    To be called before the first import of what uses it. Any other failure is raised as it is.
    """
    if importlib.util.find_spec("torchvision") is None:
        return None
    with without_compiler():
        try:
            return importlib.import_module("torchvision")
        except RuntimeError as error:
            if "torchvision::" not in str(error):
                raise
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        sys.modules[_REGISTRATIONS] = ModuleType(_REGISTRATIONS)
        return importlib.import_module("torchvision")
