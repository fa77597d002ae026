"""Decoded pictures of audited images: both sides from translated vectors, saved, read back and compared.

They show what the translator says, drawn by a decoder of the language model's image space: no equivalents, whose logits
would be kept, and no witness beside that language model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singaudit.dataset.interface import Image, ImageSource
from singaudit.errors import LanguageError
from singaudit.metrics.scores import unit
from singaudit.pictures.audited import Audited
from singaudit.pictures.decoding.decode import Decoder, ImageTower
from singaudit.pictures.neighbours import translated_by_removal
from singaudit.pictures.round_trip import Difference, Reading, differences, png, read_back

Array = NDArray[np.float64]

IMAGES = 4
"""Images that are decoded: each takes twice as many pictures as there are seeds, of minutes each on a CPU."""
SEEDS = (0, 1, 2)
"""Of the noise."""
COMPARED = 8
"""Images by which two image encoders are compared."""
# The same weights differ by resizing and by half precision; other weights give angles near 90 degrees.
_SAME = 0.98


@dataclass(frozen=True)
class Decoded:
    """One image with one noise: T f and T f~ decoded."""

    row: int
    """Position of the image among the audited."""
    seed: int
    """Of the noise, the same on both sides."""
    original: bytes
    """PNG decoded from T f."""
    picture: bytes
    """PNG decoded from T f~, its null component replaced by the mean one."""
    difference: Difference
    """Between the two files, by the deployed model and the vision-language model; arrays of length 1."""
    control: bytes
    """PNG decoded from T f with the next noise: what the noise alone changes."""
    control_difference: Difference
    """Between ``original`` and ``control``."""
    logits: tuple[NDArray[np.float32], NDArray[np.float32]]
    """(c,) each, of original and picture."""


def check_same_space(
    tower: ImageTower, source: ImageSource, indices: NDArray[np.intp], embeddings: NDArray[np.floating], encoder: str
) -> None:
    """Raise ``LanguageError`` unless the decoder's own image encoder embeds the first images as ``encoder`` did.

    ``embeddings`` (n, d) are unit rows of the images at ``indices`` of ``source``.
    """
    if tower.width != embeddings.shape[1]:
        raise LanguageError(
            f"expected a decoder of the image embeddings of {encoder}, {embeddings.shape[1]} wide; {tower.name} "
            f"decodes embeddings of {tower.width}",
            hint="Audit with the vision-language model whose images it decodes "
            "(Karlo: --vlm openai/clip-vit-large-patch14).",
        )
    loaded = [(k, source.load(int(i))) for k, i in enumerate(indices[:COMPARED])]
    there = [(k, image.pixels) for k, image in loaded if isinstance(image, Image)]
    if not there:
        raise LanguageError(
            f"expected images to compare {tower.name} with {encoder}, none can be read any more",
            hint="Audit the images where they lie, or leave --decode out.",
        )
    own = unit(tower([pixels for _, pixels in there]))
    cosine = float(np.median(np.sum(own * unit(embeddings[[k for k, _ in there]]), axis=1)))
    if not cosine >= _SAME:
        raise LanguageError(
            f"expected a decoder that shares the image encoder of {encoder}; the one in {tower.name} embeds the same "
            f"{len(there)} images otherwise (median cosine {cosine:.2f}, needed {_SAME})",
            hint="Equal width is not enough: audit with the vision-language model it was trained with "
            "(Karlo: --vlm openai/clip-vit-large-patch14).",
        )


def decode_images(
    audited: Audited,
    rows: Sequence[int],
    decoder: Decoder,
    tower: ImageTower,
    *,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Decoded]:
    """Images ``rows`` with each of ``SEEDS``, both sides; ``stop`` ends it after the image at hand.

    Both sides get the length of the image's embedding by ``tower``, the decoder's own encoder (equation 19). The
    control of each pair is the original's vector with the next seed's noise.
    """
    loaded = [(row, audited.source.load(int(audited.indices[row]))) for row in rows]
    there = [(row, image.pixels) for row, image in loaded if isinstance(image, Image)]
    if not there:
        return []
    before, after = translated_by_removal(audited.subject, np.array([row for row, _ in there], np.intp))
    length = np.linalg.norm(tower([pixels for _, pixels in there]), axis=1)
    result: list[Decoded] = []
    for k, (row, _) in enumerate(there):
        if stop():
            break
        one = slice(k, k + 1)
        drawn = []
        for done, seed in enumerate(SEEDS, 1):
            drawn.append([png(side[0, 0]) for side in decoder.pairs(before[one], after[one], length[one], (seed,))])
            progress(k * len(SEEDS) + done, len(there) * len(SEEDS))
        result += _compared(audited, row, drawn)
    return result


def _compared(audited: Audited, row: int, drawn: list[list[bytes]]) -> list[Decoded]:
    """``drawn``: per seed the files of both sides."""
    head, space = audited.classifier.head, audited.subject.space
    originals, pictures = ([pair[side] for pair in drawn] for side in (0, 1))
    first, second = (read_back(files, audited.classifier, audited.encoder) for files in (originals, pictures))
    order = np.roll(np.arange(len(drawn)), -1)
    others = Reading(first.features[order], first.logits[order], first.embeddings[order])
    between = differences(first, second, space, head.activation, audited.units, None)
    noise = differences(first, others, space, head.activation, audited.units, None)
    return [
        Decoded(
            row,
            seed,
            originals[k],
            pictures[k],
            between.at(k),
            originals[order[k]],
            noise.at(k),
            (first.logits[k], second.logits[k]),
        )
        for k, seed in enumerate(SEEDS)
    ]
