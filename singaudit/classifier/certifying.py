"""Certify the shadow copy of a classifier on images prepared as the classifier's own are."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image

from singaudit.classifier.interface import Classifier, Preprocessing
from singaudit.classifier.preprocessing import prepare

if TYPE_CHECKING:
    # Imports torch, which opening a model does not need.
    from singaudit.classifier.shadow.certificate import Certificate

_CELLS = 8
CERTIFIED_IMAGES = 16
"""Images the certificate is made on: enough for a top-1 agreement, few enough for seconds."""


def certify_on_images(classifier: Classifier, inputs: np.ndarray, seed: int) -> Certificate:
    """The shadow copy of its graph against ONNX Runtime on prepared images (n, ...). Raises ``ModelError``."""
    from singaudit.classifier.shadow.certificate import certify

    return certify(classifier.graph_path, inputs=inputs, seed=seed)


def certify_on_noise(classifier: Classifier) -> Certificate:
    """The same on random images, where there are no real ones; ``ran_on`` says so."""
    noise = np.stack([prepare(pixels, classifier.preprocessing) for pixels in _smooth_noise(classifier.preprocessing)])
    return replace(certify_on_images(classifier, noise, 0), ran_on=f"noise ({CERTIFIED_IMAGES} images)")


def _smooth_noise(how: Preprocessing) -> list[np.ndarray]:
    """(h, w, 3) uint8 images of random smooth colour fields.

    White noise drives a trained network so far from its data that its kinks lie closer than the steps of a central
    difference: a right gradient reached a cosine of 0.99 there, and 0.996 on smooth fields and photographs.
    """
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (CERTIFIED_IMAGES, _CELLS, _CELLS, 3), dtype=np.uint8)
    size = (how.width, how.height)
    return [np.asarray(PIL.Image.fromarray(c).resize(size, PIL.Image.Resampling.BICUBIC)) for c in coarse]
