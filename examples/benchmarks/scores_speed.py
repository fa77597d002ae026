"""Attribute scores of many images for many texts: one matrix product against one call per text."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from measuring import Outcome, in_turn
from numpy.typing import NDArray

from singaudit.metrics.scores import attribute_score, unit

IMAGES, TEXTS, WIDTH = 10_000, 1_173, 768


def one_text(
    translated: NDArray[np.floating], equivalent: NDArray[np.floating], text: NDArray[np.floating]
) -> NDArray[np.floating]:
    """AS for one text, written as the definition reads: normalise both sides, one dot product each, arccos."""
    angles = []
    for rows in (translated, equivalent):
        directions = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        angles.append(np.degrees(np.arccos(np.clip(directions @ text, -1, 1))))
    return angles[0] - angles[1]


def looped(
    original: NDArray[np.floating], equivalent: NDArray[np.floating], texts: NDArray[np.floating]
) -> Callable[[], NDArray[np.floating]]:
    """One call per text."""
    return lambda: np.stack([one_text(original, equivalent, text) for text in texts], axis=1)


def speed(quick: bool) -> Outcome:
    """Seconds for all scores, and the largest difference between the ways."""
    n, k = (500, 60) if quick else (IMAGES, TEXTS)
    rng = np.random.default_rng(0)
    original = rng.normal(size=(n, WIDTH))
    equivalent = original + 0.5 * rng.normal(size=(n, WIDTH))
    texts = unit(rng.normal(size=(k, WIDTH)))
    single = [a.astype(np.float32) for a in (original, equivalent, texts)]
    ways = {
        "singaudit, float64": lambda: attribute_score(original, equivalent, texts),
        "one call per text, float64": looped(original, equivalent, texts),
        "one call per text, float32": looped(*single),
    }
    found: dict[str, NDArray[np.floating]] = {}
    calls = {way: lambda way=way, call=call: found.update({way: call()}) for way, call in ways.items()}
    seconds = in_turn(calls, 2)
    truth = found["one call per text, float64"]
    rows = [
        {
            "way": way,
            "seconds": seconds[way],
            "times faster than it": seconds[way] / seconds["singaudit, float64"],
            "largest difference (degrees)": float(np.abs(found[way] - truth).max()),
        }
        for way in ways
    ]
    outcome = Outcome(f"Attribute scores of {n:,} images for {k:,} texts of width {WIDTH}", rows)
    if not quick:
        outcome.expect("times faster than one call per text, float64", rows[1]["times faster than it"], at_least=30)
        outcome.expect("times faster than one call per text, float32", rows[2]["times faster than it"], at_least=30)
    return outcome
