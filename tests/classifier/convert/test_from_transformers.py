"""From a photograph to logits: folders of transformers through singaudit and through transformers' own pipeline."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from singaudit.classifier.convert.from_transformers import transformers_network
from singaudit.classifier.openers.hub import open_folder
from singaudit.classifier.options import ModelOptions
from singaudit.classifier.preprocessing.resolve import prepare, resolve_preprocessing
from singaudit.errors import ModelError
from singaudit.torchvision_import import import_torchvision

SIDES = {"height": 64, "width": 64}
CUT = {"do_center_crop": True, "crop_size": SIDES}
HEADS = {"hidden_sizes": [16, 32, 48], "num_attention_heads": [1, 2, 3], "depths": [1, 1, 1], "key_dim": [8, 8, 8]}


def test_a_network_of_timm_in_transformers_wrapper_is_read_by_its_own_class(tmp_path: Any) -> None:
    import_torchvision()
    import timm
    import transformers

    pretrained = {
        "input_size": [3, 64, 64],
        "interpolation": "bilinear",
        "crop_pct": 0.95,
        "crop_mode": "center",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "num_classes": 3,
    }
    document = {
        "architecture": "resnet10t",
        "num_classes": 3,
        "label_names": ["n01443537", "n02084071", "n01503061"],
        "label_descriptions": {"n01443537": "goldfish", "n02084071": "dog", "n01503061": "bird"},
        "model_type": "timm_wrapper",
        "pretrained_cfg": pretrained,
    }
    torch.manual_seed(0)
    native = transformers.TimmWrapperForImageClassification(transformers.TimmWrapperConfig.from_dict(dict(document)))
    native.eval().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    network = transformers_network([str(tmp_path / "model.safetensors")], config, {}, {})
    assert network.statements.class_names == ("goldfish", "dog", "bird")
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(network.module(images).logits, native(images).logits)
    how = resolve_preprocessing({}, network.statements.preprocess, [None, 3, None, None], "float32")
    assert not how.guessed
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    theirs = timm.data.create_transform(**timm.data.resolve_data_config(pretrained_cfg=pretrained))
    np.testing.assert_allclose(prepare(pixels, how), theirs(Image.fromarray(pixels)).numpy(), atol=1e-5)


def test_a_wrapper_that_leads_elsewhere_is_refused(tmp_path: Any) -> None:
    import_torchvision()
    for extra in ({"model_args": {"checkpoint_path": "/etc/passwd"}}, {"architecture": "hf-hub:org/name"}):
        document = {"architecture": "resnet10t", "num_classes": 3, "model_type": "timm_wrapper", **extra}
        with pytest.raises(ModelError, match="leads elsewhere"):
            transformers_network([], document, {}, {})


@pytest.mark.parametrize(
    ("model", "settings", "kind", "processor"),
    [
        ("Levit", {**HEADS, "patch_size": 16}, "ForImageClassificationWithTeacher",
         {"size": {"shortest_edge": 64}, **CUT}),
        ("MobileViT", {"hidden_sizes": [16, 16, 24], "neck_hidden_sizes": [8, 8, 16, 16, 24, 24, 32],
                       "num_attention_heads": 2}, "ForImageClassification", {"size": {"shortest_edge": 73}, **CUT}),
    ],
)  # fmt: skip
def test_logits_are_those_of_transformers_own_pipeline(
    tmp_path: Any, model: str, settings: dict[str, Any], kind: str, processor: dict[str, Any]
) -> None:
    import_torchvision()
    import transformers

    torch.manual_seed(0)
    config = getattr(transformers, f"{model}Config")(image_size=64, num_labels=5, **settings)
    module = getattr(transformers, f"{model}{kind}")(config).eval()
    for parameter in module.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, 0, 0.15)
    made = getattr(transformers, f"{model}ImageProcessorPil", None) or getattr(transformers, f"{model}ImageProcessor")
    prepared = made(**processor)
    module.save_pretrained(tmp_path)
    prepared.save_pretrained(tmp_path)
    coarse = np.random.default_rng(0).integers(0, 256, (3, 9, 7, 3), dtype=np.uint8)
    sizes = ((143, 101), (99, 180), (61, 64))
    photos = [Image.fromarray(c).resize(s, Image.Resampling.BICUBIC) for c, s in zip(coarse, sizes, strict=True)]
    with torch.no_grad():
        want = module(prepared(images=photos, return_tensors="pt")["pixel_values"]).logits.numpy()
    classifier = open_folder(tmp_path, ModelOptions())
    assert not classifier.preprocessing.guessed
    _, logits = classifier.forward(np.stack([prepare(np.asarray(p), classifier.preprocessing) for p in photos]))
    np.testing.assert_allclose(logits, want, atol=1e-4 * np.ptp(want))
