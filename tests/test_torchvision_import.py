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
def test_transformers_and_timm_are_imported_without_torchvision_or_the_compiler_which_work_after_them():
    code = """if True:
        import sys
        import torch
        from singaudit.torchvision_import import import_timm, import_transformers
        disable = torch.compiler.disable
        transformers = import_transformers()
        transformers.CLIPImageProcessorPil(), transformers.AutoTokenizer, transformers.CLIPModel
        print("torchvision" in sys.modules)
        from singaudit.language.encoders.table import BUILTIN, open_encoder
        open_encoder(BUILTIN).encode_texts(["a red star"])
        network = import_timm().create_model("test_resnet", num_classes=3).eval()
        print(network(torch.zeros(1, 3, 32, 32)).shape[1])
        compiler = "torch._dynamo", "torch._inductor", "torch.distributed.tensor"
        print([name for name in compiler if name in sys.modules])

        from transformers import masking_utils
        stand_in = masking_utils.TransformGetItemToIndex
        assert torch.compiler.disable is disable and "_dynamo" not in vars(torch)
        assert "transformers.generation.continuous_batching" not in sys.modules
        with stand_in():
            pass
        from torch._dynamo._trace_wrapped_higher_order_op import TransformGetItemToIndex as real
        print(type(stand_in()) is real, torch._dynamo.is_compiling())
        from transformers.generation import GenerationMixin
        print(torch.compile(lambda x: x + 1, backend="eager")(torch.ones(1)).item())
    """
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.stdout.split("\n") == ["False", "3", "[]", "True False", "2.0", ""], found.stderr
