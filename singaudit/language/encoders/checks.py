"""Whether a vision-language model's tokenizer and image processor work, tried once when it is opened."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import PIL.Image

from singaudit.classifier.files.folder import Held
from singaudit.errors import LanguageError, short
from singaudit.machine import memory_ran_out
from singaudit.without_compiler import shapes_alone

_LARGEST_SIDE = 4096
_SLACK = 2**24
_SAVE = "Save it with save_pretrained(), or download all files of the hub's repository."
PROBES = (
    "a photo of a red dog", "an image of two blue cars", "a photo of a tall tree", "an image of the sea", "a cat",
    "a photo of a green cup", "rain", "a photo of a person outdoors at night", "an image of one old house", "two dogs",
    "a photo of an old wooden boat on a quiet lake", "a drawing of a small bird", "a photo of a white shirt",
    "a close-up of a round coin", "text on a sign", "a photo of the sea in the morning", "a photo of a loud street",
    "an image of three red apples", "a photo of a grey wall", "an image of a man", "a photo of a woman",
    "a photo of a truck on a road in the snow", "an image of clouds",
)  # fmt: skip
"""Texts that towers and tokenizers are tried on; the first two say different things."""


@contextmanager
def failures_told(name: str) -> Iterator[None]:
    """A model that opens but fails when it runs is the file's fault: raises ``LanguageError`` with what it raised."""
    try:
        yield
    except (TypeError, ValueError, RuntimeError, IndexError, AttributeError) as error:
        if memory_ran_out(error):
            raise
        reason = short(error) or type(error).__name__
        raise LanguageError(
            f"the vision-language model {name!r} opens but cannot be run: {reason}",
            hint="Its configuration does not fit its weights: download it again.",
        ) from error


def check_description(name: str, held: Sequence[Held], build: Callable[[], Any]) -> None:
    """Refuse a network far beyond its files of weights, which hold ``held``, before memory is set aside for it.

    ``build`` makes the network of the model ``name`` as its configuration, whose numbers were checked, describes it;
    it is asked to on torch's meta device. Raises ``LanguageError``; whatever ``build`` raises passes through.
    """
    with shapes_alone():
        network = build()
    described, numbers = sum(p.numel() for p in network.parameters()), sum(one.numbers for one in held)
    if described > 2 * numbers + _SLACK:  # of fewer, loading names those that are missing
        raise LanguageError(
            f"the configuration of {name!r} describes a network of {described:,} weights, its files hold {numbers:,}",
            hint="Use the complete checkpoint: nothing is filled with random weights.",
        )


def check_tokenizer(name: str, tokenizer: Any, vocabulary: int) -> None:
    """Refuse a tokenizer that says the same of different texts, or words that the model does not know.

    ``vocabulary`` is the number of token embeddings of the text tower. Raises ``LanguageError``.
    """
    ids: list[Sequence[int]] = tokenizer(list(PROBES[:2]), padding=False, truncation=True)["input_ids"]
    if list(ids[0]) == list(ids[1]) or max(max(one) for one in ids) >= vocabulary:
        raise LanguageError(
            f"expected a tokenizer that fits the vision-language model {name!r}, its tokens are not the model's",
            hint=_SAVE,
        )


def check_processor(name: str, processor: Any) -> None:
    """Refuse an image processor of absurd size, or one that fails on, or gives no numbers of, a plain image.

    Raises ``LanguageError``; whatever the processor itself raises passes through.
    """
    sizes = [getattr(processor, key, None) for key in ("size", "crop_size")]
    sides = [side for size in sizes if size for side in dict(size).values() if isinstance(side, int | float)]
    sides += [n for key in ("max_num_patches", "patch_size") if isinstance(n := getattr(processor, key, None), int)]
    if not all(1 <= side <= _LARGEST_SIDE for side in sides):
        raise LanguageError(
            f"expected images of 1 to {_LARGEST_SIDE} pixels a side for the vision-language model {name!r}, its image "
            f"processor asks for {max(sides, key=abs):g}",
            hint=_SAVE,
        )
    plain = PIL.Image.new("RGB", (48, 32), (10, 120, 240))
    made = processor(images=[plain], return_tensors="np")
    values = np.asarray(made["pixel_values"][0])
    if "spatial_shapes" in made:
        if values.ndim != 2 or np.prod(made["spatial_shapes"][0]) > len(values) or not np.isfinite(values).all():
            raise LanguageError(
                f"expected the image processor of {name!r} to make (patches, values) finite numbers of an image",
                hint=_SAVE,
            )
    elif values.ndim != 3 or len(values) != 3 or not np.isfinite(values).all():
        raise LanguageError(
            f"expected the image processor of {name!r} to make (3, height, width) finite numbers of an image",
            hint=_SAVE,
        )
