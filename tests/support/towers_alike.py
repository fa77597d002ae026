"""What tests of two ways to run the same towers share: inputs, a way that differs, and what no bit may depend on."""

import numpy as np
import torch

from singaudit.language.encoders.running import lean

TEXTS = ["a red star", "an image", "a photo of a large striped star on a blue background", "a blue star", "a red heart"]


def images_of(encoder, count=7):
    """Prepared images (count, ...) of noise."""
    rng = np.random.default_rng(1)
    return np.stack([encoder.prepare(rng.integers(0, 256, (40 + i, 70, 3), dtype=np.uint8)) for i in range(count)])


def differing(monkeypatch):
    """Let what computes less compute something else."""
    shorter = lean.of_transformers

    def wrong(model):
        found = shorter(model)
        found.text.positions = torch.nn.Parameter(found.text.positions * 2, requires_grad=False)
        return found

    monkeypatch.setattr(lean, "of_transformers", wrong)


def assert_alone_as_together(encoder):
    """No bit of an embedding depends on what is beside it."""
    images, texts = images_of(encoder), [*TEXTS, *(f"{i} red stars" for i in range(70))]
    whole = encoder.encode_images(images)
    np.testing.assert_array_equal(whole[[5, 2]], encoder.encode_images(images[[5, 2]]))
    np.testing.assert_array_equal(whole[4], encoder.encode_images(images[4:5])[0])
    said = encoder.encode_texts(texts)
    np.testing.assert_array_equal(said[60], encoder.encode_texts([texts[60]])[0])
    np.testing.assert_array_equal(said[[70, 2]], encoder.encode_texts([texts[70], texts[2]]))
