"""The towers of a language model on a CPU: this project's against transformers' in eager mode, the same batches."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from made_clip import make_clip
from measuring import Outcome

from singaudit.cache.store import Cache
from singaudit.language.concepts import all_prompts, open_vocabulary
from singaudit.language.encoders.cached import exports_of
from singaudit.language.encoders.table import open_encoder

BATCH = 16


def cpu_in_turn(rivals: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median CPU-seconds of each rival, threads included; rounds of all rivals one after another."""
    seconds: dict[str, list[float]] = {name: [] for name in rivals}
    for _ in range(rounds):
        for name, call in rivals.items():
            start = time.process_time()
            call()
            seconds[name].append(time.process_time() - start)
    return {name: median(found) for name, found in seconds.items()}


def export_seconds(checkpoint: str, folder: Path, rounds: int) -> float:
    """Median CPU-seconds that opening takes more where the towers are exported than where exports are kept.

    Once before, so that what is imported counts as neither.
    """
    found = []
    for i in range(rounds + 1):
        exports, times = exports_of(checkpoint, Cache(folder / f"exports{i}")), [time.process_time()]
        for _ in ("made", "kept"):
            open_encoder(checkpoint, exports=exports)
            times.append(time.process_time())
        found.append(times[1] - times[0] - (times[2] - times[1]))
    return median(found[1:])


Rivals = dict[str, Callable[[], Any]]
"""What takes all images, and what takes all prompts."""


def _eager(checkpoint: Path, tokenizer: Any, inputs: Any, prompts: list[str]) -> Rivals:
    """transformers' towers in eager mode, in batches that its tokenizer pads."""
    import torch
    from transformers import CLIPModel

    model = CLIPModel.from_pretrained(checkpoint).eval()
    batches = [
        tokenizer(prompts[at : at + BATCH], padding=True, truncation=True, return_tensors="pt")
        for at in range(0, len(prompts), BATCH)
    ]

    def images() -> None:
        with torch.inference_mode():
            for at in range(0, len(inputs), BATCH):
                model.get_image_features(pixel_values=torch.from_numpy(inputs[at : at + BATCH]))

    def texts() -> None:
        with torch.inference_mode():
            for batch in batches:
                model.get_text_features(**batch)

    return {"images": images, "texts": texts}


def _ours(encoder: Any, inputs: Any, prompts: list[str]) -> Rivals:
    """This project's towers; both return the embeddings."""

    def images() -> Any:
        return np.concatenate([encoder.encode_images(inputs[at : at + BATCH]) for at in range(0, len(inputs), BATCH)])

    return {"images": images, "texts": partial(encoder.encode_texts, prompts)}


def speed(quick: bool, sizes: tuple[str, ...] = ("b32", "l14")) -> list[Outcome]:
    """Images and prompts of the built-in vocabulary through both, on one thread."""
    from singaudit.torchvision_import import import_torchvision

    import_torchvision()
    import torch

    torch.set_num_threads(1)
    counts, rounds = ({"images": 8, "texts": 64}, 1) if quick else ({"images": 32, "texts": 256}, 3)
    rows, outcome = (
        [],
        Outcome("Towers of a language model on one thread of a CPU, against transformers in eager mode", []),
    )
    prompts = all_prompts(open_vocabulary(None, "").groups, ())[: counts["texts"]]
    pixels = np.random.default_rng(0).integers(0, 256, (counts["images"], 256, 256, 3), dtype=np.uint8)
    for size in sizes[:1] if quick else sizes:
        with tempfile.TemporaryDirectory() as folder:
            checkpoint = make_clip(Path(folder) / size, size)
            export = export_seconds(str(checkpoint), Path(folder), rounds)
            whole = open_encoder(str(checkpoint), exports=exports_of(str(checkpoint), Cache(Path(folder) / "exports1")))
            inputs = np.stack([whole.prepare(one) for one in pixels])
            eager, exact = _eager(checkpoint, whole._tokenizer, inputs, prompts), _ours(whole, inputs, prompts)
            short = _ours(open_encoder(str(checkpoint), precision="bf16"), inputs, prompts)
            rivals: Rivals = {}
            for what in counts:
                rivals |= {what: exact[what], f"eager {what}": eager[what], f"{what}, bf16": short[what]}
            found = cpu_in_turn(rivals, rounds)
            least = {f"{what}, bf16": (exact[what]() * short[what]()).sum(axis=1).min() for what in counts}
            for name in ("images", "images, bf16", "texts", "texts, bf16"):
                what = name.partition(",")[0]
                ratio = found[f"eager {what}"] / found[name]
                rows.append(
                    {
                        "encoder": size,
                        "what": name,
                        "ms each": round(1000 * found[name] / counts[what], 2),
                        "eager ms each": round(1000 * found[f"eager {what}"] / counts[what], 2),
                        "times as fast": round(ratio, 2),
                        **({"least cosine with fp32": round(float(least[name]), 6)} if name in least else {}),
                    }
                )
                outcome.expect(f"{size}: {name}", ratio, at_least=1.8 if what == "images" else 2.0)
            cost = export / (found["eager images"] / counts["images"])
            outcome.expect(f"{size}: the export in images of the eager tower", cost, at_most=60)
    outcome.rows = rows
    outcome.notes = [
        "CPU-seconds, threads included; eager mode in float32, ours in bf16 where it says so.",
        "Eager texts are padded to the longest of their batch, as its tokenizer does.",
        f"Random weights. Batches of {BATCH}; ours run in pieces of 4 images and up to 32 texts of one length.",
    ]
    return [outcome]
