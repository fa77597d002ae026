"""Worlds with the geometry of a real classifier and a real CLIP: findings counted as in the other rows.

    python examples/calibration/clip.py --reference sing_efficientnet_lite0.npz --worlds 20 -o clip.jsonl

The archive is not shipped: ``head_weight`` (1000, 1280) and ``head_bias`` of a real ImageNet classifier, its
``features`` (100, 1280) of photographs, a published translator's ``translator_weight`` (768, 1280) and CLIP's
``text_embeddings`` (173, 768) of attributes. An image's features are two photographs' mixed, with noise of a third of
their spread; attributes are drawn from the 173 texts, four values each, and coded as in the other rows. Embeddings of
images have a modality gap (image to image cosine near 0.48, image to text 0.15, own text 0.18); half of what they vary
by comes from the features, through the translator.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singaudit import audit_arrays
from singaudit.demo.calibration.roles import Role
from singaudit.demo.calibration.rows import Row
from singaudit.demo.calibration.settings import rows_table, summarise
from singaudit.metrics.scores import unit

Array = NDArray[np.float64]

ROLES: dict[str, Role] = {"ignored": "ignored", "used": "used", "redundant": "redundant", "absent": "absent"}
VALUES, CODE, SPARE = 4, 4.0, 1 / 3
GAP, OTHERS, OWN = 0.48, 0.15, 0.18


def plant(data: dict[str, Any], images: int, behind: int, seed: int) -> dict[str, Any]:
    """What ``audit_arrays`` takes."""
    rng = np.random.default_rng([seed, 23])
    weight, real = (data[name].astype(np.float64) for name in ("head_weight", "features"))
    n, (c, m) = images + behind, weight.shape
    principal = np.linalg.svd(weight, full_matrices=True)[2].T
    parts = {"seen": principal[:, :c], "null": principal[:, c:]}
    first, second = rng.integers(len(real), size=(2, n))
    mean = real.mean(axis=0)
    features = mean + np.sqrt(0.6) * (real[first] - mean) + np.sqrt(0.4) * (real[second] - mean)
    features += SPARE * real.std(axis=0) * rng.normal(size=(n, m))
    own = {name: rng.integers(VALUES, size=n) for name in ROLES}
    spread = {name: ((features - mean) @ basis).std() for name, basis in parts.items()}
    for name, held in (("ignored", ("null",)), ("used", ("seen",)), ("redundant", ("seen", "null"))):
        for part in held:
            directions = unit(rng.normal(size=(VALUES, parts[part].shape[1])))
            features += CODE * spread[part] * (directions - directions.mean(axis=0))[own[name]] @ parts[part].T
    every = unit(data["text_embeddings"].astype(np.float64))
    chosen = rng.permutation(len(every))[: VALUES * len(ROLES)].reshape(len(ROLES), VALUES)
    texts = {name: every[rows] for name, rows in zip(ROLES, chosen, strict=True)}
    class_texts = unit(every.mean(axis=0) + 0.03 * rng.normal(size=(c, every.shape[1])))
    arrays: dict[str, Any] = {
        "weight": weight,
        "bias": data["head_bias"],
        "class_texts": class_texts,
        "groups": texts,
        "seed": seed,
        "class_labels": np.argmax(real @ weight.T + data["head_bias"], axis=1)[first[:images]],
        "labels": {name: v[:images] for name, v in own.items()},
    }
    z = _embeddings(data, rng, features, every, [texts[name] for name in ROLES], [own[name] for name in ROLES])
    arrays |= {"features": features[:images], "embeddings": z[:images]}
    return arrays | {"probe_features": features[images:], "probe_embeddings": z[images:]}


def _embeddings(
    data: dict[str, Any],
    rng: np.random.Generator,
    features: Array,
    every: Array,
    texts: list[Array],
    own: list[NDArray[np.int64]],
) -> Array:
    middle = every.mean(axis=0)
    along = middle / np.linalg.norm(middle)
    across = rng.normal(size=len(along))
    across = unit((across - across @ along * along)[None])[0]
    toward = OTHERS / float(np.linalg.norm(middle))
    common = toward * along + np.sqrt(GAP - toward**2) * across
    meaning = np.zeros((len(features), len(along)))
    for group, value in zip(texts, own, strict=True):
        centred = group - group.mean(axis=0)
        # Own less mean of the others, for a step of 1 along the value's own direction.
        step = float(np.mean(np.einsum("vd,vd->v", centred, centred))) * VALUES / (VALUES - 1)
        meaning += (OWN - OTHERS) / step * centred[value]
    through = (features - features.mean(axis=0)) @ data["translator_weight"].astype(np.float64).T
    noise = rng.normal(size=through.shape)
    left = 1 - GAP - np.mean(np.sum(meaning**2, axis=1))
    rest = [x * np.sqrt(left / 2 / np.mean(np.sum(x**2, axis=1))) for x in (through, noise)]
    return np.asarray(common + meaning + rest[0] + rest[1])


def main() -> None:
    """Audit, keep, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--worlds", type=int, default=20)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--behind", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path, required=True)
    asked = parser.parse_args()
    with np.load(asked.reference, allow_pickle=False) as archive:
        data = {name: archive[name] for name in archive.files}
    kept = [json.loads(line) for line in asked.output.read_text().splitlines()] if asked.output.exists() else []
    for index in range(asked.worlds):
        if [asked.seed, index] in [one["world"] for one in kept]:
            continue
        start = time.process_time()
        found = audit_arrays(**plant(data, asked.images, asked.behind, 1000 * asked.seed + index)).findings
        one = {
            "world": [asked.seed, index],
            "cpu_s": round(time.process_time() - start, 1),
            "tests": [(ROLES.get(f.group, "used"), f.finding) for f in found],
            "rules": [f.rule for f in found],
        }
        kept.append(one)
        with asked.output.open("a") as file:
            file.write(json.dumps(one) + "\n")
    row = Row(f"geometry of a real CLIP: 1,000 classes, {asked.images} images, {asked.behind} behind the translator")
    tests = [[(role, finding) for role, finding in one["tests"]] for one in kept if one["world"][0] == asked.seed]
    print("\n".join(rows_table([summarise(row, tests)])))


if __name__ == "__main__":
    main()
