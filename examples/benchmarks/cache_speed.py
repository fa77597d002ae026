"""A second look at images, and a second audit of them, against the classifier's pass alone and against the first."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from feature_pass import BATCH, PREPROCESS, export
from made_clip import class_names, make_clip
from made_photos import write
from measuring import Outcome, Plain, in_turn

from singaudit.cache.store import Cache
from singaudit.classifier.fingerprint import forward_identity
from singaudit.classifier.options import ModelOptions
from singaudit.classifier.preprocessing.pixels import prepare
from singaudit.classifier.sandbox.onnx_classifier import open_onnx
from singaudit.dataset.sources.table import open_source
from singaudit.engine.interface import Step
from singaudit.engine.local import run_pass
from singaudit.language.encoders.cached import CachedEncoder, exports_of
from singaudit.language.encoders.table import open_encoder
from singaudit.machine import multiplies_bf16

TARGET, FIRST = 1.2, 1.35
CONCEPTS = """[colour]
values = ["red", "green", "blue", "yellow"]

[texture]
values = ["plain", "striped", "dotted"]

[size]
values = ["small", "large"]
"""


def speed(quick: bool) -> Outcome:
    """Passes over photographs: classifier alone, both models at first, both when embeddings, and all, are cached."""
    images, repetitions = (60, 2) if quick else (400, 3)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        (root / "photos").mkdir()
        write(root / "photos", images)
        export(root / "model.onnx")
        name = str(make_clip(root / "clip", "b32"))
        classifier = open_onnx(root / "model.onnx", ModelOptions(preprocess=PREPROCESS))
        source = open_source(str(root / "photos"))
        classify = Step(Plain(lambda pixels: prepare(pixels, classifier.preprocessing), classifier.forward))

        def look(folder: Path, features: bool) -> None:
            cache = Cache(folder)
            encoder = CachedEncoder(name, "cpu", cache, lambda exports: open_encoder(name, exports=exports))
            shelf = cache.shelf("features", forward_identity(classifier, "CPUExecutionProvider")) if features else None
            steps = {
                "classifier": Step(classify.recipe, shelf),
                "encoder": Step(Plain(encoder.prepare, lambda x: (encoder.encode_images(x),)), encoder.images),
            }
            run_pass(source, steps, batch_size=BATCH)

        def first() -> None:
            shutil.rmtree(root / "new", ignore_errors=True)
            look(root / "new", features=True)

        look(root / "kept", features=True)
        seconds = in_turn(
            {
                "classifier alone": lambda: run_pass(source, {"classifier": classify}, batch_size=BATCH),
                "both models, nothing cached": first,
                "embeddings cached": lambda: look(root / "kept", features=False),
                "embeddings and features cached": lambda: look(root / "kept", features=True),
            },
            repetitions,
        )
    alone = seconds["classifier alone"]
    rows = [
        {"pass": name, "seconds": round(value, 3), "of the classifier alone": round(value / alone, 3)}
        for name, value in seconds.items()
    ]
    found = Outcome(f"Second look at {images} photographs", rows)
    found.expect("embeddings cached / classifier alone", seconds["embeddings cached"] / alone, at_most=TARGET)
    found.notes.append(
        "The encoder has the size of CLIP ViT-B/32 and random weights; opening it is part of the first look and of no "
        "other. Another classifier over the same images is the row 'embeddings cached'."
    )
    return found


def _set_up(root: Path, images: int) -> Callable[..., None]:
    """Photographs, a classifier and an encoder in ``root``; and what audits them by the command line."""
    (root / "photos").mkdir()
    write(root / "photos", images)
    export(root / "model.onnx")
    make_clip(root / "clip", "b32")
    (root / "names.txt").write_text("\n".join(class_names()))
    (root / "concepts.toml").write_text(CONCEPTS)
    command = [
        sys.executable, "-m", "singaudit", "run", str(root / "model.onnx"), "--preprocess", PREPROCESS,
        "--classes", str(root / "names.txt"), "--images", str(root / "photos"), "--vlm", str(root / "clip"),
        "--concepts", str(root / "concepts.toml"), "--cache", str(root / "cache"), "--output", str(root / "out"),
        "--force", "--quiet",
    ]  # fmt: skip

    def audit(report: str = "html,json,csv", precision: str = "fp32") -> None:
        words = [*command, "--report", report, "--precision", precision]
        done = subprocess.run(words, check=False, capture_output=True, text=True)
        if done.returncode not in (0, 1, 4):
            raise SystemExit(f"the audit ended with {done.returncode}: {done.stderr}")

    return audit


def _session(path: Path) -> Any:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def _image_tower(checkpoint: Path, path: Path) -> Any:
    """transformers' own image tower as torch exports it, opened by ONNX Runtime."""
    import torch
    from transformers import CLIPModel

    class Images(torch.nn.Module):
        def __init__(self, model: Any) -> None:
            super().__init__()
            self.eyes, self.projection = model.vision_model, model.visual_projection

        def forward(self, pixels: Any) -> Any:
            return self.projection(self.eyes(pixel_values=pixels).pooler_output)

    tower, sample = Images(CLIPModel.from_pretrained(checkpoint)).eval(), torch.zeros(2, 3, 224, 224)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        torch.onnx.export(tower, (sample,), path, dynamo=False, input_names=["x"], dynamic_axes={"x": {0: "n"}})
    return _session(path)


def first(quick: bool) -> Outcome:
    """A first audit against what its two models take through ONNX Runtime, images decoded and prepared before."""
    images = 60 if quick else 1000
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        audit = _set_up(root, images)
        encoder = open_encoder(str(root / "clip"), exports=exports_of(str(root / "clip"), Cache(root / "other")))
        session, tower = _session(root / "model.onnx"), _image_tower(root / "clip", root / "tower.onnx")
        how = open_onnx(root / "model.onnx", ModelOptions(preprocess=PREPROCESS)).preprocessing
        feed = session.get_inputs()[0].name
        source = open_source(str(root / "photos"))
        pixels = [source.load(i).pixels for i in range(images)]
        tensors = [np.stack([prepare(one, how) for one in pixels]), np.stack([encoder.prepare(one) for one in pixels])]

        def passes(embed: Callable[[Any], Any]) -> None:
            # One after the other: threads of sessions that take turns spin beside each other.
            for run, rows in zip((lambda rows: session.run(None, {feed: rows}), embed), tensors, strict=True):
                for at in range(0, images, BATCH):
                    run(rows[at : at + BATCH])

        def anew(precision: str) -> None:
            shutil.rmtree(root / "cache", ignore_errors=True)
            audit("html,json,csv,pdf", precision)

        rivals: dict[str, Callable[[], Any]] = {
            "both models' own passes": lambda: passes(lambda rows: tower.run(None, {"x": rows})),
            "the same, the encoder as singaudit runs it": lambda: passes(encoder.encode_images),
            "first audit": lambda: anew("fp32"),
        }
        if multiplies_bf16():
            rivals["first audit, --precision bf16"] = lambda: anew("bf16")
        seconds = in_turn(rivals, 1 if quick else 2)
    alone = seconds["both models' own passes"]
    rows = [
        {"what": name, "seconds": round(value, 2), "of the models' passes": round(value / alone, 2)}
        for name, value in seconds.items()
    ]
    found = Outcome(f"A first audit of {images} photographs, nothing cached, all reports included", rows)
    if not quick:
        found.expect("first audit / both models' own passes", seconds["first audit"] / alone, at_most=FIRST)
    found.notes.append(
        "The audit also exports the encoder, and reads 1,000 names and three groups with it. The models' "
        "own passes are sessions with default options of the classifier's file and of transformers' own image tower."
    )
    return found


def audits(quick: bool) -> Outcome:
    """Whole audits by the command line, reports included: the first, the second, and the second of another model."""
    images = 120 if quick else 2400
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        audit = _set_up(root, images)

        def forget() -> None:
            for folder in (root / "cache").glob("features-*"):
                shutil.rmtree(folder)

        def another() -> None:
            forget()
            audit()

        classifier = open_onnx(root / "model.onnx", ModelOptions(preprocess=PREPROCESS))
        source = open_source(str(root / "photos"))
        classify = Step(Plain(lambda pixels: prepare(pixels, classifier.preprocessing), classifier.forward))
        first = in_turn({"first audit": audit}, 1)
        seconds = first | in_turn(
            {
                "classifier's pass alone": lambda: run_pass(source, {"classifier": classify}, batch_size=BATCH),
                "second audit": audit,
                "second audit, PDF too": lambda: audit("html,json,csv,pdf"),
                "second audit, features anew": another,
            },
            1 if quick else 2,
        )
    alone = seconds["classifier's pass alone"]
    rows = [
        {"audit": name, "seconds": round(value, 2), "of the classifier's pass": round(value / alone, 2)}
        for name, value in seconds.items()
    ]
    found = Outcome(f"Whole audits of {images} photographs, HTML, JSON and CSV reports included", rows)
    if not quick:
        found.expect("second audit / classifier's pass alone", seconds["second audit"] / alone, at_most=TARGET)
    found.notes.append(
        "What an audit does beside its passes hardly grows with the number of images: of another model over the same "
        "images it is a few seconds more."
    )
    return found
