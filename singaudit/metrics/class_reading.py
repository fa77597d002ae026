"""How well a vision-language model itself names the true classes of images: the first question to the instrument."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from singaudit.metrics.intervals import Estimate, share_estimate
from singaudit.metrics.scores import unit

Array = NDArray[np.float64]
_BLOCK = 4096


def class_reading(
    embeddings: NDArray[np.floating], class_texts: Array, truth: NDArray[np.integer], units: NDArray[np.integer]
) -> tuple[Estimate, float]:
    """Share of images whose nearest class text is their true class, and the share by chance.

    ``embeddings`` (n, d) and ``class_texts`` (c, d) are centred each at their mean, which takes the gap between images
    and texts out; ``truth`` (n,) are positions of classes. ``units`` (n,) are the images' scenes, which weigh equally
    and are what n counts. Chance is the agreement of labels permuted among the images.
    """
    mean = embeddings.mean(axis=0, dtype=np.float64)
    texts = unit(class_texts - class_texts.mean(axis=0)).T
    read = np.concatenate(
        [
            np.argmax((embeddings[start : start + _BLOCK] - mean) @ texts, axis=1)
            for start in range(0, len(embeddings), _BLOCK)
        ]
    )
    of = np.unique(units, return_inverse=True)[1]
    right = np.bincount(of, read == truth) / np.bincount(of)
    shares = [np.bincount(each, minlength=len(class_texts)) / len(each) for each in (read, truth)]
    return share_estimate(right), float(shares[0] @ shares[1])
