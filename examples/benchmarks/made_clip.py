"""A CLIP checkpoint of a usual size with random weights, in the hub's format: speed does not depend on their values."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

from singaudit.language.encoders.table import builtin_folder
from singaudit.torchvision_import import import_torchvision, import_transformers

SIZES = {
    "b32": {"patch": 32, "width": 768, "layers": 12, "heads": 12, "text": 512, "text_heads": 8, "dim": 512},
    "l14": {"patch": 14, "width": 1024, "layers": 24, "heads": 16, "text": 768, "text_heads": 12, "dim": 768},
    "thin": {"patch": 32, "width": 64, "layers": 1, "heads": 2, "text": 64, "text_heads": 2, "dim": 512},
}
"""ViT-B/32 and ViT-L/14, as OpenAI published them; embeddings as wide as ViT-B/32's that cost nearly nothing."""


def make_clip(folder: Path, size: str) -> Path:
    """Write the checkpoint into ``folder`` unless it is there.

    Its tokenizer has the published vocabulary, which open_clip brings; that of "thin" is the embedded model's.
    """
    import torch

    transformers = import_transformers()

    if (folder / "model.safetensors").is_file():
        return folder
    s = SIZES[size]
    if size == "thin":
        given = json.loads((builtin_folder() / "config.json").read_text())["text_config"]
        tokens = {k: given[k] for k in ("vocab_size", "bos_token_id", "eos_token_id", "pad_token_id")}
    else:
        tokens = {"vocab_size": 49408, "bos_token_id": 49406, "eos_token_id": 49407, "pad_token_id": 49407}
    layers = min(12, s["layers"])
    config = transformers.CLIPConfig(
        text_config={
            **tokens, "hidden_size": s["text"], "intermediate_size": 4 * s["text"], "num_hidden_layers": layers,
            "num_attention_heads": s["text_heads"], "max_position_embeddings": 77, "projection_dim": s["dim"],
        },
        vision_config={
            "hidden_size": s["width"], "intermediate_size": 4 * s["width"], "num_hidden_layers": s["layers"],
            "num_attention_heads": s["heads"], "patch_size": s["patch"], "image_size": 224, "projection_dim": s["dim"],
        },
        projection_dim=s["dim"],
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.CLIPModel(config).save_pretrained(folder, safe_serialization=True)
    if size == "thin":
        for path in builtin_folder().iterdir():
            if "token" in path.name:
                shutil.copy(path, folder)
    else:
        _published_tokenizer(folder)
    image = {
        "image_processor_type": "CLIPImageProcessor", "do_resize": True, "size": {"shortest_edge": 224}, "resample": 3,
        "do_center_crop": True, "crop_size": {"height": 224, "width": 224}, "do_rescale": True, "do_normalize": True,
        "rescale_factor": 1 / 255, "image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28],
        "do_convert_rgb": True,
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(image))
    return folder


def _published_tokenizer(folder: Path) -> None:
    """CLIP's tokenizer, made of the list of merges that open_clip brings, in the hub's format."""
    import_torchvision()
    from open_clip.tokenizer import bytes_to_unicode, default_bpe
    from transformers import CLIPTokenizer

    merges = gzip.decompress(Path(default_bpe()).read_bytes()).decode().split("\n")[1 : 49152 - 256 - 2 + 1]
    letters = list(bytes_to_unicode().values())
    words = [*letters, *(f"{x}</w>" for x in letters), *("".join(pair.split()) for pair in merges)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))
    CLIPTokenizer.from_pretrained(folder).save_pretrained(folder)


def class_names() -> list[str]:
    """ImageNet's 1,000 classes as CLIP's authors name them, each with a name of its own."""
    import_torchvision()
    from open_clip import IMAGENET_CLASSNAMES

    return [f"{name} too" if name in IMAGENET_CLASSNAMES[:i] else name for i, name in enumerate(IMAGENET_CLASSNAMES)]
