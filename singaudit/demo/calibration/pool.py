"""Generated images, embedded once and seen once by a frozen trunk: what all planted models of images draw from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from singaudit.dataset.generated.drawing import render
from singaudit.dataset.generated.scenes import ATTRIBUTES, draw_scenes
from singaudit.language.concepts import LEADS, Group, embed_group, open_vocabulary
from singaudit.language.encoders.table import BUILTIN, open_encoder
from singaudit.metrics.subject import GroupTexts

_SEED = 4_000_004
"""World of the calibration's images; nothing embedded was trained on it."""
_TRUNKS = ("spurious", "two-class")
"""Embedded classifiers that were trained without making colour anything special; their convolutions are the trunk."""
_BLOCK = 64


@dataclass(frozen=True)
class Pool:
    """What all planted models of generated images share."""

    trunk: NDArray[np.float32]
    """(N, t) features of the frozen trunk, whitened."""
    embeddings: NDArray[np.float32]
    """(N, d) unit image embeddings."""
    truth: dict[str, NDArray[np.int64]]
    """Attribute to (N,) value."""
    texts: dict[str, GroupTexts]
    """Attribute to its prompts; own values are read zero-shot."""


def make_pool(images: int, progress: Callable[[int, int], None], width: int = 256) -> Pool:
    """Draw ``images`` and look at each once. ``width``: trunk features kept, the leading principal components."""
    encoder = open_encoder(BUILTIN, device="cpu")
    sessions = [_trunk(name) for name in _TRUNKS]
    scenes = draw_scenes(np.arange(images), _SEED)
    embeddings, features = [], []
    for start in range(0, images, _BLOCK):
        pixels = render(draw_scenes(np.arange(start, min(start + _BLOCK, images)), _SEED))
        embeddings.append(encoder.encode_images(np.stack([encoder.prepare(p) for p in pixels])))
        inputs = pixels.transpose(0, 3, 1, 2).astype(np.float32) * np.float32(2 / 255) - 1
        maps = [found for session in sessions for found in session.run(None, {"images": inputs})]
        features.append(np.concatenate([_pooled(m) for m in maps], axis=1))
        progress(min(start + _BLOCK, images), images)
    groups = (Group("shape", ATTRIBUTES["shape"], "a {}"), *open_vocabulary(None, BUILTIN).groups)
    texts = {g.name: GroupTexts(g, embed_group(encoder, g), embed_group(encoder, g, LEADS[1:]), None) for g in groups}
    return Pool(
        _whitened(np.concatenate(features), width),
        np.concatenate(embeddings),
        {name: getattr(scenes, name) for name in ATTRIBUTES},
        texts,
    )


def _trunk(name: str) -> ort.InferenceSession:
    """The convolutions of an embedded classifier: what its first and last layers make of an image."""
    path = resources.files("singaudit") / "demo" / "models" / f"{name}.onnx"
    model = onnx.load_from_string(path.read_bytes())
    maps = [node.output[0] for node in model.graph.node if node.op_type == "Relu"][:4]
    del model.graph.output[:]
    model.graph.output.extend(onnx.helper.make_tensor_value_info(m, onnx.TensorProto.FLOAT, None) for m in maps)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _pooled(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, c, h, w) -> (n, 6 c): the means of the four quarters, the largest value and the deviation."""
    n, c, h, w = maps.shape
    quarters = maps.reshape(n, c, 2, h // 2, 2, w // 2).mean(axis=(3, 5)).reshape(n, -1)
    return np.concatenate([quarters, maps.max(axis=(2, 3)), maps.std(axis=(2, 3))], axis=1)


def _whitened(features: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    values, vectors = np.linalg.eigh(centred.T @ centred / len(centred))
    leading = slice(-1, -width - 1, -1)
    # Signs of eigenvectors are arbitrary: fix them, so that another library gives the same worlds.
    vectors = vectors[:, leading] * np.sign(vectors[:, leading].sum(axis=0))
    return (centred @ (vectors / np.sqrt(values[leading]))).astype(np.float32)
