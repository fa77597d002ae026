"""Measure what the classifiers' features carry, and where: linear probes, and colour read through a translator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from onnx import numpy_helper
from prompts import targets
from train_clip import embed_texts
from transformers import CLIPModel, CLIPTokenizer
from world import Pool, held_out, to_input

from singaudit.dataset.generated.scenes import ATTRIBUTES, phrase

Array = NDArray[np.float64]


def features_and_head(path: Path, pool: Pool) -> tuple[Array, Array]:
    """Penultimate features (n, m) of the pool's images, and the head's weight (c, m)."""
    model = onnx.load(str(path))
    head = model.graph.node[-1]
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    model.graph.output.append(onnx.helper.make_tensor_value_info(head.input[0], onnx.TensorProto.FLOAT, None))
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    parts = [session.run([head.input[0]], {"images": to_input(p).numpy()})[0] for p in pool.pixels.split(250)]
    return np.concatenate(parts).astype(np.float64), weights[head.input[1]].astype(np.float64)


def principal_basis(weight: Array) -> Array:
    """V_p (m, r): right singular vectors of the head's weight."""
    _, s, vt = np.linalg.svd(weight, full_matrices=False)
    return vt[s > s[0] * max(weight.shape) * np.finfo(np.float32).eps].T


def ridge(X: Array, Y: Array, share: float = 1e-3) -> tuple[Array, Array]:
    """(coefficients, intercept) of the ridge regression Y = X B + a; the penalty is ``share`` of X's mean variance."""
    mx, my = X.mean(0), Y.mean(0)
    gram = (X - mx).T @ (X - mx)
    B = np.linalg.solve(gram + share * np.trace(gram) / len(gram) * np.eye(len(gram)), (X - mx).T @ (Y - my))
    return B, my - mx @ B


def folds(n: int, k: int = 5) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """(training rows, held-out rows) of k interleaved folds."""
    rows = np.arange(n)
    return [(rows[rows % k != f], rows[rows % k == f]) for f in range(k)]


def probe(X: Array, labels: NDArray[np.int64]) -> float:
    """Cross-validated accuracy of a linear probe (ridge on one-hot labels)."""
    hits = 0
    for train, test in folds(len(X)):
        B, a = ridge(X[train], np.eye(labels.max() + 1)[labels[train]])
        hits += int(((X[test] @ B + a).argmax(1) == labels[test]).sum())
    return round(hits / len(X), 4)


def margin(z: Array, texts: Array, own: NDArray[np.int64]) -> Array:
    """(n,) degrees: mean angle to the other values' texts minus the angle to the image's own value's."""
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    angles = np.degrees(np.arccos(np.clip(unit @ texts.T, -1, 1)))
    mine = angles[np.arange(len(own)), own]
    return (angles.sum(1) - mine) / (texts.shape[0] - 1) - mine


def embeddings(clip: Path, pool: Pool) -> tuple[Array, dict[str, Array]]:
    """Image embeddings (n, d) and, per attribute, normalised text embeddings (values, d)."""
    model, tokenizer = CLIPModel.from_pretrained(clip, dtype=torch.float32), CLIPTokenizer.from_pretrained(clip)
    with torch.inference_mode():
        z = torch.cat(
            [
                F.normalize(model.visual_projection(model.vision_model(to_input(p)).pooler_output), dim=-1)
                for p in pool.pixels.split(250)
            ]
        )
        texts = {}
        for name, values in ATTRIBUTES.items():
            said = [f"{frame} {phrase({name: value})}" for value in values for frame in ("a photo of", "an image of")]
            texts[name] = F.normalize(embed_texts(model, tokenizer, said).unflatten(0, (-1, 2)).mean(1), dim=-1)
    return z.double().numpy(), {name: t.double().numpy() for name, t in texts.items()}


def measure(path: Path, clip: Path, images: int = 3000) -> dict[str, Any]:
    """Probes and contrasts of one classifier on held-out images; translator and probes are cross-fitted."""
    pool = held_out(images)
    f, weight = features_and_head(path, pool)
    V = principal_basis(weight)
    centred = f - f.mean(0)
    seen = centred @ V @ V.T
    z, texts = embeddings(clip, pool)
    full, kept = np.empty_like(z), np.empty_like(z)
    for train, test in folds(images):
        B, a = ridge(f[train], z[train])
        full[test] = f[test] @ B + a
        kept[test] = (f[train].mean(0) + (f[test] - f[train].mean(0)) @ V @ V.T) @ B + a
    # Without a null space what is left of the features is rounding, and a probe would read even that.
    has_null = V.shape[1] < f.shape[1]
    report: dict[str, Any] = {
        "images": images,
        "rank": V.shape[1],
        "null_dim": f.shape[1] - V.shape[1],
        "translator_r2": round(float(1 - ((z - full) ** 2).sum() / ((z - z.mean(0)) ** 2).sum()), 4),
        "attributes": {},
    }
    for name, values in ATTRIBUTES.items():
        own = targets(pool.scenes)[name]
        before, after = margin(full, texts[name], own), margin(kept, texts[name], own)
        report["attributes"][name] = {
            "chance": round(1 / len(values), 4),
            "probe_null": probe(centred - seen, own) if has_null else None,
            "probe_logits": probe(seen, own),
            "margin_image_deg": round(float(margin(z, texts[name], own).mean()), 2),
            "margin_translated_deg": round(float(before.mean()), 2),
            "contrast_deg": round(float((before - after).mean()), 2) if has_null else None,
            "carried_share": _share(before, before - after) if has_null else None,
        }
    return report


def _share(before: Array, contrast: Array) -> list[float]:
    """Mean contrast over mean margin with a 95 % bootstrap interval: [value, low, high]."""
    rows = np.random.default_rng(0).integers(0, len(before), (400, len(before)))
    draws = contrast[rows].mean(1) / before[rows].mean(1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return [round(float(v), 3) for v in (contrast.mean() / before.mean(), low, high)]
