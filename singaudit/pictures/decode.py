"""Decoded pictures: what an unCLIP decoder makes of translated features, before and after the null component changes.

Source: arXiv 2603.14610, section 3 and equation 19. Both sides are decoded from translated vectors (never one side from
a photograph), with the same noise, and the equivalent rescaled to the original's length. The decoder is an optional
extra: it shows what the translator says, and is no witness of what the classifier sees.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singaudit.errors import LanguageError
from singaudit.torchvision_import import import_torchvision

Array = NDArray[np.float64]

KARLO = "kakaobrain/karlo-v1-alpha"
"""Trained on the image embeddings of openai/clip-vit-large-patch14, 768 wide."""
INSTALL = "pip install 'singaudit[unclip]'"


def same_length(translated: Array, equivalent: Array) -> Array:
    """T f~ * |T f| / |T f~| for rows (n, d): the paper's equation 19. A zero row stays zero."""
    length = np.linalg.norm(equivalent, axis=1, keepdims=True)
    scale = np.linalg.norm(translated, axis=1, keepdims=True) / np.where(length > 0, length, 1.0)
    result: Array = equivalent * scale
    return result


class Decoder:
    """An opened unCLIP decoder; made by ``open_decoder``."""

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
                generator=torch.Generator("cpu").manual_seed(seed), decoder_num_inference_steps=steps,
                super_res_num_inference_steps=fine_steps, output_type="np",
            )  # fmt: skip
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


def open_decoder(name: str = KARLO, device: str = "cpu") -> Decoder:
    """Open an unCLIP pipeline in the hub's format: a folder, or a name on the model hub.

    Weights are read from safetensors only and remote code is never run. The prior, which turns texts into image
    embeddings, is not loaded. Raises LanguageError, with the line to type where the extra is missing.
    """
    import_torchvision()
    try:
        import diffusers
    except ImportError as error:
        raise LanguageError("decoded pictures need diffusers, which is not installed", hint=INSTALL) from error
    import transformers

    # Advice about deprecation and optional packages has no place in an audit's output.
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    variation = diffusers.UnCLIPImageVariationPipeline
    # Part by part: the index of a published pipeline names a place of this class from which it has moved, so that the
    # pipeline as a whole no longer opens; its constructor knows where the class is now.
    projection: Any = inspect.signature(variation.__init__).parameters["text_proj"].annotation
    kinds: dict[str, Any] = {
        "decoder": diffusers.UNet2DConditionModel, "text_encoder": transformers.CLIPTextModelWithProjection,
        "tokenizer": transformers.CLIPTokenizer, "text_proj": projection, "super_res_first": diffusers.UNet2DModel,
        "super_res_last": diffusers.UNet2DModel, "decoder_scheduler": diffusers.UnCLIPScheduler,
        "super_res_scheduler": diffusers.UnCLIPScheduler,
    }  # fmt: skip
    local = Path(name).is_dir()
    try:
        parts = {
            part: kind.from_pretrained(
                name, subfolder=part, local_files_only=local,
                **({} if part.endswith(("tokenizer", "scheduler")) else {"use_safetensors": True}),
            )
            for part, kind in kinds.items()
        }  # fmt: skip
    except Exception as error:  # the hub client and diffusers raise many kinds for one fact
        reason = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
        raise LanguageError(
            f"expected an unCLIP pipeline at {name!r}, but it could not be loaded: {reason}",
            hint="Pass a folder in the hub's format whose weights are safetensors; pickled weights are never loaded.",
        ) from error
    # Image embeddings come from features: no image is ever encoded. The pipeline asks its encoder for its element type
    # all the same, and the text tower has the same one.
    made: Any = variation(**parts, feature_extractor=None, image_encoder=parts["text_encoder"])
    pipeline = made.to(device)
    pipeline.set_progress_bar_config(disable=True)
    return Decoder(name, pipeline, int(parts["text_proj"].clip_extra_context_tokens_proj.in_features))
