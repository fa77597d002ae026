"""Certify the shadow copy of a classifier on images prepared as the classifier's own are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import PIL.Image

from singaudit.classifier.interface import Certificate, Classifier, Preprocessing
from singaudit.classifier.preprocessing.resolve import prepare

_CELLS = 8
CERTIFIED_IMAGES = 16
"""Images the certificate is made on: enough for a top-1 agreement, few enough for seconds."""
_FEW_IMAGES = 2


def certify_on_noise(classifier: Classifier, device: str = "cpu", thorough: bool = True) -> Certificate:
    """The certificate on random images, where there are no real ones; ``ran_on`` says so. Raises ``ModelError``.

    ``thorough`` False: on two images and the gradient of one, whose cost is bounded: 2 passes of the copy for one image
    (6 of a network that is not in float32) and one backward, 2 of ONNX Runtime (4 where its modes differ), and 3 to 9
    in float64. What does not pass so is made thoroughly.
    """
    if not thorough:
        few = _on(classifier, device, _FEW_IMAGES, 1)
        if few.status != "failed":
            return few
    return _on(classifier, device, CERTIFIED_IMAGES, None)


def _on(classifier: Classifier, device: str, images: int, gradients: int | None) -> Certificate:
    noise = _smooth_noise(classifier.preprocessing)[:images]
    inputs = np.stack([prepare(pixels, classifier.preprocessing) for pixels in noise])
    found = classifier.certify(inputs, device=device, gradients=gradients)
    return replace(found, ran_on=f"noise ({images} images{'' if gradients is None else f', gradient of {gradients}'})")


def _smooth_noise(how: Preprocessing) -> list[np.ndarray]:
    """(h, w, 3) uint8 images of random smooth colour fields.

    White noise drives a trained network so far from its data that its kinks lie closer than the steps of a central
    difference: a right gradient reached a cosine of 0.99 there, and 0.996 on smooth fields and photographs.
    """
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (CERTIFIED_IMAGES, _CELLS, _CELLS, 3), dtype=np.uint8)
    size = (how.width, how.height)
    return [np.asarray(PIL.Image.fromarray(c).resize(size, PIL.Image.Resampling.BICUBIC)) for c in coarse]
