"""What an audit knows about its images and models when pictures are made."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singaudit.classifier.interface import Classifier
from singaudit.dataset.interface import ImageLoader
from singaudit.language.interface import Encoder
from singaudit.metrics.subject import Subject
from singaudit.pictures.units import Units


@dataclass(frozen=True)
class Audited:
    """What an audit knows about its images and models when pictures are made."""

    classifier: Classifier
    """The deployed model."""
    encoder: Encoder
    """The vision-language model."""
    source: ImageLoader
    """Of the audited images."""
    indices: NDArray[np.intp]
    """(n,) positions of the images in the source."""
    subject: Subject
    """Features, embeddings, hashes, null space of the n images."""
    logits: NDArray[np.float32]
    """(n, c)."""
    units: Units
    """What differences are counted in."""
