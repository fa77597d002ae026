"""Photographs that nobody took: random, but with the spectrum and the file sizes of real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SHORT_SIDE = 288
_LONG_SIDES = (288, 384, 384, 432)
# Luma and two chroma planes: photographs vary mostly in brightness.
_MIX = np.array([[1.0, 1.0, 1.0], [0.45, 0.0, -0.45], [-0.2, 0.35, -0.2]])


def photograph(seed: int) -> Image.Image:
    """One picture: noise with about the spectrum of natural scenes, and a few sharp-edged shapes."""
    rng = np.random.default_rng(seed)
    height, width = SHORT_SIDE, int(rng.choice(_LONG_SIDES))
    if rng.random() < 0.25:
        height, width = width, height
    planes = np.stack([_pink(rng, height, width) for _ in range(3)], axis=2)
    pixels = np.clip(rng.uniform(90, 150) + planes @ _MIX * rng.uniform(35, 60), 0, 255)
    image = Image.fromarray(pixels.astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(2, 7))):
        x, y = rng.integers(0, width), rng.integers(0, height)
        box = (int(x), int(y), int(x + rng.integers(8, 120)), int(y + rng.integers(8, 120)))
        colour = tuple(int(v) for v in rng.integers(0, 256, 3))
        (draw.ellipse if rng.random() < 0.5 else draw.rectangle)(box, fill=colour)
    return image


def _pink(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float64]:
    """(height, width) noise with amplitude falling as 1/f^1.25, standard deviation 1."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.standard_normal((height, width))) / frequency**1.25
    plane = np.fft.irfft2(spectrum, s=(height, width))
    return plane / plane.std()


def write(folder: Path, count: int) -> None:
    """``count`` JPEG files of quality 82 into ``folder``."""
    for seed in range(count):
        photograph(seed).save(folder / f"{seed:04d}.jpg", quality=82)
