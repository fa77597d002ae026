"""The first import of torchvision, which timm needs: it may fail beside a CPU build of torch.

torchvision's wheel on the package index is compiled for the CUDA build of torch. Beside a CPU build its compiled
operators do not load, and registering their fake kernels then ends in "operator torchvision::nms does not exist".
singaudit uses none of those operators: with that one registration left out, everything it needs works.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType

_REGISTRATIONS = "torchvision._meta_registrations"


def import_transformers() -> ModuleType:
    """transformers, which prepares images by Pillow, as singaudit does, and leaves torchvision alone.

    Importing torchvision takes longer than torch: it brings torch's compiler. It stays with transformers where
    something else has imported it already.
    """
    if "transformers" in sys.modules or "torchvision" in sys.modules:
        return importlib.import_module("transformers")
    sys.modules["torchvision"] = None  # type: ignore[assignment]  # as the import system marks what must not be found
    try:
        transformers = importlib.import_module("transformers")
        transformers.utils.is_torchvision_available()  # which remembers its answer
    finally:
        del sys.modules["torchvision"]
    return transformers


def import_torchvision() -> ModuleType | None:
    """torchvision, imported so that it works beside this torch; None where it is not installed.

    To be called before the first import of timm. Any other failure is raised as it is.
    """
    if importlib.util.find_spec("torchvision") is None:
        return None
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    sys.modules[_REGISTRATIONS] = ModuleType(_REGISTRATIONS)
    return importlib.import_module("torchvision")
