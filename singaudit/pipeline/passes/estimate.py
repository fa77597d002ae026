"""How long an audit will take, from a timed batch of each model, said before the first image."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from singaudit.config import AuditConfig
from singaudit.dataset.interface import Image, ImageSource
from singaudit.engine.interface import Step
from singaudit.machine import cores, multiplies_bf16

_PIECE, _BATCH = 4, 16
"""Images of an encoder's piece, of which a core takes one, and of a batch at most."""
_LOOKED_AT = 4
"""Times as many images are read at most to find those of the timed batch."""
_REST_SECONDS = 20.0
"""Translator, measures, controls, certificate and report of a usual audit, 1,000 classes and 30 groups."""
_SHORT_SECONDS = 60.0
"""Below this nobody has to be told what would make it shorter."""
_SMALLER = ("openai/clip-vit-base-patch32", 1 / 18)
"""A smaller encoder than the default, and its share of the default's operations for an image."""


@dataclass(frozen=True)
class Estimate:
    """What was timed, and what it comes to."""

    images: int
    """Images that have to be looked at: those without cached rows, at most."""
    seconds: Mapping[str, float]
    """Per step: seconds an image, as all cores together take; reading, decoding and preparing in "read"."""
    texts: int
    """Texts that have to be embedded."""
    text_seconds: float
    """Seconds a text."""

    @property
    def total(self) -> float:
        """Seconds of the whole audit."""
        return self.images * sum(self.seconds.values()) + self.texts * self.text_seconds + _REST_SECONDS


def timed(
    source: ImageSource, steps: Mapping[str, Step], count: int, texts: int, text_seconds: float, on_cpu: bool
) -> Estimate | None:
    """Time one small batch of the first images of ``source``; None where every step may have rows of all ``count``.

    What was computed is not kept: it costs a few images, and twice as many where models are not ``on_cpu``.
    """
    to_do = {key: max(0, count - (len(step.shelf) if step.shelf is not None else 0)) for key, step in steps.items()}
    if not any(to_do.values()):
        return None
    size, started, pixels = min(_PIECE * cores(), _BATCH), time.perf_counter(), []
    for index in range(min(len(source), _LOOKED_AT * size)):
        image = source.load(index)
        if isinstance(image, Image):
            pixels.append(image.pixels)
        if len(pixels) == size:
            break
    if not pixels:
        return None
    reading, seconds = time.perf_counter() - started, {}
    for key, step in steps.items():
        if to_do[key]:
            model = step.model()
            first = model.prepare(pixels[0])  # opens it
            if not on_cpu:
                model.compute(np.stack([first] * len(pixels)))  # a card's first run fetches what it runs
            started = time.perf_counter()
            inputs = np.stack([model.prepare(one) for one in pixels])
            prepared = time.perf_counter()
            model.compute(inputs)
            seconds[key] = (time.perf_counter() - prepared) / len(pixels)
            reading += prepared - started
    seconds = {"read": reading / len(pixels) / cores(), **seconds}  # images are read and prepared side by side
    return Estimate(max(to_do.values()), seconds, texts, text_seconds)


def said(found: Estimate, config: AuditConfig, on_cpu: bool) -> list[str]:
    """The estimate for people, and what would make it shorter where it is long."""
    lines = [f"about {_duration(found.total)} for {found.images:,} images and {found.texts:,} texts"]
    if found.total < _SHORT_SECONDS:
        return lines
    encoder = found.seconds.get("encoder", 0.0)
    parts = [(encoder * found.images + found.text_seconds * found.texts, "the language model")]
    parts += [(found.seconds.get("classifier", 0.0) * found.images, "the classifier")]
    parts += [(found.seconds["read"] * found.images, "reading images")]
    largest, what = max(parts)
    lines[0] += f", most of it {what} ({_duration(largest)}); what is done is kept if you stop it"
    if what != "the language model":
        return lines
    ways = []
    if config.vlm == AuditConfig.model_fields["vlm"].default:
        name, share = _SMALLER
        ways.append(f"--vlm {name} (about {_duration(found.total - largest * (1 - share))}, less sharp words)")
    ways.append("embeddings made once for every model of these images (singaudit pack)")
    if on_cpu and config.precision == "fp32" and multiplies_bf16():
        ways.append(f"--precision bf16 (about {_duration(found.total - largest / 2)}, less exact)")
    if on_cpu:
        ways.append("a machine with a card")
    ways.append("parts on several machines (singaudit features --shard I/N)")
    return [*lines, f"  shorter: {'; '.join(ways)}"]


def _duration(seconds: float) -> str:
    """Seconds, minutes or hours, as precise as an estimate is."""
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.{0 if seconds >= 10 * size else 1}f} {unit}"
    return f"{max(1, round(seconds))} s"
