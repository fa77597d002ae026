"""Round trip: a generated picture counts as what it is after saving, reading back and running the deployed model.

Both sides of a pair are saved as 8-bit PNG and decoded like any file; the deployed model gives logits and features, the
vision-language model's own image tower gives the reading. Nothing is taken from the optimisation or the translator.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from singaudit.classifier.interface import Classifier
from singaudit.classifier.preprocessing.resolve import prepare
from singaudit.dataset.decode import decode
from singaudit.geometry.null_space import NullSpace
from singaudit.language.interface import Encoder
from singaudit.metrics.scores import image_score, text_angles
from singaudit.pictures.units import Units

Array = NDArray[np.float64]

_BATCH = 16


@dataclass(frozen=True)
class Reading:
    """What the deployed model and the vision-language model make of saved pictures; one row each."""

    features: NDArray[np.float32]
    """(n, m)."""
    logits: NDArray[np.float32]
    """(n, c)."""
    embeddings: NDArray[np.float32]
    """(n, d) unit image embeddings."""


@dataclass(frozen=True)
class Difference:
    """How the second picture of each pair differs from the first."""

    logit: Array
    """(n,) largest |difference| of any logit, in standard deviations of that logit over the audited images."""
    probability: Array | None
    """(n,) largest |difference| of any class probability, 0 to 1; None where the head gives no probabilities."""
    top1_kept: NDArray[np.bool_]
    """(n,) whether the predicted class is the same."""
    null_move: Array
    """(n,) |P_n (f - f')| in typical null norms."""
    image_score_deg: Array
    """(n,) IS: angle between the image embeddings."""
    attribute_score_deg: Array | None
    """(n,) AS toward each pair's text: positive when the second is closer; None without texts."""

    def at(self, k: int) -> Difference:
        """The difference of pair ``k`` alone."""
        some = slice(k, k + 1)
        return Difference(
            self.logit[some],
            None if self.probability is None else self.probability[some],
            self.top1_kept[some],
            self.null_move[some],
            self.image_score_deg[some],
            None if self.attribute_score_deg is None else self.attribute_score_deg[some],
        )


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Pixels (h, w, 3) uint8 as a PNG file; the same pixels give the same bytes."""
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def read_back(files: Sequence[bytes], classifier: Classifier, encoder: Encoder) -> Reading:
    """Decode files and run them through the deployed model and the image tower, each with its own preprocessing."""
    parts = []
    for start in range(0, len(files), _BATCH):
        pixels = [decode(data) for data in files[start : start + _BATCH]]
        features, logits = classifier.forward(np.stack([prepare(p, classifier.preprocessing) for p in pixels]))
        parts.append((features, logits, encoder.encode_images(np.stack([encoder.prepare(p) for p in pixels]))))
    features, logits, embeddings = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Reading(features, logits, embeddings)


def differences(
    first: Reading, second: Reading, space: NullSpace, activation: str, units: Units, texts: Array | None
) -> Difference:
    """Compare pairs of pictures, in ``units``; ``texts`` (n, d) holds one text a pair."""
    a, b = first.logits.astype(np.float64), second.logits.astype(np.float64)
    before, after = probabilities(a, activation), probabilities(b, activation)
    toward = None
    if texts is not None:
        toward = _own_angle(first.embeddings, texts) - _own_angle(second.embeddings, texts)
    return Difference(
        logit=np.max(np.abs(a - b) / units.spread, axis=1),
        probability=None if before is None or after is None else np.max(np.abs(before - after), axis=1),
        top1_kept=top1(a) == top1(b),
        null_move=np.linalg.norm(
            space.null_part(second.features.astype(np.float64) - first.features.astype(np.float64)), axis=1
        )
        / units.typical_null,
        image_score_deg=image_score(first.embeddings, second.embeddings),
        attribute_score_deg=toward,
    )


def probabilities(logits: Array, activation: str) -> Array | None:
    """Class probabilities (n, c) of logits (n, c); None where the head gives none."""
    if activation == "softmax" and logits.shape[1] > 1:
        shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
        softmax: Array = shifted / shifted.sum(axis=1, keepdims=True)
        return softmax
    if activation == "sigmoid":
        sigmoid: Array = np.exp(-np.logaddexp(0.0, -logits))
        return sigmoid
    return None


def top1(logits: Array) -> NDArray[np.intp]:
    """(n,) predicted class; of a single logit its sign."""
    return np.argmax(logits, axis=1) if logits.shape[1] > 1 else (logits[:, 0] > 0).astype(np.intp)


def _own_angle(embeddings: NDArray[np.floating], texts: Array) -> Array:
    """(n,) angle of each row with its own text, degrees."""
    found = np.empty(len(embeddings))
    for start in range(0, len(embeddings), 1024):
        some = slice(start, start + 1024)
        found[some] = np.diagonal(text_angles(embeddings[some], texts[some]))
    return found


def equally_far(
    originals: NDArray[np.uint8], pictures: NDArray[np.uint8], pool: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], NDArray[np.intp]]:
    """Control pictures (n, h, w, 3), as far from ``originals`` in pixels as ``pictures`` are, and which of ``pool``
    each is.

    From the real images of ``pool`` (k, h, w, 3) the one whose distance is nearest to the picture's from above, moved
    toward the original until the root mean square difference is the same; where all are nearer than the picture, the
    farthest as it is.
    """
    flat = pool.reshape(len(pool), -1).astype(np.float64)
    controls, chosen = np.empty_like(originals), np.empty(len(originals), np.intp)
    for i, (original, picture) in enumerate(zip(originals, pictures, strict=True)):
        start = original.reshape(-1).astype(np.float64)
        wanted = float(np.linalg.norm(picture.reshape(-1) - start))
        distance = np.linalg.norm(flat - start, axis=1)
        far = np.flatnonzero(distance >= wanted)
        chosen[i] = far[np.argmin(distance[far])] if len(far) else int(np.argmax(distance))
        share = min(1.0, wanted / max(float(distance[chosen[i]]), 1e-12))
        moved = start + share * (flat[chosen[i]] - start)
        controls[i] = np.rint(moved).clip(0, 255).astype(np.uint8).reshape(original.shape)
    return controls, chosen
