"""``singaudit pack`` of photographs against the loop that a person writes with transformers, in CPU-seconds."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from made_clip import make_clip
from made_photos import write
from measuring import Outcome

BATCH = 16
CONCEPTS = '[colour]\nvalues = ["red", "green", "blue", "yellow"]\n'
TARGET = 0.65

LOOP = f"""
import sys
from pathlib import Path
import numpy as np
import torch
from PIL import Image
from singaudit.torchvision_import import import_transformers

import_transformers()  # no other library has to fit torch's version
from transformers import CLIPImageProcessor, CLIPModel

model, processor = CLIPModel.from_pretrained(sys.argv[1]).eval(), CLIPImageProcessor.from_pretrained(sys.argv[1])
paths, found = sorted(Path(sys.argv[2]).iterdir()), []
if sys.argv[4] == "bf16":
    model = model.to(torch.bfloat16)
with torch.inference_mode():
    for at in range(0, len(paths), {BATCH}):
        images = [Image.open(path).convert("RGB") for path in paths[at : at + {BATCH}]]
        pixels = processor(images=images, return_tensors="pt")["pixel_values"].to(model.dtype)
        found.append(model.get_image_features(pixel_values=pixels).pooler_output.float().numpy())
np.save(sys.argv[3], np.concatenate(found))
"""


def speed(quick: bool) -> Outcome:
    """Medians over rounds of the loop and the command, one after the other; the tower's export is kept in the cache."""
    images, rounds = (32, 1) if quick else (200, 3)
    rows, outcome = [], Outcome(f"A pack of {images} photographs, an encoder of ViT-B/32's size, once exported", [])
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        for name, count in (("photos", images), ("one", 1)):
            (root / name).mkdir()
            write(root / name, count)
        clip = make_clip(root / "clip", "b32")
        (root / "concepts.toml").write_text(CONCEPTS)

        def pack(photos: str, cache: Path, *options: str) -> float:
            return _cpu_seconds(
                "-m", "singaudit", "pack", "--images", str(root / photos), "--vlm", str(clip), "--classes", "dog,cat",
                "--concepts", str(root / "concepts.toml"), "--cache", str(cache), "-o", str(root / "probe.pack"),
                "--quiet", *options,
            )  # fmt: skip

        for precision in ("fp32", "bf16"):
            pack("one", root / "exported", "--precision", precision)  # keeps the export and the texts
            seconds: dict[str, list[float]] = {"loop": [], "pack": []}
            for _ in range(rounds):
                arguments = str(clip), str(root / "photos"), str(root / "found.npy"), precision
                seconds["loop"].append(_cpu_seconds("-c", LOOP, *arguments))
                shutil.rmtree(root / "cache", ignore_errors=True)
                shutil.copytree(root / "exported", root / "cache")
                seconds["pack"].append(pack("photos", root / "cache", "--precision", precision))
            loop, ours = (sorted(found)[len(found) // 2] for found in seconds.values())
            rows.append(
                {
                    "precision": precision,
                    "the loop": round(loop, 1),
                    "pack": round(ours, 1),
                    "ratio": round(ours / loop, 2),
                }
            )
            if not quick and precision == "fp32":
                outcome.expect("pack / the loop, fp32", ours / loop, at_most=TARGET)
    outcome.rows = rows
    outcome.notes.append(
        "CPU-seconds of whole processes. The loop opens images, runs transformers' processor and get_image_features in "
        f"batches of {BATCH}; the pack also hashes images, finds scenes, makes thumbnails and writes the file."
    )
    return outcome


def _cpu_seconds(*command: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, *command], check=False, capture_output=True, text=True,
        env={name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"ended with {done.returncode}: {done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
