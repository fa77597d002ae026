"""The hashed search for scenes against the exact one: the same units, in which time.

On made images whose scenes are known: clusters of many sizes behind random networks, copies and frames of videos at any
distance up to where an image begins to show another scene, and kinds of parts that all look alike and are none.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from measuring import Outcome
from numpy.typing import NDArray

from singaudit.metrics.units import Units, find_units

Array = NDArray[np.float32]

SIZES = (20_000, 60_000)
FEATURES, WIDTH, CLASSES = 384, 256, 300
LATENT, WITHIN = 36, 24
"""Dimensions that images vary along, and those of them in which classes differ."""
_SEVERAL = ((0.15, 2, 5, 0.25), (0.2, 6, 60, 0.4))
"""Copies and videos: their share of the images, fewest and most images of a scene, largest distance within it."""
_PARTS, _ALIKE = 400, 0.1
"""Images of a kind of part, and their share."""


def _network(x: Array, widths: tuple[int, ...], rectified: bool, rng: np.random.Generator) -> Array:
    for i, width in enumerate(widths):
        x = x @ (rng.standard_normal((x.shape[1], width), np.float32) * np.float32(np.sqrt(2 / x.shape[1])))
        x += 0.3 * rng.standard_normal(width, np.float32)
        if rectified or i + 1 < len(widths):
            np.maximum(x, 0, out=x)
    return x + np.float32(0.05 * x.std()) * rng.standard_normal(x.shape, np.float32)


def made_images(count: int, seed: int = 0) -> tuple[Array, Array, NDArray[np.intp]]:
    """Features and embeddings of ``count`` images in random order, and the scene of each."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((CLASSES, WITHIN), np.float32)
    share = np.arange(1, CLASSES + 1) ** -0.7

    def scenes(number: int) -> Array:
        own = centres[rng.choice(CLASSES, number, p=share / share.sum())]
        spread = 0.6 * rng.gamma(2, 0.5, (number, 1)).astype(np.float32)
        here = own + spread * rng.standard_normal(own.shape, np.float32)
        return np.concatenate([here, rng.standard_normal((number, LATENT - WITHIN), np.float32)], axis=1)

    alike = int(_ALIKE * count) // _PARTS
    kinds = np.repeat(scenes(alike), _PARTS, axis=0)
    pose = (
        0.08 * rng.standard_normal((alike, _PARTS, 4), np.float32) @ rng.standard_normal((alike, 4, LATENT), np.float32)
    )
    images = [kinds + pose.reshape(-1, LATENT) + 0.02 * rng.standard_normal(kinds.shape, np.float32)]
    sizes = [np.ones(len(kinds), np.intp)]
    for part, fewest, most, apart in _SEVERAL:
        each = rng.integers(fewest, most + 1, int(part * count / (fewest + most) * 2))
        noise = np.repeat(10 ** rng.uniform(-2, np.log10(apart), len(each)), each)[:, None].astype(np.float32)
        shown = np.repeat(scenes(len(each)), each, axis=0)
        images.append(shown + noise * rng.standard_normal(shown.shape, np.float32))
        sizes.append(each)
    alone = count - sum(map(len, images))
    images.append(scenes(alone))
    sizes.append(np.ones(alone, np.intp))
    scene = np.repeat(np.arange(sum(map(len, sizes))), np.concatenate(sizes))
    order = rng.permutation(count)
    x = np.concatenate(images)[order]
    return _network(x, (256, 256, FEATURES), True, rng), _network(x, (256, WIDTH), False, rng), scene[order]


def scenes(quick: bool, sizes: tuple[int, ...] = SIZES) -> Outcome:
    """What either search joins."""
    rows: list[dict[str, Any]] = []
    for count in (3000,) if quick else sizes:
        features, embeddings, scene = made_images(count)
        exact, exact_seconds = _timed(lambda f=features, z=embeddings: find_units(f, z, exact_up_to=len(f)))
        hashed, hashed_seconds = _timed(lambda f=features, z=embeddings: find_units(f, z, exact_up_to=1000))
        one, other = _pairs(exact), _pairs(hashed)
        more = np.setdiff1d(other, one)
        rows.append(
            {
                "images": count,
                "scenes": int(scene.max()) + 1,
                "units, exact": exact.count,
                "units, hashed": hashed.count,
                "recall said": round(hashed.recall or 0.0, 4),
                "pairs, exact": len(one),
                "of them not hashed": round(float(np.mean(~np.isin(one, other))), 6),
                "hashed alone": len(more),
                "of them of two scenes": int(np.sum(scene[more // count] != scene[more % count])),
                "CPU-ms an image, exact": round(1e3 * exact_seconds / count, 2),
                "CPU-ms an image, hashed": round(1e3 * hashed_seconds / count, 2),
            }
        )
    found = Outcome(f"Scenes found by either search, {FEATURES} features, {WIDTH} of an embedding", rows)
    if not quick:
        worst = max(abs(row["units, hashed"] / row["units, exact"] - 1) for row in rows)
        found.expect("units, hashed against exact, largest relative difference", worst, at_most=0.001)
        found.expect(
            "pairs of the exact search that hashing misses", max(r["of them not hashed"] for r in rows), at_most=0.001
        )
    return found


def _timed(call: Callable[[], Units]) -> tuple[Units, float]:
    start = time.process_time()
    return call(), time.process_time() - start


def _pairs(units: Units) -> NDArray[np.intp]:
    """Pairs of images of one unit, each as one number."""
    count = len(units.of)
    found = [np.empty(0, np.intp)]
    for unit in units.joined:
        first, second = np.triu_indices(len(unit), 1)
        found.append(np.array(unit)[first] * count + np.array(unit)[second])
    return np.concatenate(found)
