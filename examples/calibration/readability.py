"""Are groups read zero-shot only where images show them? Images that vary as a language model's texts do; a table.

    python examples/calibration/readability.py --texts texts.npy

``texts.npy`` (k, d) holds text embeddings of 150 words or more by a real CLIP. In each world 64 of them stand for the
words that no image shows, and groups are made of others. Images vary along all texts alike, and noise; by a group's own
values as well, or not at all: then nothing about it can be read, though images differ along its texts.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from singaudit.language.concepts import numbered_group
from singaudit.metrics.findings import THRESHOLDS
from singaudit.metrics.readability import TextTests
from singaudit.metrics.subject import GroupTexts

WORDS, IMAGES, NOISE = 64, 1000, 0.5


def passes(texts: NDArray[np.float64], values: int, strength: float, seed: int) -> tuple[bool, bool]:
    """Whether a group passes against random directions alone, and against words as well."""
    generator = np.random.default_rng([seed, values])
    order = generator.permutation(len(texts))
    words, group = texts[order[:WORDS]], texts[order[WORDS : WORDS + values]]
    spread = np.linalg.svd(texts - texts.mean(axis=0), full_matrices=False)[1:]
    z = (generator.normal(size=(IMAGES, len(spread[0]))) * spread[0]) @ spread[1] / np.sqrt(len(texts))
    z += NOISE * generator.normal(size=z.shape) * np.sqrt(np.mean(np.var(texts, axis=0)))
    z += strength * (group - group.mean(axis=0))[generator.integers(0, values, IMAGES)]
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    images = SimpleNamespace(
        seed=seed, embeddings=z.astype(np.float32), within=np.zeros(IMAGES, np.intp), concept_texts=texts
    )
    asked = GroupTexts(numbered_group("group", values), group, group, None, words)
    test = TextTests(cast(Any, images)).of(asked, cast(Any, SimpleNamespace(judged=True, present=np.arange(values))))
    assert test is not None
    turned = (1 + test.beaten * test.draws) / (1 + test.draws)
    return turned <= THRESHOLDS.text_p, test.p <= THRESHOLDS.text_p


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--worlds", type=int, default=12)
    given = parser.parse_args()
    every = np.load(given.texts, mmap_mode="r", allow_pickle=False).astype(np.float64)
    every /= np.linalg.norm(every, axis=1, keepdims=True)
    print("| images vary by the group's values | values | pass against random directions | and against words |")
    print("|---|---|---|---|")
    for strength in (0.0, 0.5, 1.0):
        for values in (2, 4, 8):
            found = np.array([passes(every, values, strength, seed) for seed in range(given.worlds)])
            shown = f"{strength:g} of their distance" if strength else "not at all"
            alone, both = found.sum(axis=0)
            print(f"| {shown} | {values} | {alone} of {len(found)} | {both} of {len(found)} |", flush=True)
