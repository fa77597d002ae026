"""How often are units right? Copies of photographs that are found, distinct images that are joined; tables on stdout.

    python examples/calibration/units.py --shapes 4000
    python examples/calibration/units.py --photos DIR --models tf_efficientnet_lite0=A.pth tf_efficientnet_lite1=B.pth

Photographs are all distinct, and 200 of them are copied anew each time in the ways people's data sets are: saved again,
flipped, brightened, reduced, cropped. The first model's features stand for the classifier's and the second's for the
language model's embeddings; --photos needs their published weights as files that timm reads, or the hub. Generated
shapes are all distinct too, and look alike.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageEnhance
import PIL.ImageOps
from numpy.typing import NDArray

from singaudit.dataset.thumbnail import thumbnail
from singaudit.metrics.units import Units, find_units

Picture = PIL.Image.Image
COPIES = 200
FRAMES = 10


def saved(quality: int) -> Callable[[Picture], Picture]:
    """Saved again as JPEG."""

    def copy(image: Picture) -> Picture:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        return PIL.Image.open(file).convert("RGB")

    return copy


def reduced(share: float) -> Callable[[Picture], Picture]:
    """Smaller by that share of its sides."""
    return lambda image: image.resize((round(image.width * share), round(image.height * share)))


def cropped(share: float) -> Callable[[Picture], Picture]:
    """A part of that share of its sides, anywhere, saved again."""
    generator = np.random.default_rng(5)

    def copy(image: Picture) -> Picture:
        wide, high = (int(side * share) for side in image.size)
        left, top = (int(generator.integers(0, most + 1)) for most in (image.width - wide, image.height - high))
        return saved(85)(image.crop((left, top, left + wide, top + high)))

    return copy


def scene(image: Picture, frames: int, generator: np.random.Generator) -> list[Picture]:
    """Frames of a camera that moves over a photograph, with changing light, noise and zoom."""
    wide, high = (int(side * 0.8) for side in image.size)
    start, end = generator.uniform(size=(2, 2))
    made = []
    for t in np.linspace(0, 1, frames):
        place, zoom = start + (end - start) * t, 1 - 0.06 * generator.uniform()
        left, top = int(place[0] * (image.width - wide)), int(place[1] * (image.height - high))
        part = np.asarray(image.crop((left, top, left + int(wide * zoom), top + int(high * zoom))), np.float32)
        lit = part * generator.uniform(0.92, 1.08) + generator.normal(0, 4, part.shape)
        made.append(saved(80)(PIL.Image.fromarray(np.clip(lit, 0, 255).astype(np.uint8))))
    return made


WAYS: dict[str, Callable[[Picture], Picture]] = {
    "saved anew, quality 75": saved(75),
    "saved anew, quality 40": saved(40),
    "flipped": PIL.ImageOps.mirror,
    "brighter by a fifth": lambda image: PIL.ImageEnhance.Brightness(image).enhance(1.2),
    "half as large": reduced(0.5),
    "a third as large": reduced(1 / 3),
    "cropped to 95 %": cropped(0.95),
    "cropped to 90 %": cropped(0.9),
    "cropped to 80 %": cropped(0.8),
    "flipped and cropped to 92 %": lambda image: cropped(0.92)(PIL.ImageOps.mirror(image)),
}


def in_order(stored: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Weights that are published under other names, in the same order; the classifier's own come last."""
    given = [value for key, value in stored.items() if "num_batches" not in key]
    names = [key for key in own if "num_batches" not in key]
    if any(given[i].shape != own[name].shape for i, name in enumerate(names)):
        raise SystemExit("expected the weights of that network, in its order")
    return dict(zip(names, given, strict=False))


def network(said: str) -> Callable[[list[Picture]], NDArray[np.float32]]:
    """Features by a timm network, NAME or NAME=FILE of its weights."""
    import timm
    import torch

    name, _, file = said.partition("=")
    model = timm.create_model(name, pretrained=not file, num_classes=0)
    if file:
        stored = torch.load(file, map_location="cpu", weights_only=True)
        model.load_state_dict(in_order(stored, model.state_dict()), strict=False)
    model.eval()
    how = timm.data.create_transform(**timm.data.resolve_model_data_config(model))

    def features(images: list[Picture]) -> NDArray[np.float32]:
        with torch.inference_mode():
            parts = [model(torch.stack([how(i) for i in images[k : k + 16]])) for k in range(0, len(images), 16)]
        return np.asarray(torch.cat(parts).numpy())

    return features


def small_of(images: list[Picture]) -> NDArray[np.float32]:
    """(n, 256) thumbnails."""
    return np.stack([thumbnail(np.asarray(image)) for image in images])


def joined_wrongly(units: Units, photo: NDArray[np.intp]) -> int:
    """Images in a unit with an image of another photograph."""
    wrong = [unit for unit in units.joined if len(set(photo[list(unit)])) > 1]
    return sum(len(unit) for unit in wrong)


def photographs(folder: Path, models: list[str]) -> None:
    """A row for the photographs alone and for each way to copy."""
    images = [PIL.Image.open(file).convert("RGB") for file in sorted(folder.glob("*.jpg"))]
    networks = [network(said) for said in models]
    alone = [see(images) for see in networks]
    small = small_of(images)
    count = len(images)
    print("| copies | found | images joined with one of another photograph |\n|---|---|---|")
    units = find_units(alone[0], alone[-1], small)
    print(f"| none, {count} photographs | | {joined_wrongly(units, np.arange(count))} of {count} |")
    for way, copy in WAYS.items():
        chosen = np.random.default_rng(0).choice(count, min(COPIES, count), replace=False)
        copies = [copy(images[i]) for i in chosen]
        seen = [np.concatenate([a, see(copies)]) for a, see in zip(alone, networks, strict=True)]
        pixels = np.concatenate([small, small_of(copies)])
        units = find_units(seen[0], seen[-1], pixels)
        found = int((units.of[chosen] == units.of[count:]).sum())
        wrong = joined_wrongly(units, np.concatenate([np.arange(count), chosen]))
        print(f"| {way} | {found} of {len(chosen)} | {wrong} of {count + len(chosen)} |", flush=True)
    generator = np.random.default_rng(6)
    scenes = [scene(image, FRAMES, generator) for image in images[1::8]]
    frames = [frame for one in scenes for frame in one]
    units = find_units(*(see(frames) for see in (networks[0], networks[-1])), small_of(frames)).of
    apart = [len(set(units[i : i + FRAMES])) for i in range(0, len(frames), FRAMES)]
    print(f"\n{len(scenes)} scenes of {FRAMES} frames fell into {np.mean(apart):.1f} units each")


def shapes(count: int, seeds: int) -> None:
    """How many generated shapes, which are all distinct, share a unit with another."""
    from singaudit.classifier.openers.table import open_classifier
    from singaudit.classifier.options import ModelOptions
    from singaudit.classifier.preprocessing.pixels import prepare
    from singaudit.dataset.sources.table import open_source
    from singaudit.language.encoders.table import open_encoder

    classifier = open_classifier("builtin:clean", ModelOptions())
    encoder = open_encoder("builtin:shapes", device="cpu", precision="fp32")
    print("| seed | images joined | units of them | largest | seconds |\n|---|---|---|---|---|")
    for seed in range(seeds):
        source = open_source(f"shapes:{count}:{seed}")
        features, embeddings, small = [], [], []
        for start in range(0, count, 64):
            pixels = [source.load(i).pixels for i in range(start, min(start + 64, count))]
            features.append(classifier.forward(np.stack([prepare(p, classifier.preprocessing) for p in pixels]))[0])
            embeddings.append(encoder.encode_images(np.stack([encoder.prepare(p) for p in pixels])))
            small.append(np.stack([thumbnail(p) for p in pixels]))
        began = time.perf_counter()
        units = find_units(np.concatenate(features), np.concatenate(embeddings), np.concatenate(small))
        sizes = [len(unit) for unit in units.joined]
        took = time.perf_counter() - began
        print(f"| {seed} | {sum(sizes)} of {count} | {len(sizes)} | {max(sizes, default=0)} | {took:.1f} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--models", nargs="+", default=["tf_efficientnet_lite0", "tf_efficientnet_lite1"])
    parser.add_argument("--shapes", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=2)
    given = parser.parse_args()
    if given.photos:
        photographs(given.photos, given.models)
    if given.shapes:
        shapes(given.shapes, given.seeds)
