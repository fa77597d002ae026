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
