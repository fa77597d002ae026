"""Planted models of generated images: a trained neck on the frozen trunk, and a head that sees what it is meant to.

The neck, a small network, is trained from its own seed on its own sample of images to tell all attributes. From its
outputs g come two parts: what the head will see, scores of the classes and of the attributes that it uses; and what it
will ignore, random mixtures of g. An attribute that a part must not hold is erased from it: the directions along which
its values' means differ are projected out in the whitened space (Belrose et al. 2023, "LEACE"), the least change after
which no linear map can find it. Both parts, turned by a random rotation, are the features; the head is a random
invertible map of the first. So the answer is known, the features and images are not made of it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from singaudit.classifier.interface import Head
from singaudit.demo.calibration.pool import Pool
from singaudit.demo.calibration.roles import Role, World
from singaudit.geometry.null_space import null_space
from singaudit.language.translators.fit import fit
from singaudit.metrics.subject import GroupTexts, Subject

Array = NDArray[np.float64]

_ATTRIBUTES = ("colour", "background_colour", "background_pattern", "texture", "size")
_CYCLE: tuple[Role, ...] = (
    "ignored", "absent", "half", "used", "ignored", "redundant", "ignored", "half", "absent", "ignored", "correlated",
    "half", "used",
)  # fmt: skip
_WIDTHS = (48, 64, 96, 160)
_TRAINING, _STEPS, _BATCH, _HIDDEN, _NECK = 4000, 250, 256, 192, 96
_SPARE = 0.25
"""Share of the noise of g's own scale that is added to what the head ignores: no part is a clean copy."""


@dataclass(frozen=True)
class Plan:
    """What one model is to be."""

    index: int
    seed: int
    width: int
    roles: dict[str, Role]
    strength: dict[str, float]


def plan(index: int, seed: int) -> Plan:
    """Roles take turns over models and attributes; widths as well; strengths are drawn."""
    rng = np.random.default_rng([seed, 11, index])
    roles: dict[str, Role] = {}
    for a, name in enumerate(_ATTRIBUTES):
        role = _CYCLE[(5 * index + a) % len(_CYCLE)]
        if role == "half" and name == "size":
            role = "ignored"  # two values have no coarser version
        if role == "correlated" and "correlated" in roles.values():
            role = "absent"
        roles[name] = role
    strength = {name: float(rng.choice([0.5, 1.0])) for name in _ATTRIBUTES}
    return Plan(index, seed, _WIDTHS[index % len(_WIDTHS)], roles, strength)


def train(pool: Pool, what: Plan, images: int, translator_images: int) -> World:
    """Train the model of a plan and draw the images that it is audited on; none of them was trained on."""
    rng = np.random.default_rng([what.seed, 13, what.index])
    rows = rng.permutation(len(pool.trunk))
    training, rest = rows[:_TRAINING], rows[_TRAINING:]
    neck = _train_neck(pool, training, what)
    sample = _sample(pool, rest, what, images + translator_images, rng)
    g = neck(pool.trunk[np.concatenate([training, sample])])
    seen, null = _parts(pool, g, training, sample, what, rng)
    return _world(pool, what, sample, seen, null, images, rng)


class _Neck(torch.nn.Sequential):
    def __init__(self, into: int, out: int) -> None:
        super().__init__(
            torch.nn.Linear(into, _HIDDEN), torch.nn.ReLU(), torch.nn.Linear(_HIDDEN, out), torch.nn.ReLU()
        )

    def __call__(self, rows: NDArray[np.float32]) -> Array:
        """(n, t) -> (n, ``_NECK``) float64."""
        with torch.inference_mode():
            found: Array = self.forward(torch.from_numpy(rows)).double().numpy()
        return found


def _train_neck(pool: Pool, rows: NDArray[np.intp], what: Plan) -> _Neck:
    """A network whose outputs tell every attribute, from its own seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1000 * what.seed + what.index)
        neck = _Neck(pool.trunk.shape[1], _NECK)
        readouts = {name: torch.nn.Linear(_NECK, int(v.max()) + 1) for name, v in pool.truth.items()}
        parameters = [*neck.parameters(), *(p for r in readouts.values() for p in r.parameters())]
        optimiser = torch.optim.Adam(parameters, 3e-3)
        x = torch.from_numpy(pool.trunk[rows])
        truth = {name: torch.from_numpy(v[rows]) for name, v in pool.truth.items()}
        for _ in range(_STEPS):
            batch = torch.randint(len(x), (_BATCH,))
            f = neck.forward(x[batch] + 0.1 * torch.randn(_BATCH, x.shape[1]))
            loss = sum(torch.nn.functional.cross_entropy(r(f), truth[name][batch]) for name, r in readouts.items())
            optimiser.zero_grad()
            torch.as_tensor(loss).backward()
            optimiser.step()
    return neck


def _sample(pool: Pool, rest: NDArray[np.intp], what: Plan, count: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Rows to audit with: random ones, or such that the correlated attribute goes along with the class."""
    name = next((a for a, role in what.roles.items() if role == "correlated"), None)
    if name is None:
        return rest[:count]
    value, shape = pool.truth[name][rest], pool.truth["shape"][rest]
    along = value == shape % (int(value.max()) + 1)
    # As many of those that go along as there are, up to two thirds.
    matched = rest[along][: 2 * count // 3]
    chosen = np.concatenate([matched, rest[~along][: count - len(matched)]])
    return chosen[rng.permutation(len(chosen))]


def _parts(
    pool: Pool, g: Array, training: NDArray[np.intp], sample: NDArray[np.intp], what: Plan, rng: np.random.Generator
) -> tuple[Array, Array]:
    """What the head sees (n, c) and what it ignores (n, m - c) of the sampled images."""
    k = len(training)
    spread = g[:k].std(axis=0)
    alive = spread > 1e-2 * spread.max()
    g = (g[:, alive] - g[:k, alive].mean(axis=0)) / spread[alive]
    truth = {name: v[training] for name, v in pool.truth.items()}
    tags = [_one_hot(truth["shape"])]
    hidden_from_head, hidden_from_null = [], [_one_hot(truth["shape"])]
    for name, role in what.roles.items():
        full = _one_hot(truth[name])
        coarse = _one_hot(truth[name] // 2)
        if role in ("used", "redundant"):
            tags.append(full * what.strength[name])
        elif role == "half":
            tags.append(coarse)
            # Within a coarse value the head must not tell fine ones apart.
            hidden_from_head.append(full - coarse @ np.linalg.lstsq(coarse, full, rcond=None)[0])
        else:
            hidden_from_head.append(full)
        if role in ("absent", "used", "correlated"):
            hidden_from_null.append(full)
    erased = _erase(g, k, np.concatenate(hidden_from_head, axis=1)) if hidden_from_head else g
    target = np.concatenate(tags, axis=1)
    target = target - target.mean(axis=0)
    weight = np.linalg.solve(erased[:k].T @ erased[:k] + 1e-2 * k * np.eye(g.shape[1]), erased[:k].T @ target)
    seen = erased @ weight
    # The scores of one-hot values sum to nothing: keep the directions that vary.
    values, vectors = np.linalg.eigh(np.cov(seen[:k].T))
    seen = seen @ (vectors[:, values > 1e-3 * values[-1]] / np.sqrt(values[values > 1e-3 * values[-1]]))
    null = g
    for name, role in what.roles.items():
        if role in ("ignored", "redundant", "half") and what.strength[name] < 1:
            null = null + (what.strength[name] - 1) * (null - _erase(null, k, _one_hot(truth[name])))
    null = _erase(null, k, np.concatenate(hidden_from_null, axis=1))
    null = null @ rng.normal(size=(g.shape[1], what.width)) / np.sqrt(g.shape[1])
    null = null + _SPARE * null[:k].std() * rng.normal(size=null.shape)
    return seen[k:], null[k:]


def _one_hot(values: NDArray[np.int64]) -> Array:
    return np.eye(int(values.max()) + 1)[values]


def _erase(rows: Array, fitted_on: int, concept: Array) -> Array:
    """``rows`` (n, d) without what is linearly related to ``concept`` (k, v) in the first k rows."""
    known = rows[:fitted_on] - rows[:fitted_on].mean(axis=0)
    values, vectors = np.linalg.eigh(known.T @ known / fitted_on)
    keep = values > 1e-8 * values[-1]
    root = vectors[:, keep] * np.sqrt(values[keep])
    whiten = vectors[:, keep] / np.sqrt(values[keep])
    related = (known @ whiten).T @ (concept - concept.mean(axis=0)) / fitted_on
    u, s, _ = np.linalg.svd(related, full_matrices=False)
    directions = u[:, s > 1e-6]
    centred = rows - rows[:fitted_on].mean(axis=0)
    result: Array = rows - (centred @ whiten @ directions) @ (root @ directions).T
    return result


def _world(
    pool: Pool, what: Plan, sample: NDArray[np.intp], seen: Array, null: Array, images: int, rng: np.random.Generator
) -> World:
    c, m = seen.shape[1], seen.shape[1] + null.shape[1]
    # What the head ignores is as large as what it sees, so that neither part is hard to find by its scale.
    null = null * (np.sqrt((seen**2).sum(axis=1).mean() / (null**2).sum(axis=1).mean()))
    basis = np.linalg.qr(rng.normal(size=(m, m)))[0]
    features = (np.concatenate([seen, null], axis=1) @ basis).astype(np.float32)
    weight = (rng.normal(size=(c, c)) @ basis[:c]).astype(np.float32).astype(np.float64)
    space = null_space(Head(weight, np.zeros(c), "float32", None, "", (), "", "", 0.0, "sigmoid", True))
    z = pool.embeddings[sample]
    sha = [hashlib.sha256(f"{what.seed}:{what.index}:{row}".encode()).hexdigest() for row in sample.tolist()]
    shape = pool.truth["shape"][sample]
    groups = tuple(pool.texts[name] for name in what.roles)
    own_class = pool.texts["shape"]
    named = replace(own_class.group, name="class", kind="class")
    groups += (GroupTexts(named, own_class.texts, own_class.second_texts, shape[:images]),)
    probe = features[images:], z[images:]
    fitted = fit(features[:images], z[:images], sha[:images], space, (*probe, sha[images:]))
    subject = Subject(
        features[:images], z[:images], sha[:images], shape[:images], own_class.texts, own_class.texts, groups, space,
        fitted, what.seed, probe,
    )  # fmt: skip
    return World(
        f"images {what.index}",
        "images",
        what.roles | {"class": "used"},
        what.strength | {"class": 1.0},
        subject,
        what.index % 2 == 1,
    )
