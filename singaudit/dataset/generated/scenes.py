"""Scenes of the generated world: which attributes exist, how image ``i`` gets its own, how a scene is put in words."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "shape": ("circle", "square", "triangle", "star", "cross", "ring", "heart", "crescent"),
    "colour": ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink"),
    "background_colour": ("black", "white", "gray", "brown", "navy", "beige"),
    "background_pattern": ("plain", "lined", "checkered", "dotted"),
    "texture": ("solid", "striped", "spotted"),
    "size": ("small", "large"),
}
"""Values of every named attribute; no word serves two attributes, so that a caption is never ambiguous."""

_NUISANCES = ("radius", "centre_x", "centre_y", "rotation", "phase_x", "phase_y")
_DRAWS = len(ATTRIBUTES) + len(_NUISANCES) + 6  # the last six: tint of the shape and of the background
_U64 = np.uint64


@dataclass(frozen=True)
class Scenes:
    """What is to be drawn, for n images. Named attributes are positions in ``ATTRIBUTES``; the rest lies in [0, 1)."""

    shape: NDArray[np.int64]
    """(n,)."""
    colour: NDArray[np.int64]
    """(n,): of the shape."""
    background_colour: NDArray[np.int64]
    """(n,)."""
    background_pattern: NDArray[np.int64]
    """(n,)."""
    texture: NDArray[np.int64]
    """(n,): of the shape."""
    size: NDArray[np.int64]
    """(n,)."""
    radius: NDArray[np.float32]
    """(n,): place within the size's range of radii."""
    centre_x: NDArray[np.float32]
    """(n,): place within the range of centres, left to right."""
    centre_y: NDArray[np.float32]
    """(n,): the same, top to bottom."""
    rotation: NDArray[np.float32]
    """(n,): place within the range of angles."""
    phase_x: NDArray[np.float32]
    """(n,): shift of texture and pattern, in periods."""
    phase_y: NDArray[np.float32]
    """(n,): the same in the other direction."""
    tint: NDArray[np.float32]
    """(n, 3): place within the tolerance around the shape's colour."""
    background_tint: NDArray[np.float32]
    """(n, 3): the same for the background."""

    def __len__(self) -> int:
        return len(self.shape)

    def with_values(self, **values: NDArray[np.int64]) -> Scenes:
        """The same scenes with other attribute values, everything else untouched: counterfactuals.

        ``values``: (n,) int64 per attribute name, e.g. ``colour=...``.
        """
        unknown = set(values) - set(ATTRIBUTES)
        if unknown:
            raise ValueError(f"expected attributes among {', '.join(ATTRIBUTES)}, got {', '.join(sorted(unknown))}")
        changed: dict[str, Any] = dict(values)
        return dataclasses.replace(self, **changed)

    def words(self, row: int) -> dict[str, str]:
        """Attribute name to value, in words, of one scene."""
        return {name: names[int(getattr(self, name)[row])] for name, names in ATTRIBUTES.items()}


def draw_scenes(indices: NDArray[np.int64], seed: int) -> Scenes:
    """Scenes of the images ``indices`` (n,) int64 in the world ``seed``.

    Scene i depends on (seed, i) alone: a counter is hashed (SplitMix64), there is no generator state. A world of
    100 images is therefore the beginning of a world of 1000, in whatever order or batches it is read. Attributes
    are uniform and independent.
    """
    counter = indices.astype(_U64)[:, None] * _U64(_DRAWS) + np.arange(_DRAWS, dtype=_U64)
    world = _hash(np.asarray([seed], dtype=_U64))
    bits = _hash(np.bitwise_xor(counter, world)) >> _U64(40)
    uniform = bits.astype(np.float32) / np.float32(2**24)
    attributes: dict[str, Any] = {
        name: (uniform[:, k] * len(names)).astype(np.int64) for k, (name, names) in enumerate(ATTRIBUTES.items())
    }
    first = len(ATTRIBUTES)
    nuisances: dict[str, Any] = {name: uniform[:, first + k] for k, name in enumerate(_NUISANCES)}
    return Scenes(**attributes, **nuisances, tint=uniform[:, -6:-3], background_tint=uniform[:, -3:])


def _hash(counter: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's output function (Steele, Lea, Flood 2014) of 64-bit counters; wraps around on purpose."""
    with np.errstate(over="ignore"):
        z: Any = (counter + _U64(1)) * _U64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> _U64(30))) * _U64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> _U64(27))) * _U64(0x94D049BB133111EB)
        return np.bitwise_xor(z, z >> _U64(31))


def phrase(words: Mapping[str, str]) -> str:
    """A noun phrase that names just the attributes in ``words`` (attribute name to value).

    ``{"colour": "red", "background_pattern": "plain"}`` gives "a red shape on a plain background"; the noun is
    "shape" where the shape is not among them. No words at all give "a shape".
    """
    noun = [words[name] for name in ("size", "texture", "colour") if name in words] + [words.get("shape", "shape")]
    text = _with_article(noun)
    ground = [words[name] for name in ("background_colour", "background_pattern") if name in words]
    return f"{text} on {_with_article([*ground, 'background'])}" if ground else text


def captions(scenes: Scenes) -> list[str]:
    """One caption per scene that names every attribute: "a small striped red star on a navy checkered background"."""
    return [phrase(scenes.words(row)) for row in range(len(scenes))]


def _with_article(words: list[str]) -> str:
    return ("an " if words[0][0] in "aeiou" else "a ") + " ".join(words)
