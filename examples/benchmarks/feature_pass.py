"""The feature pass over photographs against ONNX Runtime alone, and whether features depend on how they are made."""

from __future__ import annotations

import io
import tempfile
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from made_photos import write
from measuring import Outcome, Plain, in_turn
from numpy.typing import NDArray

from singaudit.classifier.options import ModelOptions
from singaudit.classifier.preprocessing.pixels import prepare
from singaudit.classifier.sandbox.onnx_classifier import OnnxClassifier, open_onnx
from singaudit.dataset.interface import Image
from singaudit.dataset.sources.table import open_source
from singaudit.engine.interface import Pass, Step
from singaudit.engine.local import run_pass

MODEL = "tf_efficientnet_lite0"
PREPROCESS = "size=224,crop=0.875,interpolation=bicubic,scale=1,mean=127,std=128"
BATCH = 16
"""The audit's default."""
RIVAL_BATCHES = (1, 4, 16)


def export(path: Path) -> None:
    """The model with random weights as an ONNX file with a free batch axis."""
    from singaudit.torchvision_import import import_torchvision

    import_torchvision()
    import timm
    import torch

    torch.manual_seed(0)
    model = timm.create_model(MODEL, pretrained=False).eval()
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (torch.zeros(1, 3, 224, 224),),
            buffer,
            dynamo=False,
            opset_version=17,
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": {0: "n"}, "logits": {0: "n"}},
        )
    path.write_bytes(buffer.getvalue())


def alone(session: Any, tensors: NDArray[Any], batch: int) -> Callable[[], None]:
    """One ONNX Runtime session over tensors that are decoded and prepared already."""
    name = session.get_inputs()[0].name

    def call() -> None:
        for start in range(0, len(tensors), batch):
            session.run(None, {name: tensors[start : start + batch]})

    return call


def whole_pass(classifier: OnnxClassifier, photos: Path, batch: int) -> Pass:
    """Read, decode, prepare and run every photograph, as an audit does."""
    step = Step(Plain(lambda pixels: prepare(pixels, classifier.preprocessing), classifier.forward))
    return run_pass(open_source(str(photos)), {"classifier": step}, batch_size=batch)


def _prepared(classifier: OnnxClassifier, photos: Path) -> NDArray[Any]:
    source = open_source(str(photos))
    images = [source.load(i) for i in range(len(source))]
    return np.stack([prepare(i.pixels, classifier.preprocessing) for i in images if isinstance(i, Image)])


def _read(classifier: OnnxClassifier, photos: Path) -> Callable[[], None]:
    step = Step(
        Plain(lambda pixels: prepare(pixels, classifier.preprocessing), lambda x: (np.zeros((len(x), 1), np.float32),))
    )
    return lambda: (run_pass(open_source(str(photos)), {"read": step}, batch_size=BATCH), None)[1]


def speed(quick: bool, photos: Path | None) -> list[Outcome]:
    """Throughput, then independence of batch size and thread count."""
    with (
        tempfile.TemporaryDirectory() as work,
        nullcontext(str(photos)) if photos else tempfile.TemporaryDirectory() as folder,
    ):
        if photos is None:
            write(Path(folder), 24 if quick else 400)
        model = Path(work) / "lite0.onnx"
        export(model)
        return [_throughput(model, Path(folder), quick, photos is None), _independence(model, Path(folder))]


def _throughput(model: Path, photos: Path, quick: bool, made: bool) -> Outcome:
    classifier = open_onnx(model, ModelOptions(preprocess=PREPROCESS))
    tensors = _prepared(classifier, photos)
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    starts = range(0, len(tensors), BATCH)
    ways: dict[str, Callable[[], Any]] = {
        "feature pass": lambda: whole_pass(classifier, photos, BATCH),
        **{f"ONNX Runtime alone, batch {n}": alone(session, tensors, n) for n in RIVAL_BATCHES},
        "ONNX Runtime alone, run as the pass runs it": lambda: [
            classifier.forward(tensors[i : i + BATCH]) for i in starts
        ],
        "decode and prepare alone": _read(classifier, photos),
    }
    seconds = in_turn(ways, 3 if quick else 6)
    rows = [
        {
            "way": name,
            "images / s": len(tensors) / s,
            "seconds": s,
            "feature pass, share of its throughput": s / seconds["feature pass"],
        }
        for name, s in seconds.items()
    ]
    kind = "made photographs" if made else "photographs"
    outcome = Outcome(f"Feature pass over {len(tensors)} {kind}, {MODEL} with random weights", rows)
    outcome.notes += [
        f"Feature pass: read, decode, resize, run; batch {BATCH}. Alone: on tensors in memory, nothing to decode.",
        "ONNX Runtime alone, batch n: a session with the default options. As the pass runs it: pieces side by side.",
    ]
    for batch in RIVAL_BATCHES:
        share = seconds[f"ONNX Runtime alone, batch {batch}"] / seconds["feature pass"]
        outcome.expect(f"share of ONNX Runtime's throughput at batch {batch}", share, at_least=0.8)
    return outcome


def _independence(model: Path, photos: Path) -> Outcome:
    rows, first = [], None
    for threads in (1, 2):
        classifier = open_onnx(model, ModelOptions(preprocess=PREPROCESS, threads=threads))
        for batch in (1, 7, 32):
            features = whole_pass(classifier, photos, batch).outputs["classifier"][0]
            first = features if first is None else first
            relative = np.abs(features - first).max(axis=1) / np.abs(first).max(axis=1)
            rows.append({"threads": threads, "batch": batch, "largest relative difference": float(relative.max())})
    outcome = Outcome("Features by batch size and thread count, against batch 1 and one thread", rows)
    worst = max(row["largest relative difference"] for row in rows)
    outcome.expect("largest relative difference", worst, at_most=1e-5)
    return outcome
