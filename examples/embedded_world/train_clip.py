"""Train the embedded world's tiny CLIP and save it in the model hub's ordinary format."""

from __future__ import annotations

import copy
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from prompts import GROUPS, caption, prompt, targets, vocabulary_words
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPProcessor, CLIPTokenizer
from vocabulary import LONGEST_TEXT, build_tokenizer
from world import CLIP_SEED, Pool, draw, held_out, scene_pools, take, to_input

from singaudit.dataset.generated.scenes import ATTRIBUTES, phrase

BATCH, CAPTIONS, POOL, REUSE = 256, 96, 8192, 3
LEARNING_RATE, WARM_UP, DECAY, AVERAGE = 1.5e-3, 200, 0.05, 0.997
SHAPE_WEIGHT = 3.0  # the shape is learned last: the other attributes are local, it is not
MASK_LAYER = 2  # vision layers before the silhouette is read off the patches


class Auxiliary(nn.Module):
    """Heads that help the image tower learn and are dropped afterwards."""

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.attributes = nn.ModuleDict({name: nn.Linear(width, len(values)) for name, values in GROUPS.items()})
        self.silhouette = nn.Linear(width, patch * patch)
        self.bias = nn.Parameter(torch.tensor(-3.0))

    def losses(self, pooled: Tensor, patches: Tensor, covered: Tensor, truth: dict[str, Tensor]) -> Tensor:
        """Cross-entropy of every attribute from the pooled vector, and of every pixel's silhouette from its patch."""
        total = sum(
            _weight(name) * F.cross_entropy(head(pooled), truth[name]) for name, head in self.attributes.items()
        )
        side = int(math.sqrt(self.silhouette.out_features))
        wanted = F.pixel_unshuffle(covered[:, None].float(), side).flatten(2).transpose(1, 2)
        return total / len(self.attributes) + 2 * F.binary_cross_entropy_with_logits(self.silhouette(patches), wanted)


def _weight(group: str) -> float:
    return SHAPE_WEIGHT if group == "shape" else 1.0


def build_model(tokenizer: CLIPTokenizer) -> CLIPModel:
    """An untrained CLIPModel; learned positions start as sines and cosines, so that neighbours start alike."""
    start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    text = {"vocab_size": len(tokenizer), "hidden_size": 96, "intermediate_size": 256, "num_hidden_layers": 2,
            "num_attention_heads": 4, "max_position_embeddings": LONGEST_TEXT, "bos_token_id": start,
            "eos_token_id": end, "pad_token_id": end}  # fmt: skip
    vision = {
        "hidden_size": 96,
        "intermediate_size": 288,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "image_size": 64,
        "patch_size": 8,
    }
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=64))
    with torch.no_grad():
        for tower in (model.vision_model, model.text_model):
            tower.embeddings.position_embedding.weight.mul_(0.1)
        model.vision_model.embeddings.position_embedding.weight[1:] += 0.3 * _waves(8, 96)
        model.vision_model.embeddings.patch_embedding.weight.normal_(0, 1 / math.sqrt(3 * 64))
        model.logit_scale.fill_(math.log(10))
    return model


def _waves(side: int, width: int) -> Tensor:
    """(side * side, width): two-dimensional sin-cos positions."""
    rates = 2 ** (-torch.arange(width // 4) * 4 / (width // 4))
    angles = torch.arange(side)[:, None] * rates
    line = torch.cat([angles.sin(), angles.cos()], dim=1)
    return torch.cat([line[:, None].expand(-1, side, -1), line[None].expand(side, -1, -1)], dim=2).flatten(0, 1)


def embed_texts(model: CLIPModel, tokenizer: CLIPTokenizer, texts: list[str]) -> Tensor:
    """(n, 64) normalised embeddings."""
    tokens = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    states = model.text_model(**tokens)
    return F.normalize(model.text_projection(states.pooler_output), dim=-1)


def step_losses(
    model: CLIPModel, extra: Auxiliary, tokenizer: CLIPTokenizer, pool: Pool, rows: np.ndarray, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """(prompts, captions, auxiliary) losses of one batch.

    Prompts: which value of each attribute, by cosine with one random prompt per value. Captions: every caption that
    is true of an image is a positive of it (sigmoid loss), however much of the image it leaves unsaid.
    """
    scenes = take(pool.scenes, rows)
    truth = {name: torch.from_numpy(values) for name, values in targets(scenes).items()}
    texts = [prompt(group, value, rng) for group, values in GROUPS.items() for value in values]
    composed = [caption(scenes.words(row), rng) for row in range(CAPTIONS)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        states = model.vision_model(to_input(pool.pixels[rows]), output_hidden_states=True)
        z = F.normalize(model.visual_projection(states.pooler_output).float(), dim=-1)
        words = embed_texts(model, tokenizer, texts + [text for text, _ in composed]).float()
        patches = states.hidden_states[MASK_LAYER][:, 1:]
        assert pool.covered is not None
        auxiliary = extra.losses(states.pooler_output, patches, pool.covered[rows], truth).float()
    cosines = z @ words.T
    scale = model.logit_scale.exp().clamp(max=40)
    prompts, first = cosines.new_zeros(()), 0
    for name, values in GROUPS.items():
        prompts = prompts + _weight(name) * F.cross_entropy(
            scale * cosines[:, first : first + len(values)], truth[name]
        )
        first += len(values)
    matches = torch.ones(len(rows), CAPTIONS, dtype=torch.bool)
    for name in ATTRIBUTES:
        says = torch.tensor([name in named for _, named in composed])
        matches &= ~says | (truth[name][:, None] == truth[name][None, :CAPTIONS])
    signs = matches.float() * 2 - 1
    agreement = F.softplus(-signs * (scale * cosines[:, first:] + extra.bias))
    # Positives and negatives weigh the same, whatever their numbers.
    captions = (agreement * matches).sum() / matches.sum() + (agreement * ~matches).sum() / (~matches).sum()
    return prompts / len(GROUPS), captions, auxiliary


def zero_shot(model: CLIPModel, tokenizer: CLIPTokenizer, images: int, pool: Pool | None = None) -> dict[str, float]:
    """Held-out accuracy per attribute, with an ensemble of four prompts per value."""
    pool = pool or held_out(images)
    truth = targets(pool.scenes)
    frames = ("an image of {}", "a photo of {}.", "a picture of {}", "{}")
    model.eval()
    with torch.inference_mode():
        z = torch.cat(
            [
                F.normalize(model.visual_projection(model.vision_model(to_input(part)).pooler_output), dim=-1)
                for part in pool.pixels[:images].split(250)
            ]
        )
        accuracies = {}
        for group, values in GROUPS.items():
            said = [phrase({"shape": f"{v} shape"} if group == "outline" else {group: v}) for v in values]
            texts = [frame.format(text) for text in said for frame in frames]
            words = F.normalize(embed_texts(model, tokenizer, texts).unflatten(0, (-1, len(frames))).mean(1), dim=-1)
            hits = (z @ words.T).argmax(1).numpy() == truth[group][:images]
            accuracies[group] = round(float(hits.mean()), 4)
    model.train()
    return accuracies


def train_clip(out: Path, *, steps: int, seed: int = 0, images: int = 3000) -> dict[str, Any]:
    """Train, save to ``out`` and return the record of the training."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    tokenizer = build_tokenizer(vocabulary_words())
    model = build_model(tokenizer)
    # On one core the fused attention's backward pass takes three times as long as plain matrix products in bfloat16.
    model.set_attn_implementation("eager")
    extra = Auxiliary(model.config.vision_config.hidden_size, model.config.vision_config.patch_size)
    parameters = [*model.parameters(), *extra.parameters()]
    optimiser = torch.optim.AdamW(parameters, LEARNING_RATE, betas=(0.9, 0.98), weight_decay=DECAY)
    average = copy.deepcopy(model)
    check = held_out(1000)
    began, step = time.process_time(), 0
    for scenes in scene_pools(CLIP_SEED + seed, POOL):
        pool = draw(scenes, with_silhouettes=True)
        for rows in np.concatenate([rng.permutation(POOL).reshape(-1, BATCH) for _ in range(REUSE)]):
            fraction = step / steps
            rate = LEARNING_RATE * min(1.0, step / WARM_UP) * (0.5 + 0.5 * math.cos(math.pi * fraction))
            for group in optimiser.param_groups:
                group["lr"] = rate
            prompts, captions, auxiliary = step_losses(model, extra, tokenizer, pool, rows, rng)
            loss = prompts + 0.5 * captions + auxiliary
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            step += 1
            _follow(average, model, min(AVERAGE, step / (step + 20)))
            if step % 100 == 0:
                minutes = (time.process_time() - began) / 60
                print(
                    f"clip {step}/{steps} {minutes:.1f} min: prompts {prompts.item():.3f} captions "
                    f"{captions.item():.3f} auxiliary {auxiliary.item():.3f}",
                    flush=True,
                )
            if step % 500 == 0 or step == steps:
                print("clip", zero_shot(average, tokenizer, 1000, check), flush=True)
                save(average, tokenizer, out)
            if step == steps:
                return {
                    "kind": "CLIPModel",
                    "seed": seed,
                    "steps": steps,
                    "batch": BATCH,
                    "parameters": sum(p.numel() for p in model.parameters()),
                    "cpu_minutes": round((time.process_time() - began) / 60, 1),
                    "stored": "float16",
                    "zero_shot": {"images": images, "accuracy": zero_shot(*_reopened(out), images)},
                }
    raise AssertionError("pools never end")


def _follow(average: nn.Module, model: nn.Module, keep: float) -> None:
    with torch.no_grad():
        torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - keep)


def _reopened(folder: Path) -> tuple[CLIPModel, CLIPTokenizer]:
    """What was saved, as users load it: what is measured is what is shipped."""
    return CLIPModel.from_pretrained(folder, dtype=torch.float32), CLIPTokenizer.from_pretrained(folder)


def save(model: CLIPModel, tokenizer: CLIPTokenizer, out: Path) -> None:
    """Write model, tokenizer and image processor in the format of any CLIP on the hub.

    Weights are stored in float16, half the size; the configuration says float32, so that whoever loads them without
    asking for a type computes in float32.
    """
    out.mkdir(parents=True, exist_ok=True)
    side = {"height": 64, "width": 64}
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": 64}, crop_size=side, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    CLIPProcessor(image_processor=processor, tokenizer=tokenizer).save_pretrained(out)
    processor.save_pretrained(out)
    tokenizer.save_pretrained(out)
    copy.deepcopy(model).half().save_pretrained(out)
    config = json.loads((out / "config.json").read_text(encoding="utf-8")) | {"dtype": "float32"}
    (out / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    for file in out.iterdir():
        file.chmod(0o644)  # safetensors writes files that only their owner can read
