"""A CLIP checkpoint of a usual size with random weights, in the hub's format: speed does not depend on their values."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from singaudit.language.encoders.table import builtin_folder
from singaudit.torchvision_import import import_transformers

SIZES = {
    "b32": {"patch": 32, "width": 768, "layers": 12, "heads": 12, "text": 512, "text_heads": 8, "dim": 512},
    "l14": {"patch": 14, "width": 1024, "layers": 24, "heads": 16, "text": 768, "text_heads": 12, "dim": 768},
    "thin": {"patch": 32, "width": 64, "layers": 1, "heads": 2, "text": 64, "text_heads": 2, "dim": 512},
}
"""ViT-B/32 and ViT-L/14, as OpenAI published them; embeddings as wide as ViT-B/32's that cost nearly nothing."""


def make_clip(folder: Path, size: str) -> Path:
    """Write the checkpoint into ``folder`` unless it is there; its tokenizer is the embedded model's."""
    import torch

    transformers = import_transformers()

    if (folder / "model.safetensors").is_file():
        return folder
    s, given = SIZES[size], json.loads((builtin_folder() / "config.json").read_text())
    tokens = {k: given["text_config"][k] for k in ("vocab_size", "bos_token_id", "eos_token_id", "pad_token_id")}
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
    for path in builtin_folder().iterdir():
        if "token" in path.name:
            shutil.copy(path, folder)
    image = {
        "image_processor_type": "CLIPImageProcessor", "do_resize": True, "size": {"shortest_edge": 224}, "resample": 3,
        "do_center_crop": True, "crop_size": {"height": 224, "width": 224}, "do_rescale": True, "do_normalize": True,
        "rescale_factor": 1 / 255, "image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28],
        "do_convert_rgb": True,
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(image))
    return folder
