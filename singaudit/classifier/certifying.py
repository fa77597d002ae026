"""Certify the shadow copy of a classifier on images prepared as the classifier's own are."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from singaudit.classifier.interface import Classifier
from singaudit.classifier.probe import random_images

if TYPE_CHECKING:
    # Imports torch, which opening a model does not need.
    from singaudit.classifier.shadow.certificate import Certificate

CERTIFIED_IMAGES = 16
"""Images the certificate is made on: enough for a top-1 agreement, few enough for seconds."""


def certify_on_images(path: str, inputs: np.ndarray, seed: int) -> Certificate:
    """The shadow copy of the file against ONNX Runtime on prepared images (n, ...). Raises ``ModelError``."""
    from singaudit.classifier.shadow.certificate import certify

    return certify(path, inputs=inputs, seed=seed)


def certify_on_noise(path: str, classifier: Classifier) -> Certificate:
    """The same on random images, where there are no real ones; ``ran_on`` says so."""
    noise = random_images(classifier.preprocessing, CERTIFIED_IMAGES, 0)
    return replace(certify_on_images(path, noise, 0), ran_on=f"noise ({CERTIFIED_IMAGES} images)")
