"""Linear-Gaussian worlds: attributes coded along random directions of either part of feature space, nothing trained."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from singaudit.classifier.interface import Head
from singaudit.demo.calibration.roles import Role, World
from singaudit.geometry.null_space import null_space
from singaudit.language.concepts import numbered_group
from singaudit.language.translators.fit import fit
from singaudit.metrics.scores import unit
from singaudit.metrics.subject import GroupTexts, Subject

Array = NDArray[np.float64]

_ROLES: tuple[Role, ...] = ("absent", "used", "redundant", "correlated", "ignored", "half", "ignored", "absent")
_CORRELATED = 0.6
"""Share of the images whose correlated attribute is the one that goes with their class."""
_RARE, _RARE_SHARE = 0.25, 0.06
"""Share of the attributes with a rare value, and the share of images that have it."""
_EMBEDDING = 64


def linear_world(index: int, seed: int, images: int, translator_images: int) -> World:
    """World ``index``: classes, attributes, widths and noise drawn from (seed, index)."""
    rng = np.random.default_rng([seed, 7, index])
    classes, null = int(rng.integers(6, 13)), int(rng.choice([24, 56, 120]))
    n = images + translator_images
    klass = rng.integers(classes, size=n)
    own: dict[str, NDArray[np.intp]] = {}
    roles: dict[str, Role] = {}
    strength: dict[str, float] = {}
    parts = [_code(rng, klass, classes, 8, 1.0), np.zeros((n, null))]
    # Room for what the logits see: the head has as many rows as directions it looks at.
    width = 8
    for g in range(6):
        role = _ROLES[(index + g) % len(_ROLES)]
        values = int(rng.choice([4, 6, 8] if role == "half" else [2, 3, 4, 6, 8]))
        name = f"attribute {g}"
        shares = np.full(values, 1 / values)
        if rng.random() < _RARE:
            shares = np.array([_RARE_SHARE, *np.full(values - 1, (1 - _RARE_SHARE) / (values - 1))])
        value = rng.choice(values, size=n, p=shares)
        if role == "correlated":
            value = np.where(rng.random(n) < _CORRELATED, klass % values, value)
        own[name], roles[name] = value, role
        strength[name] = float(rng.choice([0.5, 1.0]))
        if role in ("used", "redundant", "half"):
            seen = value // 2 if role == "half" else value
            parts[0] = np.concatenate([parts[0], _code(rng, seen, values, 4, strength[name])], axis=1)
            width += 4
        if role in ("redundant", "ignored", "half"):
            parts[1] = parts[1] + _code(rng, value, values, null, strength[name])
    parts = [part + 0.5 * rng.normal(size=part.shape) for part in parts]
    m = width + null
    basis = np.linalg.qr(rng.normal(size=(m, m)))[0]
    features = (np.concatenate(parts, axis=1) @ basis).astype(np.float32)
    weight = rng.normal(size=(width, width)) @ basis[:width]
    texts = {name: unit(rng.normal(size=(int(v.max()) + 1, _EMBEDDING))) for name, v in own.items()}
    class_texts = unit(rng.normal(size=(classes, _EMBEDDING)))
    meaning = class_texts[klass] + sum(texts[name][v] for name, v in own.items())
    z = unit(meaning + 0.15 * rng.normal(size=(n, _EMBEDDING))).astype(np.float32)
    sha = [hashlib.sha256(f"{seed}:{index}:{i}".encode()).hexdigest() for i in range(n)]
    space = null_space(Head(weight, np.zeros(width), "float32", None, "", (), "", "", 0.0, "softmax", True))
    groups = tuple(GroupTexts(numbered_group(name, len(t)), t, t, own[name][:images]) for name, t in texts.items())
    groups += (
        GroupTexts(numbered_group("class", len(class_texts), "class"), class_texts, class_texts, klass[:images]),
    )
    probe = features[images:], z[images:]
    fitted = fit(features[:images], z[:images], sha[:images], space, (*probe, sha[images:]))
    subject = Subject(
        features[:images], z[:images], sha[:images], klass[:images], class_texts, class_texts, groups, space, fitted,
        seed, probe,
    )  # fmt: skip
    return World(
        f"linear {index}", "linear", roles | {"class": "used"}, strength | {"class": 1.0}, subject, index % 2 == 1
    )


def _code(rng: np.random.Generator, value: NDArray[np.intp], values: int, width: int, strength: float) -> Array:
    """(n, width): each value's own random direction, of length ``strength`` times 2 whatever the width."""
    directions = rng.normal(size=(values, width))
    directions -= directions.mean(axis=0)
    code: Array = 2 * strength * unit(directions)[value]
    return code
