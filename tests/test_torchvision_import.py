"""torchvision, timm and transformers import beside any build of torch."""

import importlib.util
import subprocess
import sys

import pytest


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is None, reason="torchvision is not installed")
def test_the_transforms_work_whatever_build_of_torch_is_installed():
    code = (
        "from singaudit.torchvision_import import import_torchvision\n"
        "vision = import_torchvision()\n"
        "assert import_torchvision() is vision\n"
        "import torch\n"
        "from torchvision.models import resnet18\n"
        "from torchvision.transforms.v2.functional import resize\n"
        "small = resize(torch.zeros(1, 3, 8, 8), [4, 4]).shape[-1]\n"
        "print(small, resnet18(num_classes=3).eval()(torch.zeros(1, 3, 32, 32)).shape[1])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["4", "3"]


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is None, reason="torchvision is not installed")
def test_transformers_is_imported_without_torchvision_which_still_imports_after_it():
    code = (
        "import sys\n"
        "from singaudit.torchvision_import import import_torchvision, import_transformers\n"
        "transformers = import_transformers()\n"
        "transformers.CLIPImageProcessorPil()\n"
        "print('torchvision' in sys.modules)\n"
        "print(import_torchvision().__name__)\n"
        "import timm"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False", "torchvision"]
