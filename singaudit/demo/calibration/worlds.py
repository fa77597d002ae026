"""Worlds with planted answers in any of the settings of ``rows``, as the arrays that an audit takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singaudit.demo.calibration.roles import Role
from singaudit.demo.calibration.rows import Row
from singaudit.metrics.scores import unit

Array = NDArray[np.float64]

_EMBEDDING = 64
_NOISE = 0.5
# Of the features; codes have length 2.
_FRAME = 0.02
# Of a frame's difference from its scene, in units of the noise.


@dataclass(frozen=True)
class Planted:
    """One world."""

    arrays: dict[str, Any]
    """What ``audit_arrays`` takes."""
    roles: dict[str, Role]
    """Role of each group."""


def plant(row: Row, seed: int, index: int) -> Planted:
    """World ``index`` of a row."""
    rng = np.random.default_rng([seed, 17, index, *row.name.encode()])
    scenes, behind = row.images // row.frames, row.translator // row.frames
    n = scenes + behind
    roles: dict[str, Role] = {"ignored": "ignored", "used": "used", "redundant": "redundant"}
    if row.code != "linear" or row.classes == 2:
        roles = {"ignored": "ignored", "used": "used"}
    roles |= {f"absent {i}": "absent" for i in range(row.absent)}
    klass = rng.integers(row.classes, size=n)
    own = {name: _values(row, rng, klass) for name in roles}
    if row.entangled:
        along = rng.random(n) < row.entangled
        own["ignored"] = np.where(along, own["used"], own["ignored"])
    seen, null = _features(row, rng, klass, own, roles)
    if row.shift and behind:
        seen[scenes:] += row.shift * _NOISE * rng.normal(size=seen.shape[1])
        null[scenes:] += row.shift * _NOISE * rng.normal(size=null.shape[1])
    basis = np.linalg.qr(rng.normal(size=(seen.shape[1] + null.shape[1],) * 2))[0]
    features = np.concatenate([seen, null], axis=1) @ basis
    weight = rng.normal(size=(row.classes, seen.shape[1])) @ basis[: seen.shape[1]]
    texts = {name: unit(rng.normal(size=(row.values, _EMBEDDING))) for name in own}
    class_texts = unit(rng.normal(size=(row.classes, _EMBEDDING)))
    z = _embeddings(row, rng, class_texts[klass] + sum(texts[name][v] for name, v in own.items()))
    frame = np.repeat(np.arange(n), row.frames)
    if row.frames > 1:
        features = features[frame] + _FRAME * _NOISE * rng.normal(size=(len(frame), features.shape[1]))
        z = z[frame] + _FRAME * rng.normal(size=(len(frame), _EMBEDDING)) * z.std()
    cut = scenes * row.frames
    arrays: dict[str, Any] = {
        "weight": weight,
        "bias": np.zeros(row.classes),
        "features": features[:cut],
        "embeddings": z[:cut],
        "class_texts": class_texts,
        "groups": texts,
        "class_labels": klass[frame][:cut],
        "seed": seed,
    }
    if row.labelled:
        arrays["labels"] = {name: v[frame][:cut] for name, v in own.items()}
    if behind:
        arrays |= {"probe_features": features[cut:], "probe_embeddings": z[cut:]}
    return Planted(arrays, roles | {"class": "used"})


def _values(row: Row, rng: np.random.Generator, klass: NDArray[np.intp]) -> NDArray[np.intp]:
    shares = np.full(row.values, 1 / row.values)
    if row.rare:
        shares = np.array([row.rare, *np.full(row.values - 1, (1 - row.rare) / (row.values - 1))])
    value = rng.choice(row.values, size=len(klass), p=shares)
    usual = rng.integers(row.values, size=row.classes) if row.classes > row.values else np.arange(row.classes)
    return np.where(rng.random(len(klass)) < row.correlation, usual[klass] % row.values, value)


def _features(
    row: Row,
    rng: np.random.Generator,
    klass: NDArray[np.intp],
    own: dict[str, NDArray[np.intp]],
    roles: dict[str, Role],
) -> tuple[Array, Array]:
    n = len(klass)
    seen, null = _code(rng, klass, row.classes, row.classes), np.zeros((n, row.null))
    if row.classes == 2:
        seen = np.stack([1.5 * (2 * klass - 1), np.zeros(n)], axis=1)
    for name, value in own.items():
        if roles[name] == "used" and row.classes == 2:
            seen[:, 1] += 1.5 * (2 * value - 1)
        elif roles[name] in ("used", "redundant"):
            seen = seen + _code(rng, value, row.values, seen.shape[1])
        if roles[name] == "redundant" or (roles[name] == "ignored" and row.code == "linear"):
            null = null + _code(rng, value, row.values, row.null)
    noise = [_NOISE * _draw(row, rng, part.shape) for part in (seen, null)]
    seen, null = seen + noise[0], null + noise[1]
    if row.code != "linear":
        seen, null = _nonlinear(row, rng, own["ignored"], seen, null)
    return seen, null


def _nonlinear(
    row: Row, rng: np.random.Generator, value: NDArray[np.intp], seen: Array, null: Array
) -> tuple[Array, Array]:
    """The ignored attribute, of two values, in a form that no linear probe finds."""
    n = len(value)
    if row.code == "radial":
        return seen, null * np.where(value == 1, 1.8, 1.0)[:, None]
    one = rng.integers(2, size=n)
    other = one ^ value
    axes = np.linalg.qr(rng.normal(size=(row.null, 2)))[0].T
    null = null + (4 * _NOISE) * (2 * other - 1)[:, None] * axes[0]
    if row.code == "xor":
        return seen, null + (4 * _NOISE) * (2 * one - 1)[:, None] * axes[1]
    axis = unit(rng.normal(size=(1, seen.shape[1])))
    return seen + (4 * _NOISE) * (2 * one - 1)[:, None] * axis, null


def _draw(row: Row, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    noise = rng.standard_t(row.tails, size=shape) if row.tails else rng.normal(size=shape)
    if row.outliers:
        noise = noise * np.where(rng.random(shape[0]) < row.outliers, 20.0, 1.0)[:, None]
    return np.asarray(noise)


def _embeddings(row: Row, rng: np.random.Generator, meaning: Array) -> Array:
    """Sums of texts and noise, beside what all images have in common."""
    noise = rng.normal(size=meaning.shape)
    common = unit(rng.normal(size=(1, meaning.shape[1])))
    if not row.meaning:
        return 0.15 * noise + 0.5 * common
    return np.asarray(meaning + 0.6 / row.reading * noise + common)


def _code(rng: np.random.Generator, value: NDArray[np.intp], values: int, width: int) -> Array:
    """(n, width): each value's own random direction, of length 2."""
    directions = rng.normal(size=(values, width))
    directions -= directions.mean(axis=0)
    code: Array = 2 * unit(directions)[value]
    return code
