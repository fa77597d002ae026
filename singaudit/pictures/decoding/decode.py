"""Decoded pictures: what an unCLIP decoder makes of translated features, before and after the null component changes.

Source: arXiv 2603.14610, section 3 and equation 19. Both sides are decoded from translated vectors (never one side from
a photograph), with the same noise, and the equivalent rescaled to the original's length. The decoder is an optional
extra: it shows what the translator says, and is no witness of what the classifier sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singaudit.errors import LanguageError

Array = NDArray[np.float64]


def same_length(translated: Array, equivalent: Array) -> Array:
    """T f~ * |T f| / |T f~| for rows (n, d): the paper's equation 19. A zero row stays zero."""
    length = np.linalg.norm(equivalent, axis=1, keepdims=True)
    scale = np.linalg.norm(translated, axis=1, keepdims=True) / np.where(length > 0, length, 1.0)
    result: Array = equivalent * scale
    return result


class Decoder:
    """An opened unCLIP decoder; made by ``unclip.open_decoder``."""

    def __init__(self, name: str, pipeline: Any, width: int) -> None:
        self.name = name
        self.width = width
        """d: width of the image embeddings it decodes."""
        self._pipeline = pipeline

    def __call__(
        self, embeddings: NDArray[np.floating], seed: int, *, steps: int = 25, fine_steps: int = 7
    ) -> NDArray[np.uint8]:
        """Pictures (n, h, w, 3) uint8 of embeddings (n, d), of the length the decoder was trained with.

        All n start from the same noise, drawn from ``seed``, and meet the same noise at every step, so that they differ
        by their embeddings alone. Raises LanguageError for embeddings of another width.
        """
        import torch

        if embeddings.shape[1] != self.width:
            raise LanguageError(
                f"expected image embeddings of {self.width} numbers for {self.name}, got {embeddings.shape[1]}",
                hint="Use the vision-language model that the decoder was trained with "
                "(Karlo: openai/clip-vit-large-patch14).",
            )
        pictures = []
        for row in np.asarray(embeddings, dtype=np.float32):
            # One at a time with a fresh generator: a batch would draw other noise for each of its rows.
            found = self._pipeline(
                image_embeddings=torch.from_numpy(row[None]).to(self._pipeline.device, self._pipeline.dtype),
                generator=torch.Generator("cpu").manual_seed(seed),
                decoder_num_inference_steps=steps,
                super_res_num_inference_steps=fine_steps,
                output_type="np",
            )
            pictures.append(np.rint(np.clip(found.images[0], 0, 1) * 255).astype(np.uint8))
        return np.stack(pictures)

    def pairs(
        self, translated: Array, equivalent: Array, length: Array, seeds: Sequence[int], **steps: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Pictures of T f and of T f~ (n, d each): two arrays (seeds, n, h, w, 3) uint8.

        ``length`` (n,) is what |T f| should be for the decoder: that of the vision-language model's own embedding of
        the image before it was normalised. Both sides get it (equation 19).
        """
        norm = np.linalg.norm(translated, axis=1)
        before = translated * (length / np.where(norm > 0, norm, 1.0))[:, None]
        after = same_length(before, equivalent)
        return (
            np.stack([self(before, seed, **steps) for seed in seeds]),
            np.stack([self(after, seed, **steps) for seed in seeds]),
        )


class ImageTower:
    """The image encoder that a decoder was trained with; made by ``unclip.open_tower``."""

    def __init__(self, name: str, model: Any, extractor: Any) -> None:
        self.name = name
        self.width = int(model.config.projection_dim)
        """d: width of its embeddings."""
        self._model, self._extractor = model, extractor

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> Array:
        """Embeddings (n, d) float64 of images (h, w, 3) uint8, not normalised."""
        import torch
        from PIL import Image

        found = []
        with torch.inference_mode():
            for pixels in images:
                values = self._extractor(images=[Image.fromarray(pixels)], return_tensors="pt")["pixel_values"]
                found.append(self._model(values.to(self._model.device)).image_embeds[0].double().cpu().numpy())
        return np.stack(found)
